# Fetch raw rows and model snapshots. Local rules: on a cluster only the login node has network.
localrules:
    download_data,
    download_model,


rule download_data:
    input:
        files=source_files,
    output:
        manifest="results/raw/{source}/manifest.json",
    log:
        "results/logs/raw/{source}.log",
    wildcard_constraints:
        source=any_of(STUDY.tasks),
    conda:
        "../envs/fairshot.yaml"
    params:
        name="{source}",
        source=lambda wildcards: STUDY.tasks[wildcards.source]["source"],
        code=source_code_version,
    script:
        "../scripts/download_data.py"


rule download_model:
    input:
        files=model_files,
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        "results/logs/models/{model}.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        name="{model}",
        entry=lambda wildcards: STUDY.model_source(wildcards.model),
    script:
        "../scripts/download_model.py"
