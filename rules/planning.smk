from scripts.fewshot.planning import estimate as study_estimate


# What the study takes: where its jobs run, how many GPU-hours, and what its cluster says of that;
# and what finished jobs have left.
localrules:
    plan_memory,
    estimate,
    check_site,
    clean,


# Where each model and method runs and the memory that takes, from shapes alone.
rule plan_memory:
    output:
        plan=f"results/{STUDY.name}/memory_plan.parquet",
        csv=f"results/{STUDY.name}/memory_plan.csv",
        md=f"results/{STUDY.name}/memory_plan.md",
    log:
        f"results/logs/{STUDY.name}/memory_plan.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        # The machine is no input of any result, but this table is about it.
        machine=lambda w: PLAN.machine.name,
        plan=lambda w: PLAN.table(),
        models={model: STUDY.models[model] for _, model in PAIRS},
        code=code_version("planning.memory_plan_table"),
    script:
        "../scripts/plan_memory.py"


# Jobs, GPU-hours and bytes, before anything is submitted.
rule estimate:
    output:
        table=f"results/{STUDY.name}/estimate.parquet",
        csv=f"results/{STUDY.name}/estimate.csv",
        md=f"results/{STUDY.name}/estimate.md",
    log:
        f"results/logs/{STUDY.name}/estimate.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        jobs=lambda w: study_estimate.job_rows(PLAN, REQUESTS.most_minutes),
        facts=lambda w: study_estimate.facts(PLAN, REQUESTS.most_minutes),
        code=code_version("planning.estimate_page"),
    script:
        "../scripts/estimate.py"


# Compare site.yaml with what SLURM says. No output: the cluster may say something else tomorrow.
rule check_site:
    log:
        f"results/logs/{STUDY.name}/check_site.log",
    retries: 0
    conda:
        "../envs/fairshot.yaml"
    params:
        site=SITE.path if SITE else "",
        requests=lambda w: REQUESTS.shapes() if SITE else [],
        longest=lambda w: REQUESTS.longest(),
    script:
        "../scripts/check_site.py"


# States that no job needs. No input and no output: it looks at what lies in results/state.
rule clean:
    log:
        f"results/logs/{STUDY.name}/clean.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        runs=[f"results/runs/{job.folder}" for job in STUDY.jobs],
        delete=DELETE,
    script:
        "../scripts/clean.py"
