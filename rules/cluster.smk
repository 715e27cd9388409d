# What jobs ask of the machine or the cluster they run on: none of it makes a job run again.
# On a cluster the profile names the file with the site's facts (default resource `site`).
import math
import sys

from scripts.fewshot.runtime import gpus
from scripts.fewshot.study.cells import Cell
from scripts.fewshot.errors import UserError
from scripts.fewshot.runtime.machine import gpu_memories
from scripts.fewshot.runtime.site import REQUEST, read_site
from scripts.fewshot.runtime.submission import SHORT, Queue, group_of


def site_path():
    """Return the file with the facts of the cluster that this run is for; empty: none."""
    defaults = workflow.resource_settings.default_resources
    named = [each for each in (defaults.args if defaults else ()) if each.startswith("site=")]
    return named[0].partition("=")[2] if named else ""


try:
    SITE = read_site(site_path()) if site_path() else None
except UserError as error:
    sys.exit(f"error: {error}")

if SITE and workflow.is_main_process:
    if SITE.problems:
        logger.warning(
            f"{SITE.path}: missing or wrong: {', '.join(SITE.problems)}; planned with placeholders, "
            "with which no job is submitted"
        )
    # A group's jobs then run one after another: its submission is as wide as one of them, and the
    # time limits add up.
    workflow.register_resource("_cores", 1)


ADAPTING = ("run_in_context", "fine_tune")
STORING = ("download_model", "download_weights", "download")


def weights_store():
    """Return where weights are stored and how much they may take: as told, or else by the site.

    What `--set-resources` says of download_weights counts for all that fetches or frees weights.
    """
    told = workflow.resource_settings.overwrite_resources.get("download_weights", {})
    job = {"input": (), "attempt": 1, "threads": 1, "rulename": "download_weights"}
    values = {
        name: told[name].evaluate(None, async_run=workflow.async_run, **job).value
        for name in ("scratch", "disk_budget_gb")
        if name in told
    }
    return {**(SITE.store if SITE else {}), **values}


STORE = weights_store()


def shares_gpus():
    """Return whether jobs of this run will share the GPUs of this machine, one job each.

    Which executor runs the jobs is not known yet, but one for clusters has a number of `jobs`.
    Whoever gives a number of GPUs (`--resources gpu=1`) means it.
    """
    return (
        workflow.is_main_process
        and workflow.resource_settings.nodes is None
        and "gpu" not in workflow.global_resources
    )


if workflow.is_main_process:
    gpus.share_allocation()
# A dry run starts nothing, and would show jobs that were planned for a larger machine cut down.
if shares_gpus() and not workflow.output_settings.dryrun and gpu_memories():
    workflow.register_resource("gpu", len(gpu_memories()))


def scaled(megabytes):
    """Return the function that gives memory which grows with every attempt, up to a node's.

    The first asks for all of `megabytes`: where no node has them, a start tells so and ends.
    """
    most = SITE.most_mib if SITE else math.inf

    def resource(wildcards, attempt):
        return max(megabytes, min(attempt * megabytes, most))

    return resource


def longer(minutes):
    """Return the function that gives a time limit which grows with every attempt."""

    def resource(wildcards, attempt, rulename):
        group = workflow.group_settings.overwrite_groups.get(rulename)
        if SITE is None:
            return attempt * minutes
        return queue_for(0, group).limited(attempt * minutes, shares=group is not None)

    return resource


def queue_for(gpus, group=SHORT):
    """Return how the cluster takes jobs of a group with or without GPUs."""
    together = workflow.group_settings.group_components.get(group, 1)
    attempts = 1 + workflow.execution_settings.retries
    return Queue(SITE.most_minutes(gpus), attempts, SITE.short_minutes, together)


def cell_of(wildcards):
    """Return the cell of an adaptation job."""
    names = ("protocol", "task", "model", "method", "pattern")
    return Cell(*(getattr(wildcards, name) for name in names), int(wildcards.k))


def together(wildcards):
    """Return the group of an adaptation job that is too short for a submission of its own.

    None: it has one. A group's jobs run in Snakemakes of their own, which are not told to keep
    going when one of them fails; this is the last moment to tell them.
    """
    if not workflow.is_main_process:
        workflow.execution_settings.keep_going = True
    if SITE is None:
        return None
    cell, seeds = cell_of(wildcards), len(job_seeds(wildcards))
    queue, seconds = queue_for(PLAN.machine.has_gpu), PLAN.wall(cell, seeds)
    if not queue.shares(PLAN.site(cell), seconds, PLAN.minutes(cell, seeds)):
        return None
    name = group_of(STUDY.name, cell)
    # By this group-components finds them, as for groups that are named with wildcards.
    workflow.parent_groupids[name] = SHORT
    return name


def planned(name):
    """Return the function that gives a resource of an adaptation job, as the memory plan has it.

    None, where a cluster's jobs do not ask for it, is no resource at all.
    """

    def resource(wildcards, attempt):
        found = PLAN.resources(cell_of(wildcards), attempt, len(job_seeds(wildcards)))
        if name in REQUEST:
            return SITE.request(found["gpu"], found["nodes"])[name]
        if name == "grouped":
            return 1 if together(wildcards) else None
        if name == "mem_mb" and SITE:
            # SLURM counts in 2^20 bytes: what is asked for may be no more than a node has.
            return min(found[name], SITE.most_mib)
        if name == "runtime" and SITE:
            shares = together(wildcards) is not None
            return queue_for(found["gpu"]).limited(found[name], shares)
        return found[name]

    return resource


ADAPTATION = {
    name: planned(name)
    for name in (
        "gpu",
        "nodes",
        "zero_stage",
        "offload",
        "micro_tokens",
        "checkpointing",
        "mem_mb",
        "predicted_gpu_mb",
        "runtime",
        *(("grouped", *REQUEST) if SITE else ()),
    )
}
