"""Ask SLURM more often: Snakemake waits ever longer for jobs that take hours, not seconds."""

from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS = 3

waits = RemoteExecutor.next_seconds_between_status_checks
RemoteExecutor.next_seconds_between_status_checks = waits.setter(
    lambda self, seconds: waits.fset(self, min(seconds, SECONDS))
)
