"""Processes, GPUs, locks, resume and SLURM: nothing here changes a byte of a result.

So no job runs again for a change here (codeversion.py).
"""

RESULTS = 1
"""To be raised when a mistake in this package did change results: all jobs then run again."""
