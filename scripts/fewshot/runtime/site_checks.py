"""Compare the facts of a site with what SLURM says, before a job is submitted."""

import re
from collections.abc import Mapping, Sequence
from time import sleep

from ..errors import unknown
from . import slurm
from .site import NONE, UNTYPED, Site
from .time_limits import attempts_needed

TYPE = re.compile(r"[\w.]+", re.ASCII)
"""Types of GPUs that the executor plugin can ask for."""
ENDING_SECONDS = 60
"""How long a start waits for cancelled jobs; by SLURM's default they are killed after 30 s."""


def check_entries(site: Site) -> list[str]:
    """Return a line for each entry that is missing or wrong whatever SLURM says."""
    return list(site.problems.values()) or _type(site)


def check_site(
    site: Site, requests: Sequence[Mapping[str, object]], attempts: int = 1
) -> tuple[list[str], list[str]]:
    """Return a line for each fact that SLURM contradicts, and for each job that it would refuse;
    and those that may be true for now only.

    `requests` are the resources of the jobs to come, each of which may be tried so many times.
    Raises UserError where SLURM cannot be asked.
    """
    if found := check_entries(site):
        return found, []
    known = slurm.partitions()
    used = {"cpu": site.cpu_partition} | ({"gpu": site.gpu_partition} if site.gpus_per_node else {})
    for kind, name in used.items():
        if name not in known:
            where = f"{site.path}: {kind}_partition"
            return [str(unknown("partition", name, known, where))], []
    found = _account(site)
    for kind, name in used.items():
        found += _limit(site, kind, known[name])
    if site.gpus_per_node:
        found += _nodes(site, known[site.gpu_partition])
    else:
        found += _memory(site, 1, known[site.cpu_partition], known[site.cpu_partition].nodes)
    found = found or _too_long(site, requests, known, attempts)
    return (found, []) if found else _refused(site, requests)


def check_work(site: Site, seconds: float, attempts: int) -> list[str]:
    """Return whether the longest job is predicted to take more seconds than its attempts may."""
    most = site.most_minutes(site.gpus_per_node)
    needed = attempts_needed(seconds, most)
    if needed <= attempts:
        return []
    kind = "gpu" if site.gpus_per_node else "cpu"
    return [
        f"{site.path}: {kind}_max_hours is {most / 60:g}, but jobs are predicted to take up to "
        f"{seconds / 3600:.1f} hours, more than {attempts} attempts; --retries {needed - 1} lets "
        "them end, or start Snakemake again afterwards"
    ]


def check_start(
    site: Site, requests: Sequence[Mapping[str, object]], attempts: int, longest: float
) -> tuple[list[str], list[str]]:
    """Return why no job of the study may be submitted now, and what a user should know.

    `requests` are what its jobs ask for, and `longest` the seconds of the longest one. Raises
    UserError where SLURM cannot be asked.
    """
    problems, doubts = check_site(site, requests, attempts)
    if problems:
        return problems, []
    if doubts:
        doubts.append(
            "nodes are down or drained, which may be why: these jobs are submitted, and wait"
        )
    return left_over(), doubts + check_work(site, longest, attempts)


def left_over() -> list[str]:
    """Return a line if an earlier Snakemake has left jobs of this folder in SLURM's queue: they
    would write the same files as those of this start.

    Jobs that were cancelled still write what they have computed; their end is waited for.
    """
    for _ in range(ENDING_SECONDS):
        jobs = slurm.jobs_here()
        if not jobs:
            return []
        if set(jobs.values()) != {"COMPLETING"}:
            break
        sleep(1)
    return [
        "jobs of an earlier start in this folder are still in SLURM's queue; wait for them, or end "
        f"them, which keeps what they have computed: scancel {' '.join(jobs)}"
    ]


def _type(site: Site) -> list[str]:
    if site.gpu_type in UNTYPED or TYPE.fullmatch(site.gpu_type):
        return []
    return [
        f"{site.path}: gpu_type: '{site.gpu_type}' cannot be asked for: Snakemake's plugin for "
        "SLURM takes letters, digits, _ and . alone; say any, and by constraint which nodes have it"
    ]


def _account(site: Site) -> list[str]:
    known = slurm.accounts()
    if site.account == NONE or not known or site.account in known:
        return []
    return [str(unknown("account", site.account, sorted(known), f"{site.path}: account"))]


def _limit(site: Site, kind: str, partition: slurm.Partition) -> list[str]:
    """Return whether a limit of the site is longer than what the partition gives."""
    hours = getattr(site, f"{kind}_max_hours")
    if hours == NONE or 60 * hours <= partition.minutes:
        return []
    return [
        f"{site.path}: {kind}_max_hours is {hours}, but partition {partition.name} gives jobs "
        f"{partition.minutes / 60:g} hours at most"
    ]


def _too_long(
    site: Site,
    requests: Sequence[Mapping],
    known: Mapping[str, slurm.Partition],
    attempts: int,
) -> list[str]:
    """Return which jobs would wait for ever, as they ask for more time than a partition gives.

    Each attempt asks for more; what a site says is the limit, none of them goes beyond.
    """
    lines = []
    for kind, name in (("cpu", site.cpu_partition), ("gpu", site.gpu_partition)):
        asked = [int(r.get("runtime") or 0) for r in requests if r.get("slurm_partition") == name]
        times = attempts if getattr(site, f"{kind}_max_hours") == NONE else 1
        most = times * max(asked, default=0)
        if name in known and most > known[name].minutes:
            lines.append(
                f"{site.path}: jobs ask for up to {most} minutes, but partition {name} gives "
                f"{known[name].minutes:g}: set {kind}_max_hours to {known[name].minutes / 60:g} at "
                "most"
            )
    return list(dict.fromkeys(lines))


def _nodes(site: Site, partition: slurm.Partition) -> list[str]:
    """Return what is wrong with the facts of a GPU node."""
    where = f"partition {partition.name}"
    types = sorted({kind for nodes in partition.nodes for kind in nodes.gpus})
    if not types:
        return [f"{site.path}: gpu_partition: no node of {where} has a GPU (sinfo -o '%R %G')"]
    named = [kind for kind in types if kind]
    if site.gpu_type not in (*UNTYPED, *named):
        return [str(unknown("type of GPU", site.gpu_type, [*named, "any"],
                            f"{site.path}: gpu_type: {where}"))]  # fmt: skip
    fitting = [
        (sum(n for kind, n in nodes.gpus.items() if site.gpu_type in (*UNTYPED, kind)), nodes)
        for nodes in partition.nodes
    ]
    most = max(count for count, _ in fitting)
    if site.gpus_per_node > most:
        return [f"{site.path}: gpus_per_node is {site.gpus_per_node}, but nodes of {where} have "
                f"{most} at most"]  # fmt: skip
    enough = [nodes for count, nodes in fitting if count >= site.gpus_per_node]
    if site.nodes > (there := sum(nodes.count for nodes in enough)):
        return [f"{site.path}: nodes is {site.nodes}, but {where} has {there} with "
                f"{site.gpus_per_node} such GPUs"]  # fmt: skip
    return _memory(site, site.nodes, partition, enough)


def _memory(
    site: Site, count: int, partition: slurm.Partition, nodes: Sequence[slurm.Nodes]
) -> list[str]:
    """Return whether fewer of these nodes have the memory that jobs may take of each."""
    found = sorted((each.memory_mib for each in nodes for _ in range(each.count)), reverse=True)
    memory = found[count - 1] if len(found) >= count else 0
    if site.most_mib <= memory:
        return []
    return [
        f"{site.path}: host_memory_gb is {site.host_memory_gb}, but nodes of partition "
        f"{partition.name} have {memory / 1024:.1f}"
    ]


def _refused(site: Site, requests: Sequence[Mapping[str, object]]) -> tuple[list[str], list[str]]:
    """Return why SLURM would refuse jobs, for ever and perhaps for now only: asked for each shape
    of them, told once each."""
    shapes = {}
    for each in requests:
        key = tuple(each.get(name) for name in ("slurm_partition", "gpu", "nodes"))
        shapes[key] = max(shapes.get(key, each), each, key=lambda r: int(r.get("mem_mb") or 0))
    surely: dict[str, str] = {}
    perhaps: dict[str, str] = {}
    for each in shapes.values():
        if not (said := slurm.refusal(*options(each))):
            continue
        gpus, nodes, partition = each.get("gpu", 0), each.get("nodes", 1), each["slurm_partition"]
        lines = perhaps if slurm.may_pass(said, str(partition)) else surely
        lines.setdefault(
            said,
            f"{site.path}: SLURM refuses jobs of {gpus} GPUs on {nodes} nodes with "
            f"{each.get('mem_mb')} MB in partition {partition}: {said}",
        )
    return list(surely.values()), list(perhaps.values())


def options(resources: Mapping[str, object]) -> list[str]:
    """Return sbatch's options for a job's resources, as the executor plugin would give them."""
    flags = {
        "slurm_account": "--account",
        "slurm_partition": "--partition",
        "runtime": "--time",
        "mem_mb": "--mem",
        "nodes": "--nodes",
        "constraint": "--constraint",
        "qos": "--qos",
        "tasks": "--ntasks",
        "cpus_per_gpu": "--cpus-per-gpu",
    }
    given = {flag: resources.get(name) for name, flag in flags.items()}
    gpus, kind = resources.get("gpu"), resources.get("gpu_model")
    given["--gpus"] = f"{kind}:{gpus}" if gpus and kind else gpus
    extra = str(resources.get("slurm_extra") or "").split()
    return [f"{flag}={value}" for flag, value in given.items() if value] + extra
