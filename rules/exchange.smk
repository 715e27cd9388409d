from fewshot.study.exchange_inputs import (
    OWN_WEIGHTS,
    adapter_files,
    adapter_runs,
    context_cells,
    exported_jobs,
    logged_runs,
    result_sources,
    told_job,
)
from fewshot.study.imports import travelling_settings, used_entries

# What the archive of results holds besides the study's entries; texts of rows stay here.
TRAVELLING = sorted(
    {
        *RUN_MANIFESTS,
        *HELD_OUT_MANIFESTS,
        *WINDOWS,
        *MODEL_MANIFESTS,
        *map(INPUTS.weights, STUDY.hub_models),
        *SOURCE_MANIFESTS,
        *INPUTS.draws(),
        *ELSEWHERE.draws(),
        *UNADAPTED,
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
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        study=travelling_settings(STUDY),
        entries=used_entries(STUDY),
        code=code_version("exchange.archive"),
    script:
        "../scripts/export_predictions.py"


# No input and no output: which files the archive holds is known once it is open.
rule import_predictions:
    log:
        "results/logs/import_predictions.log",
    localrule: True
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
    localrule: True
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
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        cells=CONTEXT_CELLS,
        left_out=STUDY.divided_methods,
        code=code_version("exchange.lm_eval_tasks"),
    script:
        "../scripts/export_lm_eval.py"


# Adapters lie beside the manifests of their runs, and are no input: an import brings none, and
# nothing is to be trained again for that.
rule export_adapters:
    input:
        one_line(lambda w: adapter_files(adapter_runs(INPUTS)[0])),
    output:
        folder=directory(f"results/{STUDY.name}/adapters"),
    log:
        f"results/logs/{STUDY.name}/export_adapters.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        runs=one_line(lambda w: adapter_runs(INPUTS)[0]),
        left_out=lambda w: adapter_runs(INPUTS)[1],
        selection=STUDY.settings["main"]["selection"],
        code=code_version("exchange.adapters"),
    script:
        "../scripts/export_adapters.py"


# No output: what is on the Hub is its owner's to change.
rule push_adapters:
    input:
        folder=one_line(pushed_folder),
    log:
        f"results/logs/{STUDY.name}/push_adapters.log",
    retries: 0
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        repository=REPOSITORY,
    script:
        "../scripts/push_adapters.py"


# Results for models' pages on the Hub, and in the shared schema of Every Eval Ever.
rule export_results:
    input:
        metrics=METRICS,
        manifests=RUN_MANIFESTS,
        models=MODEL_MANIFESTS,
        sources=SOURCE_MANIFESTS,
        rows=EVALUATION if ROWS == "yes" else [],
    output:
        hub=directory(f"results/{STUDY.name}/exchange/hub"),
        shared=directory(f"results/{STUDY.name}/exchange/every_eval_ever"),
    log:
        f"results/logs/{STUDY.name}/export_results.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        catalog=one_line(lambda w: INPUTS.catalog),
        jobs=lambda w: exported_jobs(INPUTS),
        sources=lambda w: result_sources(INPUTS),
        sets=lambda w: {
            each["set"]: each["path"] for task in TASKS for each in INPUTS.sets_with_paths(task)
        },
        with_rows=ROWS,
        organization=ORGANIZATION,
        source=SOURCE,
        code=code_version("exchange.results", "analysis.evidence"),
    script:
        "../scripts/export_results.py"


# Finished runs in a tracker. No output: what it holds already is seen once it is open.
rule export_tracking:
    input:
        metrics=METRICS,
        costs=COSTS,
        manifests=RUN_MANIFESTS,
    log:
        f"results/logs/{STUDY.name}/export_tracking.log",
    localrule: True
    conda:
        "../envs/fairshot.yaml"
    params:
        study=STUDY.name,
        selection=STUDY.settings["main"]["selection"],
        jobs=lambda w: exported_jobs(INPUTS),
        tracker=TRACKER,
        folder=f"results/{STUDY.name}/tracking",
    script:
        "../scripts/export_tracking.py"
