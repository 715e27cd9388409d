# Fetch raw rows and model snapshots. Local rules: on a cluster only the login node has network.
localrules:
    download_data,
    download_model,
    download_weights,
    download,


rule download_data:
    input:
        files=lambda w: INPUTS.source_files(w.source),
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
        source=lambda w: STUDY.tasks[w.source]["source"],
        code=lambda w: INPUTS.source_code(w.source),
    script:
        "../scripts/download_data.py"


# What a model's files are, by the Hub's metadata, and all of them but its weights.
rule download_model:
    input:
        files=lambda w: INPUTS.model_files(w.model),
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        "results/logs/models/{model}.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        name="{model}",
        entry=lambda w: STUDY.model_source(w.model),
    script:
        "../scripts/download_model.py"


# The marker says that weights are there, and where. Where they were freed after a run of the model
# had finished it stays, without files, so that nothing runs for want of it: see check_weights.
rule download_weights:
    input:
        manifest="results/models/{model}/manifest.json",
    output:
        marker="results/models/{model}/weights.json",
    log:
        "results/logs/models/{model}-weights.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        **(SITE.store if SITE else {}),
    script:
        "../scripts/download_weights.py"


# All that a study needs of the network. No output: what is there is looked at each time.
rule download:
    input:
        MODEL_MANIFESTS,
        SOURCE_MANIFESTS,
        [marker_of(model) for model in UNFINISHED],
    log:
        f"results/logs/{STUDY.name}/download.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        **(SITE.store if SITE else {}),
    params:
        models=UNFINISHED,
    script:
        "../scripts/fetch_freed.py"
