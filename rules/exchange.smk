from scripts.fewshot.study.imports import used_entries


# What travels: all that tables and figures are made from, and results made elsewhere.
localrules:
    export_predictions,
    import_predictions,
    export_lm_eval,


# What the archive holds besides the study's entries; texts of rows stay here.
TRAVELLING = sorted(
    {
        *RUN_MANIFESTS,
        *WINDOWS,
        *MODEL_MANIFESTS,
        *map(INPUTS.weights, STUDY.hub_models),
        *SOURCE_MANIFESTS,
        *(path for pair in PAIRS for path in INPUTS.pair_shots(*pair).values()),
    }
)
EVALUATION = sorted({path for task in TASKS for path in INPUTS.evaluation_files(task)})
CONTEXT_CELLS = INPUTS.context_cells()


rule export_predictions:
    input:
        files=TRAVELLING,
        rows=EVALUATION,
    output:
        archive=f"results/{STUDY.name}/predictions.tar",
    log:
        f"results/logs/{STUDY.name}/export_predictions.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.settings,
        entries=used_entries(STUDY),
        code=code_version("exchange.archive"),
    script:
        "../scripts/export_predictions.py"


# No input and no output: which files the archive holds is known once it is open.
rule import_predictions:
    log:
        "results/logs/import_predictions.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        archive=ARCHIVE,
    script:
        "../scripts/import_predictions.py"


# A run folder like any other, from the logs of samples that lm-evaluation-harness wrote.
rule read_lm_eval:
    input:
        samples=import_samples,
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
        train=import_train_file,
        shots=import_shots_files,
    output:
        predictions=f"results/runs/{RUN}/predictions.parquet",
        curves=f"results/runs/{RUN}/curves.parquet",
        manifest=f"results/runs/{RUN}/manifest.json",
    log:
        f"results/logs/runs/{RUN}.log",
    wildcard_constraints:
        method=any_of(METHODS_IMPORTED),
    conda:
        "../envs/fairshot.yaml"
    resources:
        mem_mb=scaled(4000),
        runtime=longer(60),
    params:
        seeds=job_seeds,
        evaluation=lambda w: INPUTS.evaluation_sets(w.task),
        pattern=lambda w: INPUTS.pattern(w.task, w.pattern),
        prompts=lambda w: import_of(wildcards).prompts,
        parameters=lambda w: STUDY.models[w.model]["parameters"],
        code=code_version("exchange.lm_eval_runs", "adaptation.job"),
    script:
        "../scripts/read_lm_eval.py"


rule import_lm_eval:
    input:
        [
            f"results/runs/{job.folder}/manifest.json"
            for job in STUDY.jobs
            if STUDY.is_imported(job.cell.method)
        ]
        or lacking(
            f"study '{STUDY.name}' has no imports, which name logs of lm-evaluation-harness to read"
        ),


rule export_lm_eval:
    input:
        evaluation=EVALUATION,
        train=sorted({path for pair in PAIRS for path in [INPUTS.pair_train_file(*pair)] if path}),
        shots=sorted({path for cell in CONTEXT_CELLS for path in cell["shots"].values()}),
    output:
        folder=directory(f"results/{STUDY.name}/lm_eval"),
    log:
        f"results/logs/{STUDY.name}/export_lm_eval.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        cells=CONTEXT_CELLS,
        code=code_version("exchange.lm_eval_tasks"),
    script:
        "../scripts/export_lm_eval.py"
