# One stored draw per task, k and seed. Of the kind `fair`: balanced, nested, the same for every
# method and model. The other kinds are those of the published code.
rule sample_shots:
    input:
        train="results/data/{task}/train.parquet",
    output:
        shots="results/shots/{draw}/{task}/k{k}/seed{seed}.parquet",
    log:
        "results/logs/shots/{draw}/{task}/k{k}/seed{seed}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(2000),
        runtime=longer(2),
    params:
        labels=lambda wildcards: list(STUDY.tasks[wildcards.task]["labels"]),
        code=code_version("data.shots", "schemas", "storage"),
    script:
        "../scripts/sample_shots.py"
