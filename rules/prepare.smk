# Raw rows of any source to one shape: id, texts, label, subsets.
rule prepare_task:
    input:
        manifest=lambda wildcards: f"results/raw/{STUDY.source_of(wildcards.task)}/manifest.json",
    output:
        rows="results/data/{task}/{split}.parquet",
    log:
        "results/logs/data/{task}/{split}.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(20),
    params:
        task=lambda wildcards: STUDY.task_reading(wildcards.task),
        code=code_version("data.prepare"),
    script:
        "../scripts/prepare_task.py"
