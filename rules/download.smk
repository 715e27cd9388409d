# Fetch raw rows and model snapshots. Local rules: on a cluster only the login node has network.
localrules:
    download_data,
    download_model,
    download_weights,
    claim_weights,


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


# What a model's files are, by the Hub's metadata, and all of them but its weights.
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


# The marker says that weights are there and where. Not for models whose weights were freed (see
# scripts/fewshot/presence.py): there is a marker without files, and it is no reason to fetch them.
rule download_weights:
    input:
        manifest="results/models/{model}/manifest.json",
    output:
        marker="results/models/{model}/weights.json",
    log:
        "results/logs/models/{model}-weights.log",
    wildcard_constraints:
        model=models_regex(name for name in STUDY.models if name not in FREED),
    conda:
        "../envs/fairshot.yaml"
    script:
        "../scripts/download_weights.py"


# A file of each adaptation job's own, made shortly before the job and removed after it. Where the
# weights are no longer there it fetches them: Snakemake asks for a missing file only where the job
# must run, and by a file that all jobs of a model share it would run them all. No params: what
# changes the marker runs no adaptation job again, only the manifest does.
rule claim_weights:
    input:
        manifest="results/models/{model}/manifest.json",
        marker=ancient("results/models/{model}/weights.json"),
    output:
        claim=temp(CLAIM),
    log:
        "results/logs/models/{model}-claims/{protocol}_{task}_{method}_{pattern}_k{k}_{first}-{last}.log",
    wildcard_constraints:
        method=any_of(STUDY.methods),
    # Before further downloads: they wait for each other, and would keep jobs from starting.
    priority: 60
    conda:
        "../envs/fairshot.yaml"
    script:
        "../scripts/claim_weights.py"
