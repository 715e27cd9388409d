# What the study will cost, before anything is submitted, and what finished jobs tell of that.
localrules:
    plan,
    calibrate,


def submitting():
    """Return how the cluster takes adaptation jobs (schedule.Queue); nothing without a site."""
    if SITE is None:
        return {}
    return {
        "most_minutes": SITE.most_minutes(int(PLAN.machine.has_gpu)),
        "attempts": 1 + workflow.execution_settings.retries,
        "short_minutes": SITE.short_minutes,
        "together": workflow.group_settings.group_components.get("short", 1),
    }


# No input and no output: both read what there is, and always run.
rule plan:
    log:
        f"results/logs/{STUDY.name}/schedule.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=lambda wildcards: asdict(STUDY),
        files=lambda wildcards: job_files(),
        queue=lambda wildcards: submitting(),
    script:
        "../scripts/plan.py"


rule calibrate:
    log:
        "results/logs/calibrate.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=lambda wildcards: asdict(STUDY),
    script:
        "../scripts/calibrate.py"
