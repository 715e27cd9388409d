# Read and check the configuration, constrain wildcards, list the study's files.
import sys
from dataclasses import replace
from difflib import get_close_matches
from os.path import abspath, relpath
from pathlib import Path

from fewshot.codeversion import code_version
from fewshot.downloads import revisions
from fewshot.errors import UserError, unknown
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.requests import Requests
from fewshot.runtime.interrupts import CtrlC
from fewshot.runtime.site import read_site
from fewshot.study.catalog import shown_names
from fewshot.study.cells import DRAWS, PROTOCOLS, Cell, Job, latency_file
from fewshot.study.forgetting_inputs import ForgettingInputs
from fewshot.study.job_inputs import JobInputs
from fewshot.study.load import load_study
from fewshot.study.other_tasks import measured_models, trained_seeds
from fewshot.study.sources import hub_sources, source_entry, used_sources
from fewshot.validation import CONFIG, read_yaml, shipped_folder


def from_here(told):
    """Return files that the user names, a path or paths by name, in the form in which jobs below a
    module's prefix find them."""
    if isinstance(told, dict):
        return {name: from_here(path) for name, path in told.items()}
    return abspath(told) if PREFIX and told else told


def unmoved(paths):
    """Return files of the user, which no prefix of a module moves; another rule may make them."""
    return [local(relpath(path)) for path in paths] if PREFIX else paths


# No settings of a study, but what import_predictions, convert_lm_eval, push_adapters, clean and
# exports are told.
ARCHIVE = from_here(str(config.pop("archive", "")))
LM_EVAL = from_here(config.pop("lm_eval", ""))
REPOSITORY = str(config.pop("repository", ""))
DELETE = str(config.pop("delete", "no"))
ROWS = str(config.pop("rows", "no"))
ORGANIZATION = str(config.pop("organization", ""))
SOURCE = str(config.pop("source", ""))
TRACKER = str(config.pop("tracker", ""))


def site_path():
    """Return the file with the facts of the cluster (default resource `site`); empty: none."""
    defaults = workflow.resource_settings.default_resources
    named = [text for text in (defaults.args if defaults else ()) if text.startswith("site=")]
    return named[0].removeprefix("site=") if named else ""


# Before the study is read and the jobs are listed, which may take a minute.
CTRL_C = CtrlC.watched() if workflow.is_main_process and not MODULE else CtrlC()

try:
    SITE = read_site(site_path()) if site_path() else None
    for path in [] if MODULE else workflow.configfiles:
        # Snakemake has merged the files already; read again, a key given twice is an error.
        read_yaml(path)
    STUDY = load_study(
        config,
        folder=CONFIG if PREFIX else shipped_folder(),
        where=" + ".join(map(str, workflow.configfiles)) or "--config",
        root=Path(PREFIX),
        as_module=MODULE,
    )
    if SITE:
        STUDY = replace(STUDY, machine={**SITE.machine, **STUDY.machine})
    PLAN = MemoryPlan(STUDY)
    if workflow.is_main_process:
        PLAN.check()
        revisions.check_manifests("models", STUDY.hub_models, f"{PREFIX}results/models")
        revisions.check_manifests("sources", hub_sources(STUDY), f"{PREFIX}results/raw")
except UserError as error:
    # A mistake of the user's: one line, and no traceback into the workflow.
    sys.exit(f"error: {error}")

if SITE and SITE.problems and workflow.is_main_process:
    logger.warning(
        f"{SITE.path}: missing or wrong: {', '.join(SITE.problems)}; planned with placeholders, "
        "with which no job is submitted"
    )

# A record without text, which only a logger plugin reads: by which names jobs are shown.
logger.info("", extra={"names": shown_names(STUDY)})

INPUTS = JobInputs(STUDY)
ELSEWHERE = ForgettingInputs(INPUTS)
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


def target_of(kind, name):
    """Return the target of a figure ("fig") or a table ("table")."""
    return f"{kind}_{name.replace('-', '_')}"


def lacking(reason):
    """Return an input function that ends Snakemake with `reason`, once its target is asked for."""

    def stop(wildcards):
        sys.exit(f"error: {reason}")

    return stop


def nearest_target(w):
    """End Snakemake with the name of the target that is nearest to an unknown one."""
    near = get_close_matches(w.target, [*OTHER_TARGETS, *SINGLE], n=1)
    sys.exit(f"error: {unknown('target', w.target, near or OTHER_TARGETS, 'command line')}")


def made_elsewhere(w):
    """Return no input for a run that was made elsewhere; end Snakemake where it is not there."""
    folder = f"results/runs/{RUN.format(**w)}"
    if not Path(PREFIX, folder, "manifest.json").is_file():
        sys.exit(
            f"error: {folder}: not there, and method '{w.method}' is made elsewhere: `snakemake "
            "convert_lm_eval` writes an archive from logs, `snakemake import_predictions` reads it"
        )
    return []


def pushed_folder(w):
    """Return the folder that is uploaded; raises UserError, before anything is made, where it is
    not told where to, or not allowed."""
    # Here, since huggingface_hub takes a second that every start would wait for.
    from fewshot.exchange.push import check_push

    check_push(REPOSITORY)
    return f"results/{STUDY.name}/adapters"


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


def code_of_method(w):
    """Return the modules that a method is restored by and that no other method's are."""
    if w.method in METHODS_TRAINED:
        return [f"methods.{STUDY.methods[w.method]['family']}"]
    return ["adaptation.retrieved"] if "similarity" in INPUTS.method(w.method, w.model) else []


def latency_request(name):
    """Return the function that gives a resource of measuring a finished cell."""
    return lambda wildcards, attempt: REQUESTS.latency(job_cell(wildcards), attempt)[name]


def unadapted_request(name):
    """Return the function that gives a resource of the job that scores a model as it is."""
    return lambda wildcards, attempt: REQUESTS.unadapted(wildcards.model, attempt)[name]


wildcard_constraints:
    study=STUDY.name,
    protocol=any_of(PROTOCOLS),
    draw=any_of(DRAWS),
    how=any_of([] if STUDY.cross_validation is None else [str(STUDY.cross_validation)]),
    task=any_of(STUDY.tasks),
    model=any_of(STUDY.models),
    pattern=any_of(STUDY.patterns),
    split="train|validation",
    runs=any_of({"runs", STUDY.trained_runs}),
    k=r"\d+",
    seed=r"\d+",
    first=r"\d+",
    last=r"\d+",
