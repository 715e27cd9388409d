# What is checked once it is known which jobs will run, before the first one does.
import sys

from scripts.fewshot.downloads import clean, store
from scripts.fewshot.runtime import site_checks, slurm
from scripts.fewshot.errors import UserError
from scripts.fewshot.runtime.script import relayed
from scripts.fewshot.runtime.submission import group_of


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
        from scripts.fewshot.downloads.models import fetch_freed

        with relayed(logger):
            fetch_freed(freed, STORE.get("scratch", ""), STORE.get("disk_budget_gb", 0))
    except UserError as error:
        sys.exit(f"error: {error}")


def check_cluster():
    """End Snakemake before it submits a job that the cluster would refuse; end jobs left over."""
    if SITE is None and workflow.executor_plugin.name == "slurm":
        end_with(
            [
                "--default-resources replaces the profile's, of which `site` names the facts of the "
                "cluster; add site=profiles/slurm/site.yaml to them, or use --set-resources"
            ]
        )
    if SITE is None or workflow.touch:
        return
    needed = list(workflow.dag.needrun_jobs())
    submitted = [job for job in needed if not workflow.is_local(job.rule)]
    try:
        if submitted:
            check_submissions(submitted)
        elif any(job.rule.name in STORING for job in needed):
            end_with(site_checks.check_entries(SITE))
    except UserError as error:
        end_with([error])


def check_submissions(jobs):
    """Compare jobs with what the cluster takes, and end those that an earlier run has left there."""
    end_with(filter(None, map(misplaced, jobs)))
    queue = queue_for(PLAN.machine.has_gpu)
    sent = {workflow.dag.get_job_group(job) or job for job in jobs}
    requests = [dict(job.resources.items()) for job in sent]
    problems, doubts = site_checks.check_site(SITE, requests, queue.attempts)
    end_with(problems)
    if doubts:
        doubts.append(
            "nodes are down or drained, which may be why: these jobs are submitted, and wait"
        )
    longest = max(
        (
            PLAN.wall(cell_of(job.wildcards), len(job_seeds(job.wildcards)))
            for job in jobs
            if job.rule.name in ADAPTING
        ),
        default=0.0,
    )
    for line in doubts + site_checks.check_work(SITE, queue, longest):
        logger.warning(line)
    left = left_over(jobs)
    if left:
        logger.warning(
            f"SLURM jobs of an earlier run of this folder ({', '.join(left)}) are told to end; "
            "what they have computed is kept"
        )
        slurm.end_jobs(left)


def left_over(jobs):
    """Return SLURM's jobs of this folder in which some of these jobs may still be: number → state.

    Which jobs of a group are submitted together differs from start to start, and with it the rules
    at the end of a group's name; whether a job is in a group of short ones, once times are learnt.
    """
    now = {group.groupid for group in map(workflow.dag.get_job_group, jobs) if group}
    short = {group_of(STUDY.name, cell_of(j.wildcards)) for j in jobs if j.rule.name in ADAPTING}
    return slurm.jobs_here(set(map(comment, jobs)), tuple(f"rule_{id}_" for id in now | short))


def end_with(problems):
    """End Snakemake with a line for each problem, if there are any."""
    lines = [f"error: {line}" for line in problems]
    if lines:
        sys.exit("\n".join(lines))


def misplaced(job):
    """Return what is wrong where a job's GPUs or nodes are not those that its request is for."""
    if job.rule.name not in ADAPTING:
        return ""
    plan = PLAN.resources(cell_of(job.wildcards), 1, len(job_seeds(job.wildcards)))
    given = {name: job.resources.get(name, 0) for name in ("gpu", "nodes")}
    if all(plan[name] == value for name, value in given.items()):
        return ""
    return (
        f"{job.output[0]}: gpu = {given['gpu']} and nodes = {given['nodes']}, but the memory plan has "
        f"{plan['gpu']} and {plan['nodes']}; on a cluster it decides, from the facts in {SITE.path}"
    )


def comment(job):
    """Return what SLURM is told of a job that has a submission to itself."""
    from snakemake_executor_plugin_slurm.utils import get_job_wildcards

    wildcards = get_job_wildcards(job)
    return f"rule_{job.name}_wildcards_{wildcards}" if wildcards else f"rule_{job.name}"


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
