# Read and check the configuration, constrain wildcards, list the study's files.
import sys
from dataclasses import replace
from pathlib import Path

from scripts.fewshot.codeversion import code_version
from scripts.fewshot.downloads import presence, revisions
from scripts.fewshot.errors import UserError
from scripts.fewshot.planning.memory_plan import MemoryPlan
from scripts.fewshot.planning.requests import Requests
from scripts.fewshot.runtime.site import read_site
from scripts.fewshot.study.cells import DRAWS, PROTOCOLS, Cell
from scripts.fewshot.study.job_inputs import JobInputs
from scripts.fewshot.study.load import load_study
from scripts.fewshot.validation import read_yaml

# No settings of a study, but what `snakemake import_predictions` and `snakemake clean` are told.
ARCHIVE = str(config.pop("archive", ""))
DELETE = str(config.pop("delete", "no"))


def site_path():
    """Return the file with the facts of the cluster (default resource `site`); empty: none."""
    defaults = workflow.resource_settings.default_resources
    named = [text for text in (defaults.args if defaults else ()) if text.startswith("site=")]
    return named[0].removeprefix("site=") if named else ""


try:
    SITE = read_site(site_path()) if site_path() else None
    for path in workflow.configfiles:
        # Snakemake has merged the files already; read again, a key given twice is an error.
        read_yaml(path)
    STUDY = load_study(config, where=" + ".join(map(str, workflow.configfiles)) or "--config")
    if SITE:
        STUDY = replace(STUDY, machine={**SITE.machine, **STUDY.machine})
    PLAN = MemoryPlan(STUDY)
    if workflow.is_main_process:
        PLAN.check()
        revisions.check_manifests("models", STUDY.hub_models, "results/models")
        revisions.check_manifests("sources", STUDY.hub_sources, "results/raw")
except UserError as error:
    # A mistake of the user's: one line, and no traceback into the workflow.
    sys.exit(f"error: {error}")

if SITE and SITE.problems and workflow.is_main_process:
    logger.warning(
        f"{SITE.path}: missing or wrong: {', '.join(SITE.problems)}; planned with placeholders, "
        "with which no job is submitted"
    )

INPUTS = JobInputs(STUDY)
REQUESTS = Requests(PLAN, SITE)
PROTOCOL = STUDY.settings["protocol"]
PAIRS = INPUTS.pairs
TASKS = list(dict.fromkeys(task for task, _ in PAIRS))
SETS = {name for task in TASKS for name in STUDY.evaluation_sets(task)}
METHODS_IN_CONTEXT = [name for name in STUDY.methods if STUDY.uses_context(name)]
METHODS_IMPORTED = [name for name in STUDY.methods if STUDY.is_imported(name)]
METHODS_TRAINED = [
    name for name in STUDY.methods if name not in (*METHODS_IN_CONTEXT, *METHODS_IMPORTED)
]

# A job's results: of one cell (protocol, task, model, method, pattern, k) and a range of its seeds.
RUN = "{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}"

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


def marker_of(model):
    return f"results/models/{model}/weights.json"


# Models from the Hub that have unfinished runs.
UNFINISHED = [
    model for model, runs in HUB_RUNS.items() if not all(Path(run).is_file() for run in runs)
]
if workflow.is_main_process:
    LOST = presence.settle(HUB_RUNS)
    if LOST:
        logger.warning(LOST)


def any_of(names):
    """Return the regular expression of any of these names."""
    return "|".join(sorted(name.replace(".", r"\.") for name in names)) or "none"


def lacking(reason):
    """Return an input function that ends Snakemake with `reason`, once its target is asked for."""

    def stop(wildcards):
        sys.exit(f"error: {reason}")

    return stop


def scaled(megabytes):
    """Return the function that gives memory which grows with every attempt."""
    return lambda wildcards, attempt: REQUESTS.memory(megabytes, attempt)


def longer(minutes):
    """Return the function that gives a time limit which grows with every attempt."""
    return lambda wildcards, attempt: REQUESTS.minutes(minutes, attempt)


wildcard_constraints:
    study=STUDY.name,
    protocol=any_of(PROTOCOLS),
    draw=any_of(DRAWS),
    task=any_of(STUDY.tasks),
    model=any_of(STUDY.models),
    pattern=any_of(STUDY.patterns),
    split="train|validation",
    k=r"\d+",
    seed=r"\d+",
    first=r"\d+",
    last=r"\d+",
