# Read and check the configuration, constrain wildcards, and say what a job needs.
import sys
from collections import namedtuple
from dataclasses import asdict, replace
from pathlib import Path


from scripts.fewshot import architecture, calibration, flops
from scripts.fewshot.codeversion import code_version
from scripts.fewshot.errors import UserError
from scripts.fewshot.exchange import used_entries
from scripts.fewshot.patterns import bind_pattern
from scripts.fewshot.memoryplan import MemoryPlan
from scripts.fewshot.needs import WITH_MANIFESTS
from scripts.fewshot.plan import load_study
from scripts.fewshot.protocols import DRAWS, PROTOCOLS
from scripts.fewshot.registry import read_yaml
from scripts.fewshot import presence, revisions

# No settings of a study, but what `snakemake import_predictions` and `snakemake clean` are told.
ARCHIVE = str(config.pop("archive", ""))
DELETE = str(config.pop("delete", "no"))

try:
    for path in workflow.configfiles:
        # Snakemake has merged the files already; read again, a key given twice is an error.
        read_yaml(path)
    STUDY = load_study(config, where=" + ".join(map(str, workflow.configfiles)) or "--config")
    if SITE:
        STUDY = replace(STUDY, machine={**SITE.machine, **STUDY.machine})
    PLAN = MemoryPlan(STUDY, calibration.read_if_valid())
    if workflow.is_main_process:
        PLAN.check()
        revisions.check_manifests("models", STUDY.hub_models, "results/models")
        revisions.check_manifests("sources", STUDY.hub_sources, "results/raw")
except UserError as error:
    # A mistake of the user's: one line, and no traceback into the workflow.
    sys.exit(f"error: {error}")

if PLAN.calibration.problem and workflow.is_main_process:
    logger.warning(f"times are not calibrated: {PLAN.calibration.problem}")

Pair = namedtuple("Pair", "task model")

PROTOCOL = STUDY.settings["protocol"]
METHODS_IN_CONTEXT = [name for name in STUDY.methods if STUDY.uses_context(name)]
METHODS_IMPORTED = [name for name in STUDY.methods if STUDY.is_imported(name)]
METHODS_TRAINED = [
    name for name in STUDY.methods if not STUDY.uses_context(name) and not STUDY.is_imported(name)
]

PAIRS = sorted({(job.cell.task, job.cell.model) for job in STUDY.jobs})
METRICS = [f"results/metrics/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
COSTS = [f"results/costs/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
COMPARISONS, VARIANCE = (
    [
        f"results/statistics/{STUDY.name}/{task}/{kind}.parquet"
        for task in dict.fromkeys(task for task, _ in PAIRS)
    ]
    for kind in ("comparisons", "variance")
)
FITS = [f"results/fit/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
RUN_MANIFESTS = [f"results/runs/{job.folder}/manifest.json" for job in STUDY.jobs]
MODEL_MANIFESTS = sorted({f"results/models/{cell.model}/manifest.json" for cell in STUDY.own_cells})
SOURCE_MANIFESTS = sorted(
    {
        f"results/raw/{STUDY.source_of(name)}/manifest.json"
        for task, _ in PAIRS
        for name in STUDY.evaluation_sets(task)
    }
)
PREPARED = sorted(
    {
        f"results/data/{name}/{split}.parquet"
        for task, _ in PAIRS
        for name in STUDY.evaluation_sets(task)
        for split in (("train", "validation") if name == task else ("validation",))
    }
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
if workflow.is_main_process:
    LOST = presence.settle(HUB_RUNS)
    if LOST:
        logger.warning(LOST)
FIGURE_KINDS = ["svg", "pdf", "png", "html"]
TABLE_KINDS = ["parquet", "csv", "tex", "md"]


def files_of(folder, names, kinds):
    """Return the files of figures or tables of the study, by name and kind."""
    return collect(
        "results/{study}/{folder}/{name}.{kind}",
        study=STUDY.name,
        folder=folder,
        name=names,
        kind=kinds,
    )


TABLES = files_of("tables", STUDY.tables, TABLE_KINDS)
FIGURES = files_of("figures", STUDY.figures, FIGURE_KINDS)

CATALOG = STUDY.catalog()


def partial_command():
    """Return the command that reports on this study as it stands."""
    files = " ".join(map(str, workflow.overwrite_configfiles or []))
    return f"snakemake report_partial --configfile {files}" if files else "snakemake report_partial"


SUMMARY_HINT = (
    f"Report: results/{STUDY.name}/report.html (numbers: results/{STUDY.name}/summary.txt)"
)
PARTIAL_HINT = (
    f"Some jobs failed. `{partial_command()}` makes tables, figures and a report from what "
    f"exists, under results/{STUDY.name}/partial/, and shows what is missing and why."
)
# Rules whose unfinished jobs a partial report does without.
REPORTED = (
    "check_fit",
    "run_in_context",
    "fine_tune",
    "read_lm_eval",
    "compute_metrics",
    "compare_methods",
    "make_table",
    "plot_figure",
    "render_figure",
    "write_report",
)


def planned_runs(waiting=()):
    """Return the folders of runs in this Snakemake's plan, but for those of jobs that wait."""
    return {
        str(Path(job.output.manifest).parent)
        for job in workflow.dag.jobs
        if job.rule.name in ADAPTING and job not in waiting
    }


def any_of(names):
    return "|".join(sorted(names)) or "none"


def models_regex(names):
    return any_of(name.replace(".", r"\.") for name in names)


wildcard_constraints:
    study=STUDY.name,
    protocol=any_of(PROTOCOLS),
    draw=any_of(DRAWS),
    task=any_of(STUDY.tasks),
    model=models_regex(STUDY.models),
    pattern=any_of(STUDY.patterns),
    split="train|validation",
    k=r"\d+",
    seed=r"\d+",
    first=r"\d+",
    last=r"\d+",


def source_files(wildcards):
    """Return the files of a local source, whose edits must be noticed; else nothing."""
    return sorted(set(STUDY.tasks[wildcards.source]["source"].get("local", {}).values()))


def model_files(wildcards):
    """Return the files of a local model that are loaded: configuration, tokenizer, weights."""
    folder = STUDY.models[wildcards.model].get("local")
    if not folder:
        return []
    kinds = ("*.json", "*.txt", "*.model", "*.safetensors", "*.bin")
    return sorted(str(path) for kind in kinds for path in Path(folder).glob(kind))


def source_code_version(wildcards):
    """Return the generator's version; what is downloaded depends on its revision alone."""
    synthetic = "synthetic" in STUDY.tasks[wildcards.source]["source"]
    return code_version("synthetic") if synthetic else ""


def evaluation_files(wildcards):
    return collect(
        "results/data/{set}/validation.parquet", set=STUDY.evaluation_sets(wildcards.task)
    )


def evaluation_sets(wildcards):
    """Return the sets to score and how the task's labels count in each."""
    labels = range(len(STUDY.tasks[wildcards.task]["labels"]))
    own = {"set": wildcards.task, "merge": list(labels)}
    others = STUDY.out_of_domain(wildcards.task)
    return [own, *({"set": name, "merge": merge} for name, merge in others)]


def task_files(kind):
    """Return the function that lists a task's files of one kind, a file for each of its models."""

    def files(wildcards):
        models = [model for task, model in PAIRS if task == wildcards.task]
        return [f"results/{kind}/{STUDY.name}/{wildcards.task}/{model}.parquet" for model in models]

    return files


def comparison_catalog():
    """Return what of the catalog decides which arms are compared: no title does."""
    kinds = {
        kind: {
            name: {key: entry[key] for key in ("family", "stored_draws") if key in entry}
            for name, entry in CATALOG[kind].items()
        }
        for kind in ("models", "methods", "patterns")
    }
    return {**kinds, "shared_draws": CATALOG["shared_draws"]}


def job_weights(wildcards):
    """Return the marker of a model's weights; those of a local model lie where they are."""
    return ancient(marker_of(wildcards.model)) if wildcards.model in HUB_RUNS else []


def marker_of(model):
    return f"results/models/{model}/weights.json"


def job_seeds(wildcards):
    return list(range(int(wildcards.first), int(wildcards.last) + 1))


def train_file(wildcards):
    return f"results/data/{wildcards.task}/train.parquet" if int(wildcards.k) else []


def shots_files(wildcards):
    if not int(wildcards.k):
        return []
    return collect(
        "results/shots/{draw}/{task}/k{k}/seed{seed}.parquet",
        draw=STUDY.draw_of(wildcards.method),
        task=wildcards.task,
        k=wildcards.k,
        seed=job_seeds(wildcards),
    )


def bound_pattern(task, pattern):
    """Return a pattern with the label words of a task, as plain values."""
    return asdict(bind_pattern(pattern, STUDY.patterns[pattern], task, STUDY.tasks[task]))


def job_pattern(wildcards):
    return bound_pattern(wildcards.task, wildcards.pattern)


def job_method(wildcards):
    return STUDY.method_settings(wildcards.method, wildcards.model)


def job_model(wildcards):
    """Return what of a model's entry changes its results."""
    entry = STUDY.models[wildcards.model]
    keys = ("dtype", "parameters", "window", "config")
    return {key: entry[key] for key in keys if key in entry}


def job_labels(wildcards):
    return len(STUDY.tasks[wildcards.task]["labels"])


def pair_jobs(wildcards):
    """Return the jobs that a metrics file summarises, as plain values."""
    return [
        {
            "method": job.cell.method,
            "pattern": job.cell.pattern,
            "k": job.cell.k,
            "seeds": list(job.seeds),
            "folder": f"results/runs/{job.folder}",
        }
        for job in STUDY.jobs_of(wildcards.task, wildcards.model)
    ]


def pair_size(wildcards):
    """Return what of a model's shape decides its operations, as plain values."""
    return asdict(flops.size_of(architecture.of_entry(STUDY.models[wildcards.model])))


def own_jobs(wildcards):
    """Return those of a pair's jobs that run here: what was made elsewhere needs no model."""
    return [job for job in pair_jobs(wildcards) if not STUDY.is_imported(job["method"])]


def pair_model(wildcards):
    return f"results/models/{wildcards.model}/manifest.json" if own_jobs(wildcards) else []


def pair_manifests(wildcards):
    return [f"{job['folder']}/manifest.json" for job in pair_jobs(wildcards)]


def pair_cells(wildcards):
    """Return the cells whose fit is checked for one task and model."""
    return [
        {
            "method": job["method"],
            "pattern": job["pattern"],
            "k": job["k"],
            "seeds": job["seeds"],
            "draw": STUDY.draw_of(job["method"]),
            "uses_context": STUDY.uses_context(job["method"]),
            "needs_words": STUDY.methods[job["method"]]["head"] == "language-model",
            "virtual_tokens": STUDY.method_settings(job["method"], wildcards.model).get(
                "virtual_tokens", 0
            ),
            "truncate": STUDY.methods[job["method"]].get("truncate"),
        }
        for job in own_jobs(wildcards)
    ]


def pair_patterns(wildcards):
    names = dict.fromkeys(job["pattern"] for job in own_jobs(wildcards))
    return {name: bound_pattern(wildcards.task, name) for name in names}


def pair_shots(wildcards):
    """Return the draws that one task and model use: "draw/k/seed" → path."""
    return {
        f"{draw}/{job['k']}/{seed}": (
            f"results/shots/{draw}/{wildcards.task}/k{job['k']}/seed{seed}.parquet"
        )
        for job in own_jobs(wildcards)
        for draw in [STUDY.draw_of(job["method"])]
        for seed in job["seeds"]
        if job["k"]
    }


def pair_shots_files(wildcards):
    return list(pair_shots(wildcards).values())


def pair_train_file(wildcards):
    return f"results/data/{wildcards.task}/train.parquet" if pair_shots(wildcards) else []


def table_entry(wildcards):
    return STUDY.tables[wildcards.name]


def table_manifests(wildcards):
    return RUN_MANIFESTS if table_entry(wildcards)["function"] in WITH_MANIFESTS else []


def figure_entry(wildcards):
    return STUDY.figures[wildcards.name]


def figure_category(wildcards):
    return STUDY.figures[wildcards.name]["category"]


def table_category(wildcards):
    return STUDY.tables[wildcards.name]["category"]


def import_of(wildcards):
    """Return the entry of the study's imports that a run is read from."""
    names = ("protocol", "task", "model", "method", "pattern")
    cell = Cell(*(getattr(wildcards, name) for name in names), int(wildcards.k))
    return next(each for each in STUDY.imports if each.cell == cell)


def import_samples(wildcards):
    """Return the logs of a run, by seed and, within one, by evaluation set."""
    entry = import_of(wildcards)
    return [
        entry.file(name, seed)
        for seed in job_seeds(wildcards)
        for name in STUDY.evaluation_sets(wildcards.task)
    ]


def import_train_file(wildcards):
    return train_file(wildcards) if import_of(wildcards).prompts == "stored" else []


def import_shots_files(wildcards):
    return shots_files(wildcards) if import_of(wildcards).prompts == "stored" else []


def context_cells():
    """Return what the study shows in context, whatever the model, as plain values."""
    Wildcards = namedtuple("Wildcards", "protocol task model method pattern k first last")
    found = {}
    for job in STUDY.jobs:
        if STUDY.uses_context(job.cell.method):
            own = Wildcards(*asdict(job.cell).values(), job.seeds[0], job.seeds[-1])
            draws = dict(zip(map(str, job.seeds), shots_files(own)))
            found[own.task, own.pattern, own.k, job.seeds] = {
                **{name: asdict(job.cell)[name] for name in ("protocol", "task", "k")},
                "pattern": job_pattern(own),
                "seeds": list(job.seeds),
                "evaluation": [
                    {**each, "path": path}
                    for each, path in zip(evaluation_sets(own), evaluation_files(own), strict=True)
                ],
                "train": train_file(own) if draws else "",
                "shots": draws,
            }
    return list(found.values())


CONTEXT_CELLS = context_cells()


def lacking(reason):
    """Return an input function that ends Snakemake with `reason`, once its target is asked for."""

    def stop(wildcards):
        sys.exit(f"error: {reason}")

    return stop


def job_files():
    """Return a file of each job that `all` asks for, by rule: what `snakemake plan` counts."""
    methods = {
        "run_in_context": METHODS_IN_CONTEXT,
        "fine_tune": METHODS_TRAINED,
        "read_lm_eval": METHODS_IMPORTED,
    }
    draws = {path for pair in PAIRS for path in pair_shots_files(Pair(*pair))}
    draws |= {
        f"results/shots/{STUDY.draw_of(each.cell.method)}/{each.cell.task}/k{each.cell.k}/seed{seed}.parquet"
        for each in STUDY.imports
        if each.prompts == "stored" and each.cell.k
        for seed in each.seeds
    }
    drawn = {f"results/data/{Path(path).parts[3]}/train.parquet" for path in draws}
    return {
        "download_data": SOURCE_MANIFESTS,
        "download_model": MODEL_MANIFESTS,
        "download_weights": [marker_of(model) for model, runs in HUB_RUNS.items() if runs],
        "prepare_task": sorted({*EVALUATION, *drawn}),
        "sample_shots": sorted(draws),
        "check_fit": FITS,
        **{
            name: [
                f"results/runs/{job.folder}/manifest.json"
                for job in STUDY.jobs
                if job.cell.method in chosen
            ]
            for name, chosen in methods.items()
        },
        "compute_metrics": METRICS,
        "compare_methods": COMPARISONS,
        "make_table": files_of("tables", STUDY.tables, ["parquet"]),
        "plot_figure": files_of("figures", STUDY.figures, ["vl.json"]),
        "render_figure": files_of("figures", STUDY.figures, ["svg"]),
        "write_report": [f"results/{STUDY.name}/report.html"],
    }
