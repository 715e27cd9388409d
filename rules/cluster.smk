# What jobs ask of the machine or the cluster they run on: none of it makes a job run again.
# On a cluster the profile names the file with the site's facts (default resource `site`).
import sys

from scripts.fewshot import freeing, gpus, sitecheck, slurm, store
from scripts.fewshot.cells import Cell
from scripts.fewshot.errors import UserError
from scripts.fewshot.machine import gpu_memories
from scripts.fewshot.relay import relayed
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
    if SITE.problems and workflow.output_settings.dryrun:
        logger.warning(
            f"{SITE.path}: missing or wrong: {', '.join(SITE.problems)}; a dry run plans with "
            "placeholders, a real one will not start"
        )
    # A group's jobs then run one after another: its submission is as wide as one of them, and the
    # time limits add up.
    workflow.register_resource("_cores", 1)


ADAPTING = ("run_in_context", "fine_tune")


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
    found = PLAN.resources(cell, 1, seeds)
    alike = found["gpu"] <= 1 and found["offload"] == "none"
    if not alike or PLAN.wall(cell, seeds) >= 60 * SITE.short_minutes:
        return None
    name = f"short_{cell.task}_{cell.model}"
    # By this group-components finds them, as for groups that are named with wildcards.
    workflow.parent_groupids[name] = "short"
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
        *(("grouped", *REQUEST) if SITE else ()),
    )
}


def check_weights():
    """Fetch weights that were freed, for the jobs that will run: only now is it known which."""
    if workflow.touch:
        return
    jobs = list(workflow.dag.needrun_jobs())
    fetched = {job.wildcards.model for job in jobs if job.rule.name == "download_weights"}
    needed = {job.wildcards.model for job in jobs if job.rule.name in ADAPTING} - fetched
    needed &= set(HUB_RUNS)
    freed = sorted(model for model in needed if not presence.is_there(model))
    try:
        store.register_models(needed)
        if not freed:
            return
        logger.warning(f"weights that were freed are fetched again: {', '.join(freed)}")
        from scripts.fewshot.snapshots import fetch_freed

        with relayed(logger):
            fetch_freed(freed, STORE.get("scratch", ""), STORE.get("disk_budget_gb", 0))
    except UserError as error:
        sys.exit(f"error: {error}")


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


def check_gpus():
    """End with one line where a job that would run asks for more GPUs than Snakemake may give.

    Snakemake would give it fewer, and the rest of its plan as it is.
    """
    limit = workflow.global_resources.get("gpu").value
    if limit is None or workflow.touch:
        return
    for job in workflow.dag.needrun_jobs():
        wanted = job.rule.resources.get("gpu")
        given = {"input": job.input, "threads": job.threads, "rulename": job.rule.name}
        count = wanted.evaluate(job.wildcards, attempt=job.attempt, **given).value or 0
        if count > limit:
            sys.exit(
                f"error: {job.output[0]}: gpu = {count}; valid: up to {limit} (what nvidia-smi finds, "
                "or --resources); ask for less by --set-resources or the study's key machine, or run "
                "it elsewhere"
            )
