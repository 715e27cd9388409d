# Fairshot: fine-tuning or in-context learning? A Snakemake workflow.
#
# The study comes from config/config.yaml (the demo) unless --configfile names another one. The
# demo is left out then, since Snakemake would merge the two key by key.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "rules/captions/workflow.rst"


# For `--sdm apptainer`: what apptainer builds of the definition that `make container` writes.
containerized: "fairshot.sif"


include: "rules/module.smk"
include: "rules/common.smk"
include: "rules/files.smk"
include: "rules/models.smk"
include: "rules/data.smk"
include: "rules/adapt.smk"
include: "rules/exchange.smk"
include: "rules/latency.smk"
include: "rules/analyse.smk"
include: "rules/pages.smk"
include: "rules/planning.smk"
include: "rules/demo.smk"
include: "rules/targets.smk"
include: "rules/start.smk"


# The whole study: its report with all tables and figures.
rule all:
    default_target: True
    input:
        f"results/{STUDY.name}/report.html",
        TABLES,
        FIGURES,


# Models, raw rows, and rows of one shape.
rule data:
    input:
        MODEL_MANIFESTS,
        PREPARED,


# Predictions of every model, method, pattern, number of shots and seed; and of shots held out.
rule runs:
    input:
        RUN_MANIFESTS,
        HELD_OUT_MANIFESTS,
        UNADAPTED,


# Accuracies and costs of each seed.
rule metrics:
    input:
        METRICS,


# Methods compared over seeds, the study's other questions, where the variance comes from, what
# models make of bias probes, and what adaptation changes outside its task.
rule statistics:
    input:
        COMPARISONS,
        CONTRASTS,
        VARIANCE,
        BIAS,
        FORGETTING,
