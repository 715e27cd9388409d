# Fairshot: fine-tuning or in-context learning? A Snakemake workflow.
#
# The study comes from config/config.yaml (the demo) unless --configfile names another one. The
# demo is left out then, since Snakemake would merge the two key by key.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


report: "rules/captions/workflow.rst"


include: "rules/cluster.smk"
include: "rules/common.smk"
include: "rules/pairs.smk"
include: "rules/inputs.smk"
include: "rules/download.smk"
include: "rules/embedded.smk"
include: "rules/prepare.smk"
include: "rules/sample_shots.smk"
include: "rules/check_window.smk"
include: "rules/plan_memory.smk"
include: "rules/in_context.smk"
include: "rules/fine_tune.smk"
include: "rules/exchange.smk"
include: "rules/metrics.smk"
include: "rules/statistics.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/clean.smk"
include: "rules/plan.smk"
include: "rules/targets.smk"
include: "rules/start.smk"


rule all:
    default_target: True
    input:
        f"results/{STUDY.name}/report.html",
        TABLES,
        FIGURES,


rule metrics:
    input:
        METRICS,


rule statistics:
    input:
        COMPARISONS,
        VARIANCE,


rule runs:
    input:
        [f"results/runs/{job.folder}/manifest.json" for job in STUDY.jobs],


rule window:
    input:
        WINDOWS,


rule data:
    input:
        MODEL_MANIFESTS,
        PREPARED,


onstart:
    clean.free_finished(planned_runs(waiting=set(workflow.dag.needrun_jobs())))
    check_gpus()
    check_cluster()
    check_weights()


onsuccess:
    clean.free_finished(planned_runs())
    if Path(f"results/{STUDY.name}/report.html").exists():
        print(SUMMARY_HINT)


onerror:
    clean.free_finished(planned_runs())
    if any(job.rule.name in REPORTED for job in workflow.dag.needrun_jobs()):
        print(PARTIAL_HINT, file=sys.stderr)
