# Where each model and method of the study would run and what that takes, from shapes alone.
localrules:
    plan_memory,


rule plan_memory:
    output:
        plan=f"results/{STUDY.name}/plan.parquet",
        csv=f"results/{STUDY.name}/plan.csv",
        md=f"results/{STUDY.name}/plan.md",
    log:
        f"results/logs/{STUDY.name}/plan.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        # The machine is no input of any result, but this table is about it.
        machine=lambda wildcards: PLAN.machine.name,
        plan=lambda wildcards: PLAN.table(),
        models={model: STUDY.models[model] for _, model in PAIRS},
        code=code_version("planning.memory_plan_table"),
    script:
        "../scripts/plan_memory.py"
