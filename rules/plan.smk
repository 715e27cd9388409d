# What the study will cost, before anything is submitted, and what finished jobs tell of that.
localrules:
    plan,
    calibrate,


# No input and no output: both read what there is, and always run.
rule plan:
    log:
        f"results/logs/{STUDY.name}/schedule.log",
    # What it cannot tell now, it cannot a moment later.
    retries: 0
    conda:
        "../envs/fairshot.yaml"
    params:
        study=lambda wildcards: asdict(STUDY),
        files=lambda wildcards: job_files(),
        queue=lambda wildcards: asdict(queue_for(PLAN.machine.has_gpu)) if SITE else {},
    script:
        "../scripts/plan.py"


rule calibrate:
    log:
        "results/logs/calibrate.log",
    retries: 0
    conda:
        "../envs/fairshot.yaml"
    params:
        study=lambda wildcards: asdict(STUDY),
    script:
        "../scripts/calibrate.py"
