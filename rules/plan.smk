# What the study will cost, before anything is submitted, and what finished jobs tell of that.
localrules:
    plan,
    calibrate,


DRAWS_USED = sorted(
    {
        *(path for pair in PAIRS for path in pair_shots_files(Pair(*pair))),
        *(
            f"results/shots/{STUDY.draw_of(each.cell.method)}/{each.cell.task}/k{each.cell.k}/seed{seed}.parquet"
            for each in STUDY.imports
            if each.prompts == "stored" and each.cell.k
            for seed in each.seeds
        ),
    }
)
ADAPTING = {
    "run_in_context": METHODS_IN_CONTEXT,
    "fine_tune": METHODS_TRAINED,
    "read_lm_eval": METHODS_IMPORTED,
}
# A file of each job that `all` asks for, by rule.
JOB_FILES = {
    "download_data": SOURCE_MANIFESTS,
    "download_model": MODEL_MANIFESTS,
    "prepare_task": sorted(
        {*EVALUATION, *(f"results/data/{Path(path).parts[3]}/train.parquet" for path in DRAWS_USED)}
    ),
    "sample_shots": DRAWS_USED,
    "check_fit": FITS,
    **{
        name: [
            f"results/runs/{job.folder}/manifest.json"
            for job in STUDY.jobs
            if job.cell.method in methods
        ]
        for name, methods in ADAPTING.items()
    },
    "compute_metrics": METRICS,
    "compare_methods": COMPARISONS,
    "make_table": files_of("tables", STUDY.tables, ["parquet"]),
    "plot_figure": files_of("figures", STUDY.figures, ["vl.json"]),
    "render_figure": files_of("figures", STUDY.figures, ["svg"]),
    "write_report": [f"results/{STUDY.name}/report.html"],
}


# No input and no output: both read what there is, and always run.
rule plan:
    log:
        f"results/logs/{STUDY.name}/schedule.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=lambda wildcards: asdict(STUDY),
        files=JOB_FILES,
    script:
        "../scripts/plan.py"


rule calibrate:
    log:
        "results/logs/calibrate.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=lambda wildcards: asdict(STUDY),
    script:
        "../scripts/calibrate.py"
