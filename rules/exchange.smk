from scripts.fewshot.study.exchange_inputs import context_cells, logged_runs
from scripts.fewshot.study.imports import used_entries


# What travels: all that tables and figures are made from, and results made elsewhere.
localrules:
    export_predictions,
    import_predictions,
    export_lm_eval,
    convert_lm_eval,


# What the archive holds besides the study's entries; texts of rows stay here.
TRAVELLING = sorted(
    {
        *RUN_MANIFESTS,
        *HELD_OUT_MANIFESTS,
        *WINDOWS,
        *MODEL_MANIFESTS,
        *map(INPUTS.weights, STUDY.hub_models),
        *SOURCE_MANIFESTS,
        *INPUTS.draws(),
    }
)
EVALUATION = sorted({path for task in TASKS for path in INPUTS.evaluation_files(task)})
CONTEXT_CELLS = context_cells(INPUTS)


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


# Runs made elsewhere come from an archive: the input ends Snakemake where one is not there.
rule imported_run:
    input:
        made_elsewhere,
    output:
        predictions=f"results/runs/{RUN}/predictions.parquet",
        curves=f"results/runs/{RUN}/curves.parquet",
        manifest=f"results/runs/{RUN}/manifest.json",
    wildcard_constraints:
        method=any_of(METHODS_IMPORTED),


# Logs of samples that lm-evaluation-harness wrote, as an archive to import.
rule convert_lm_eval:
    input:
        one_line(lambda w: [path for run in logged_runs(INPUTS, LM_EVAL) for path in run["files"]]),
    output:
        archive=f"results/{STUDY.name}/lm_eval.tar",
    log:
        f"results/logs/{STUDY.name}/convert_lm_eval.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        runs=one_line(lambda w: logged_runs(INPUTS, LM_EVAL)),
        code=code_version("exchange.lm_eval_runs"),
    script:
        "../scripts/convert_lm_eval.py"


rule export_lm_eval:
    input:
        evaluation=EVALUATION,
        train=sorted({path for pair in PAIRS for path in [INPUTS.pair_train_file(*pair)] if path}),
        shots=sorted({path for cell in CONTEXT_CELLS for path in cell["shots"].values()}),
        models=sorted({cell["manifest"] for cell in CONTEXT_CELLS if "manifest" in cell}),
    output:
        folder=directory(f"results/{STUDY.name}/lm_eval"),
    log:
        f"results/logs/{STUDY.name}/export_lm_eval.log",
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        cells=CONTEXT_CELLS,
        left_out=STUDY.divided_methods,
        code=code_version("exchange.lm_eval_tasks"),
    script:
        "../scripts/export_lm_eval.py"
