# Which files the study is made of.
PROTOCOL = STUDY.settings["protocol"]
PAIRS = INPUTS.pairs
TASKS = list(dict.fromkeys(task for task, _ in PAIRS))
SETS = {name for task in TASKS for name in STUDY.evaluation_sets(task)}
METHODS_IN_CONTEXT = [name for name in STUDY.methods if STUDY.uses_context(name)]
METHODS_IMPORTED = [name for name in STUDY.methods if STUDY.is_imported(name)]
METHODS_TRAINED = [
    name for name in STUDY.methods if name not in (*METHODS_IN_CONTEXT, *METHODS_IMPORTED)
]

METRICS = [f"results/metrics/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
COSTS = [f"results/costs/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
COMPARISONS = [f"results/statistics/{STUDY.name}/{task}/comparisons.parquet" for task in TASKS]
VARIANCE = [f"results/statistics/{STUDY.name}/{task}/variance.parquet" for task in TASKS]
WINDOWS = [f"results/windows/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
RUN_MANIFESTS = [f"results/runs/{job.folder}/manifest.json" for job in STUDY.jobs]
MODEL_MANIFESTS = sorted({f"results/models/{cell.model}/manifest.json" for cell in STUDY.own_cells})
SOURCE_MANIFESTS = sorted({f"results/raw/{STUDY.source_of(name)}/manifest.json" for name in SETS})
PREPARED = sorted(
    {f"results/data/{name}/validation.parquet" for name in SETS}
    | {f"results/data/{task}/train.parquet" for task in TASKS}
)
# The runs of models from the Hub, whose weights they need.
HUB_RUNS = {model: [] for model in STUDY.hub_models}
for _job in STUDY.jobs:
    if _job.cell.model in HUB_RUNS and not STUDY.is_imported(_job.cell.method):
        HUB_RUNS[_job.cell.model].append(f"results/runs/{_job.folder}/manifest.json")
# Models from the Hub that have unfinished runs.
UNFINISHED = [
    model for model, runs in HUB_RUNS.items() if not all(Path(run).is_file() for run in runs)
]
for _model in UNFINISHED if workflow.is_main_process else ():
    if Path(marker_of(_model)).is_file():
        try:
            whole_folder(f"results/models/{_model}/manifest.json")
        except UserError as error:  # Told before a job fails for it.
            logger.warning(f"{error}")
FIGURE_KINDS = ["svg", "pdf", "png", "html"]
TABLE_KINDS = ["parquet", "csv", "tex", "md"]
TABLES = files_of("tables", STUDY.tables, TABLE_KINDS)
FIGURES = files_of("figures", STUDY.figures, FIGURE_KINDS)
