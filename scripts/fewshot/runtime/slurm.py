"""SLURM's commands, and why it ended a job."""

import functools
import getpass
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

PATIENCE = 60.0
"""Seconds that a command of SLURM may take."""
UNAVAILABLE = "node configuration is not available"
"""What sbatch says of jobs that no node can take, now or ever."""


@dataclass(frozen=True)
class Nodes:
    """`count` nodes of a partition that are alike: memory in 2^20 bytes, and GPUs by type ("" where
    SLURM states none)."""

    count: int
    memory_mib: int
    gpus: dict[str, int]


@dataclass(frozen=True)
class Partition:
    """A partition: its longest time limit in minutes (infinite: none), and its nodes."""

    name: str
    minutes: float
    nodes: tuple[Nodes, ...]


def _run(*command: str) -> subprocess.CompletedProcess:
    """Run a command of SLURM; raises UserError where it is missing or gives no answer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except FileNotFoundError:
        raise UserError(
            f"{command[0]}: command not found; --profile slurm submits from a machine of a SLURM "
            "cluster, such as its login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]}: no answer from SLURM in {PATIENCE:.0f} s") from None


def ask(*command: str) -> str:
    """Return what a command of SLURM prints; raises UserError where it is missing or fails."""
    done = _run(*command)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise UserError(f"{' '.join(command)}: {said or f'status {done.returncode}'}")
    return done.stdout


def partitions() -> dict[str, Partition]:
    """Return all partitions by name, hidden ones too."""
    limits: dict[str, float] = {}
    nodes: dict[str, list[Nodes]] = {}
    for line in ask("sinfo", "-a", "-h", "-e", "-o", "%R|%l|%D|%m|%G").splitlines():
        name, limit, count, memory, gres = line.split("|")
        limits[name] = parse_minutes(limit)
        found = Nodes(int(count), int(memory.rstrip("+")), gpus_in(gres))
        nodes.setdefault(name, []).append(found)
    return {name: Partition(name, limits[name], tuple(nodes[name])) for name in limits}


def gpus_in(gres: str) -> dict[str, int]:
    """Return GPUs by type of a node's generic resources, as `gpu:a100:4(S:0-1),shard:8`."""
    found: dict[str, int] = {}
    for kind, count in re.findall(r"\bgpu:(?:([\w.-]+):)?(\d+)", gres):
        found[kind] = found.get(kind, 0) + int(count)
    return found


def parse_minutes(limit: str) -> float:
    """Return a time limit as sinfo prints it ([days-][hours:]minutes:seconds) in minutes."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not found:  # infinite, UNLIMITED
        return float("inf")
    days, hours, whole, seconds = (int(each or 0) for each in found.groups())
    return 24 * 60 * days + 60 * hours + whole + seconds / 60


def accounts() -> set[str]:
    """Return the accounts that this user may charge; none where SLURM does not keep accounts."""
    mine = f"user={getpass.getuser()}"
    try:
        said = ask("sacctmgr", "-n", "-P", "show", "assoc", mine, "format=account")
    except UserError:
        return set()
    return set(said.split())


def refusal(*request: str) -> str:
    """Return why SLURM would not take a job with these options of sbatch; empty: it would."""
    done = _run("sbatch", "--test-only", *request, "--wrap", "true")
    return "" if done.returncode == 0 else " ".join(done.stderr.split())


def may_pass(said: str, partition: str) -> bool:
    """Return whether a refusal may be for now only: while nodes of the partition are down or
    drained, SLURM says of jobs that have to wait for them what it says of impossible ones."""
    return UNAVAILABLE in said and bool(ask("sinfo", "-h", "-R", "-p", partition).strip())


def preempted(env: Mapping[str, str] = os.environ) -> bool:
    """Return whether this process is of a job that SLURM is about to put into its queue again."""
    if "SLURM_JOB_ID" not in env:
        return False
    try:
        said = ask("scontrol", "show", "job", env["SLURM_JOB_ID"])
    except UserError:
        return False
    return bool(re.search(r"\bPreemptTime=\d", said))


def jobs_here() -> dict[str, str]:
    """Return the states of this user's jobs that Snakemake submitted in this folder, by number."""
    here = Path.cwd().resolve()
    found = {}
    for line in ask("squeue", "--me", "-h", "-o", "%A|%T|%k|%Z").splitlines():
        number, state, rest = line.split("|", 2)
        comment, folder = rest.rsplit("|", 1)
        # The executor plugin names the rule or the group of each job so.
        if comment.startswith("rule_") and Path(folder).resolve() == here:
            found[number] = state
    return found


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
