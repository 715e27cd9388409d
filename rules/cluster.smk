# What jobs ask of the machine or the cluster they run on: none of it makes a job run again.
# On a cluster the profile names the file with the site's facts (default resource `site`).
import sys

from scripts.fewshot import sitecheck, slurm
from scripts.fewshot.cells import Cell
from scripts.fewshot.errors import UserError
from scripts.fewshot.site import REQUEST, read_site


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
            f"{SITE.path}: missing or wrong: {', '.join(SITE.problems)}; a dry run plans with "
            "placeholders, a real one will not start"
        )
    # A group's jobs then run one after another: its submission is as wide as one of them, and the
    # time limits add up.
    workflow.register_resource("_cores", 1)


def scaled(megabytes):
    """Return the function that gives memory which grows with every attempt."""

    def resource(wildcards, attempt):
        return attempt * megabytes

    return resource


def longer(minutes):
    """Return the function that gives a time limit which grows with every attempt."""

    def resource(wildcards, attempt):
        return limited(attempt * minutes)

    return resource


def limited(minutes, gpus=0):
    """Return a time limit that the site allows; work beyond it goes on in the next job."""
    return int(min(minutes, SITE.most_minutes(gpus))) if SITE else minutes


def planned(name):
    """Return the function that gives a resource of an adaptation job, as the memory plan has it.

    None, where a cluster's jobs do not ask for it, is no resource at all.
    """

    def resource(wildcards, attempt):
        cell = Cell(
            wildcards.protocol,
            wildcards.task,
            wildcards.model,
            wildcards.method,
            wildcards.pattern,
            int(wildcards.k),
        )
        found = PLAN.resources(cell, attempt)
        if name in REQUEST:
            return SITE.request(found["gpu"], found["nodes"])[name]
        return limited(found[name], found["gpu"]) if name == "runtime" else found[name]

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
        *(REQUEST if SITE else ()),
    )
}


def check_cluster():
    """End Snakemake before it submits a job that the cluster would refuse; end jobs left over."""
    dag = workflow.dag
    jobs = {
        dag.get_job_group(job) or job
        for job in dag.needrun_jobs()
        if not workflow.is_local(job.rule)
    }
    if SITE is None or not jobs:
        return
    try:
        problems = sitecheck.check_site(SITE, [dict(job.resources.items()) for job in jobs])
        if problems:
            sys.exit("\n".join(f"error: {line}" for line in problems))
        left = slurm.jobs_here()
        if left:
            logger.warning(
                f"SLURM jobs of an earlier run of this folder ({', '.join(left)}) are told to end; "
                "what they have computed is kept"
            )
            slurm.end_jobs(list(left))
    except UserError as error:
        sys.exit(f"error: {error}")
