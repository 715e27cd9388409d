"""Compare the facts of a site with what SLURM says, before a job is submitted."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import slurm
from .errors import unknown
from .memory import GIB
from .site import NONE, Site


def check_site(site: Site, requests: Sequence[Mapping[str, object]]) -> list[str]:
    """Return a line for each fact that SLURM contradicts, and for each job that it would refuse.

    `requests` are the resources of the jobs to come. Raises UserError where SLURM cannot be asked.
    """
    if site.problems:
        return list(site.problems.values())
    known = slurm.partitions()
    used = {"cpu_partition": site.cpu_partition}
    if site.gpus_per_node:
        used["gpu_partition"] = site.gpu_partition
    for key, name in used.items():
        if name not in known:
            return [str(unknown("partition", name, known, f"{site.path}: {key}"))]
    found = [*_account(site), *_limits(site, [known[name] for name in used.values()])]
    found += _nodes(site, known[site.gpu_partition]) if site.gpus_per_node else []
    found += _scratch(site)
    return found or _refused(site, requests)


def _account(site: Site) -> list[str]:
    known = slurm.accounts()
    if site.account == NONE or not known or site.account in known:
        return []
    return [str(unknown("account", site.account, sorted(known), f"{site.path}: account"))]


def _limits(site: Site, used: Sequence[slurm.Partition]) -> list[str]:
    """Return whether jobs would ask for more time than a partition gives."""
    lines = []
    for partition in used:
        if site.most_minutes > partition.minutes:
            lines.append(
                f"{site.path}: max_hours is {site.max_hours}, but partition {partition.name} gives "
                f"jobs at most {partition.minutes / 60:g} hours"
            )
    return lines


def _nodes(site: Site, partition: slurm.Partition) -> list[str]:
    """Return what is wrong with the facts of a GPU node."""
    where = f"partition {partition.name}"
    types = sorted({kind for nodes in partition.nodes for kind in nodes.gpus})
    if not types:
        return [f"{site.path}: gpu_partition: no node of {where} has a GPU (sinfo -o '%R %G')"]
    named = [kind for kind in types if kind]
    if site.gpu_type != "any" and site.gpu_type not in named:
        return [str(unknown("type of GPU", site.gpu_type, [*named, "any"],
                            f"{site.path}: gpu_type: {where}"))]  # fmt: skip
    fitting = [
        (sum(n for kind, n in nodes.gpus.items() if site.gpu_type in ("any", kind)), nodes)
        for nodes in partition.nodes
    ]
    most = max(count for count, _ in fitting)
    if site.gpus_per_node > most:
        return [f"{site.path}: gpus_per_node is {site.gpus_per_node}, but nodes of {where} have "
                f"{most} at most"]  # fmt: skip
    enough = [nodes for count, nodes in fitting if count >= site.gpus_per_node]
    lines = []
    if site.nodes > (there := sum(nodes.count for nodes in enough)):
        lines.append(f"{site.path}: nodes is {site.nodes}, but {where} has {there} with "
                     f"{site.gpus_per_node} such GPUs")  # fmt: skip
    memory = max(nodes.memory_mib for nodes in enough) * 2**20
    if site.host_memory_gb * GIB > memory:
        lines.append(f"{site.path}: host_memory_gb is {site.host_memory_gb}, but nodes of {where} "
                     f"have {memory / GIB:.1f}")  # fmt: skip
    return lines


def _scratch(site: Site) -> list[str]:
    """Return whether the folder for weights cannot be written to."""
    if site.scratch == NONE:
        return []
    folder = Path(site.scratch)
    if not folder.is_absolute():
        return [f"{site.path}: scratch: '{site.scratch}' must be an absolute path, or none"]
    if not folder.is_dir():
        return [f"{site.path}: scratch: {folder} is no folder on this machine"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"{site.path}: scratch: {folder} cannot be written to"]
    return []


def _refused(site: Site, requests: Sequence[Mapping[str, object]]) -> list[str]:
    """Return why SLURM would refuse jobs, asked once for each shape of them."""
    shapes = {}
    for each in requests:
        key = tuple(each.get(name) for name in ("slurm_partition", "gpu", "nodes"))
        shapes[key] = max(shapes.get(key, each), each, key=lambda r: int(r.get("mem_mb") or 0))
    lines = []
    for each in shapes.values():
        said = slurm.refusal(*options(each))
        if said:
            gpus, nodes = each.get("gpu", 0), each.get("nodes", 1)
            lines.append(
                f"{site.path}: SLURM refuses jobs of {gpus} GPUs on {nodes} nodes with "
                f"{each.get('mem_mb')} MB in partition {each.get('slurm_partition')}: {said}"
            )
    return lines


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
