# Read and check the configuration, constrain wildcards, list the study's files.
import sys
from dataclasses import replace
from pathlib import Path

from scripts.fewshot.codeversion import code_version
from scripts.fewshot.downloads import revisions
from scripts.fewshot.errors import UserError
from scripts.fewshot.planning.memory_plan import MemoryPlan
from scripts.fewshot.planning.requests import Requests
from scripts.fewshot.runtime.site import read_site
from scripts.fewshot.study.cells import DRAWS, PROTOCOLS, Cell
from scripts.fewshot.study.job_inputs import JobInputs
from scripts.fewshot.study.load import load_study
from scripts.fewshot.validation import read_yaml

# No settings of a study, but what import_predictions, convert_lm_eval and clean are told.
ARCHIVE = str(config.pop("archive", ""))
LM_EVAL = config.pop("lm_eval", "")
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
# A job's results: of one cell (protocol, task, model, method, pattern, k) and a range of its seeds.
RUN = "{protocol}/{task}/{model}/{method}/{pattern}/k{k}/seeds{first}-{last}"


def any_of(names):
    """Return the regular expression of any of these names."""
    return "|".join(sorted(name.replace(".", r"\.") for name in names)) or "none"


def files_of(folder, names, kinds):
    """Return the files of figures or tables of the study, by name and kind."""
    path = "results/{study}/{folder}/{name}.{kind}"
    return collect(path, study=STUDY.name, folder=folder, name=names, kind=kinds)


def lacking(reason):
    """Return an input function that ends Snakemake with `reason`, once its target is asked for."""

    def stop(wildcards):
        sys.exit(f"error: {reason}")

    return stop


def made_elsewhere(w):
    """Return no input for a run that was made elsewhere; end Snakemake where it is not there."""
    folder = f"results/runs/{RUN.format(**w)}"
    if not Path(folder, "manifest.json").is_file():
        sys.exit(
            f"error: {folder}: not there, and method '{w.method}' is made elsewhere: `snakemake "
            "convert_lm_eval` writes an archive from logs, `snakemake import_predictions` reads it"
        )
    return []


def one_line(function):
    """Return a function of wildcards that ends Snakemake with one line for a user's mistake."""

    def called(wildcards):
        try:
            return function(wildcards)
        except UserError as error:
            sys.exit(f"error: {error}")

    return called


def scaled(megabytes):
    """Return the function that gives memory which grows with every attempt."""
    return lambda wildcards, attempt: REQUESTS.memory(megabytes, attempt)


def longer(minutes):
    """Return the function that gives a time limit which grows with every attempt."""
    return lambda wildcards, attempt: REQUESTS.minutes(minutes, attempt)


def job_seeds(w):
    return list(range(int(w.first), int(w.last) + 1))


def job_cell(w):
    return Cell(w.protocol, w.task, w.model, w.method, w.pattern, int(w.k))


def code_of_start(w):
    """Return the module that puts other adapters into a model, where a job's training starts so."""
    started = "start_from" in INPUTS.method(w.method, w.model)
    return ["adaptation.starting_points"] if started else []


def job_request(name, held_out=False):
    """Return the function that gives a resource of an adaptation job, by the memory plan; of the
    one that scores its shots `held_out` in turn."""

    def resource(wildcards, attempt):
        seeds = len(job_seeds(wildcards))
        return REQUESTS.adaptation(job_cell(wildcards), seeds, attempt, held_out)[name]

    return resource


wildcard_constraints:
    study=STUDY.name,
    protocol=any_of(PROTOCOLS),
    draw=any_of(DRAWS),
    how=any_of([] if STUDY.cross_validation is None else [str(STUDY.cross_validation)]),
    task=any_of(STUDY.tasks),
    model=any_of(STUDY.models),
    pattern=any_of(STUDY.patterns),
    split="train|validation",
    k=r"\d+",
    seed=r"\d+",
    first=r"\d+",
    last=r"\d+",
