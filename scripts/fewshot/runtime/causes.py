"""Why a cluster ended a job: what SLURM wrote into the log that Snakemake keeps of it."""

import functools
import re
from pathlib import Path

LOGS = Path(".snakemake/slurm_logs")
"""Where the executor keeps the logs of jobs that failed, relative to the project's folder."""
SLACK = 60.0
"""Seconds by which SLURM's last word may come before that of the job's own log."""


@functools.cache
def _shared() -> list[tuple[Path, str]]:
    """Return the logs of submissions that jobs shared: read once, not for each run that lacks."""
    return [(path, path.read_text("utf-8", "replace")) for path in LOGS.glob("group_*/*.log")]


def of_cluster(folder: str, since: float) -> str:
    """Return what SLURM says of the end of the job whose run is `folder`; empty: nothing.

    A log from long before `since` (seconds of the epoch) is of an earlier try, and is not asked.
    """
    *names, k, seeds = Path(folder).parts[2:]
    wildcards = [*names, k.removeprefix("k"), *seeds.removeprefix("seeds").split("-")]
    found = list(LOGS.glob(f"rule_*/{'_'.join(wildcards)}/*.log"))
    found += [path for path, text in _shared() if f"{folder}/" in text]
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None or newest.stat().st_mtime < since - SLACK:
        return ""
    text = newest.read_text("utf-8", "replace")
    said = re.findall(r"^slurmstepd[^:]*: error: (.+)$", text, re.M)
    said = said or re.findall(r"^srun: error: (.+)$", text, re.M)
    return f"SLURM job {newest.stem}: {said[-1].strip('* ')}" if said else ""
