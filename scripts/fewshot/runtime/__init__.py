"""Processes, GPUs, locks, resume and SLURM: nothing here changes a byte of a result."""
