from scripts.fewshot.planning import estimate as study_estimate


# What the study takes: which contexts fit, where its jobs run, how many GPU-hours, and what its
# cluster says of that; and what finished jobs have left.
localrules:
    window,
    plan_memory,
    estimate,
    check_site,
    clean,


# Which contexts fit which model's window. No output: it prints what does not.
rule window:
    input:
        windows=WINDOWS,
    log:
        f"results/logs/{STUDY.name}/window.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        divided=STUDY.divided_methods,
        code=code_version("prompts.window", "storage"),
    script:
        "../scripts/window.py"


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
        plan=one_line(lambda w: PLAN.table()),
        models=lambda w: {model: STUDY.model(model) for _, model in PAIRS},
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
        jobs=one_line(lambda w: study_estimate.job_rows(PLAN, REQUESTS.most_minutes)),
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
        requests=one_line(lambda w: REQUESTS.shapes() if SITE else []),
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
        runs=[str(Path(path).parent) for path in [*RUN_MANIFESTS, *HELD_OUT_MANIFESTS]],
        delete=DELETE,
    script:
        "../scripts/clean.py"
