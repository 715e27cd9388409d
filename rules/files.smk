from fewshot.study.exchange_inputs import measured_jobs
from fewshot.study.figure_needs import WITH_LATENCY, WITH_MANIFESTS

# Which files the study is made of.
PROTOCOL = STUDY.settings["protocol"]
PAIRS = INPUTS.pairs
TASKS = list(dict.fromkeys(task for task, _ in PAIRS))
METHODS_IN_CONTEXT = [name for name in STUDY.methods if STUDY.uses_context(name)]
METHODS_IMPORTED = [name for name in STUDY.methods if STUDY.is_imported(name)]
METHODS_BASELINE = [name for name in STUDY.methods if STUDY.is_baseline(name)]
OTHERS = {*METHODS_IN_CONTEXT, *METHODS_IMPORTED, *METHODS_BASELINE}
METHODS_TRAINED = [name for name in STUDY.methods if name not in OTHERS]

METRICS = [f"results/metrics/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
COSTS = [f"results/costs/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
COMPARISONS = [f"results/statistics/{STUDY.name}/{task}/comparisons.parquet" for task in TASKS]
CONTRASTS = [f"results/statistics/{STUDY.name}/{task}/contrasts.parquet" for task in TASKS]
VARIANCE = [f"results/statistics/{STUDY.name}/{task}/variance.parquet" for task in TASKS]
CHOICES = INPUTS.choice_files()
BIAS = INPUTS.bias_files()
FORGETTING = [f"results/statistics/{STUDY.name}/forgetting.parquet"] if STUDY.forgetting else []
UNADAPTED = ELSEWHERE.before()
WINDOWS = [f"results/windows/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
LATENCY = [latency_file(STUDY.run_folder(job)) for job in measured_jobs(STUDY)]
RUN_MANIFESTS = [f"{STUDY.run_folder(job)}/manifest.json" for job in STUDY.jobs]
HELD_OUT_MANIFESTS = [f"{STUDY.held_out_folder(job)}/manifest.json" for job in STUDY.held_out_jobs]
MODEL_MANIFESTS = sorted({f"results/models/{name}/manifest.json" for name in STUDY.own_models})
SOURCE_MANIFESTS = sorted({f"results/raw/{name}/manifest.json" for name in used_sources(STUDY)})
PREPARED = sorted(
    {path for task in TASKS for path in INPUTS.evaluation_files(task)}
    | {INPUTS.train_file(task, 1) for task in TASKS}
    | {*ELSEWHERE.rows()}
)
NEEDED_WEIGHTS = INPUTS.needed_weights()
FIGURE_KINDS = ["svg", "pdf", "png", "html"]
TABLE_KINDS = ["parquet", "csv", "tex", "md"]
TABLES = files_of("tables", STUDY.tables, TABLE_KINDS)
FIGURES = files_of("figures", STUDY.figures, FIGURE_KINDS)
# With those that are made on demand alone.
TABLE_ENTRIES = {**STUDY.tables, **STUDY.on_demand["table"]}
FIGURE_ENTRIES = {**STUDY.figures, **STUDY.on_demand["figure"]}


def latency_of(entries):
    """Return the files of measured latencies, if one of these figures and tables shows them."""
    shown = any(entry["function"] in WITH_LATENCY for entry in entries)
    return LATENCY if shown else []
