# Fetch models. Local rules: on a cluster only the login node has network.


# What a model's files are, by the Hub's metadata, and all of them but its weights.
rule download_model:
    input:
        files=lambda w: INPUTS.model_files(w.model),
    output:
        manifest="results/models/{model}/manifest.json",
    log:
        "results/logs/models/{model}.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        name="{model}",
        entry=lambda w: STUDY.model_source(w.model),
    script:
        "../scripts/download_model.py"


# Weights lie in the cache of huggingface_hub (HF_HUB_CACHE); results/models/ links to them. Once
# made, the marker stays: weights that were freed after all runs had finished make nothing run.
rule download_weights:
    input:
        manifest="results/models/{model}/manifest.json",
    output:
        marker="results/models/{model}/weights.json",
    log:
        "results/logs/models/{model}-weights.log",
    wildcard_constraints:
        model=any_of(STUDY.hub_models),
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    script:
        "../scripts/download_weights.py"


# All that a study needs of the network. No output: what is there is looked at each time.
rule download:
    input:
        MODEL_MANIFESTS,
        SOURCE_MANIFESTS,
        NEEDED_WEIGHTS,
    log:
        f"results/logs/{STUDY.name}/download.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        markers=NEEDED_WEIGHTS,
    script:
        "../scripts/download_weights.py"
