# Read and check the configuration, constrain wildcards, list the study's files.
import sys
from dataclasses import replace
from pathlib import Path

from scripts.fewshot.planning import calibration
from scripts.fewshot.downloads import presence, revisions
from scripts.fewshot.errors import UserError
from scripts.fewshot.study.imports import used_entries
from scripts.fewshot.planning.memory_plan import MemoryPlan
from scripts.fewshot.study.load import load_study
from scripts.fewshot.study.cells import DRAWS, PROTOCOLS
from scripts.fewshot.validation import read_yaml

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
WINDOWS = [f"results/windows/{STUDY.name}/{task}/{model}.parquet" for task, model in PAIRS]
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
    "check_window",
    "run_in_context",
    "fine_tune",
    "read_lm_eval",
    "compute_metrics",
    "compare_methods",
    "make_table",
    "plot_figure",
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
