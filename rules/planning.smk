from fewshot.planning import estimate as study_estimate
from fewshot.planning import power as study_power

# What the study takes: which contexts fit, where its jobs run, how many GPU-hours, and what its
# cluster says of that; what it can find; and what finished jobs have left.


# Which contexts fit which model's window. No output: it prints what does not.
rule window:
    input:
        windows=WINDOWS,
    log:
        f"results/logs/{STUDY.name}/window.log",
    localrule: True
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
    localrule: True
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
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        jobs=one_line(lambda w: study_estimate.job_rows(PLAN, REQUESTS.most_minutes, Path(PREFIX))),
        facts=lambda w: study_estimate.facts(PLAN, REQUESTS.most_minutes),
        code=code_version("planning.estimate_page"),
    script:
        "../scripts/estimate.py"


# Which differences the study can find, and with how many seeds. Finished comparisons are no input:
# asking must run nothing.
rule power:
    output:
        table=f"results/{STUDY.name}/power.parquet",
        csv=f"results/{STUDY.name}/power.csv",
        md=f"results/{STUDY.name}/power.md",
    log:
        f"results/logs/{STUDY.name}/power.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        asked=one_line(lambda w: study_power.questions(STUDY, Path(PREFIX))),
        facts=one_line(lambda w: study_power.facts(STUDY)),
        code=code_version("planning.power_page"),
    script:
        "../scripts/power.py"


# Compare site.yaml with what SLURM says. No output: the cluster may say something else tomorrow.
rule check_site:
    log:
        f"results/logs/{STUDY.name}/check_site.log",
    retries: 0
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        site=from_here(SITE.path) if SITE else "",
        requests=one_line(lambda w: REQUESTS.shapes() if SITE else []),
        longest=lambda w: REQUESTS.longest(),
    script:
        "../scripts/check_site.py"


# States that no job needs. No input and no output: it looks at what lies in results/state.
rule clean:
    log:
        f"results/logs/{STUDY.name}/clean.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        runs=[str(Path(path).parent) for path in [*RUN_MANIFESTS, *HELD_OUT_MANIFESTS]],
        delete=DELETE,
    script:
        "../scripts/clean.py"
