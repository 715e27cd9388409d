"""A study's report from what exists: nothing is run, nothing missing is hidden."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import schemas, storage
from ..analysis import (
    bias,
    choices,
    comparisons,
    contrasts,
    forgetting,
    metrics,
    result_schemas,
    run_costs,
    scored_sets,
    statistics_schemas,
    variance,
)
from ..analysis.draws import Draws
from ..analysis.evidence import Evidence, join, read_frames
from ..analysis.latency_schema import LATENCY
from ..codeversion import code_version
from ..data import halves
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..runtime import slurm
from ..study.cells import latency_file
from . import render, report
from .figures import registry as figures
from .tables import registry as tables

LOG = logging.getLogger(__name__)

CELL = ("method", "pattern", "k")
TABLE_CODE = ("report.tables.registry", "report.provenance")
FIGURE_CODE = ("report.figures.registry", "analysis.evidence", "report.render")
"""The modules that make tables and figures, as the rules name them."""
NOT_STARTED = "not started: no log"
HELD_OUT = "its shots, held out"
"""What a problem begins with that is none of a cell's own run."""


@dataclass(frozen=True)
class PartialStudy:
    """What the rules know of a study: its settings, catalog, entries and planned jobs by pair.

    Each pair has protocol, task, model, `evaluation` (set, merge and path), `orders` (the tasks
    with the same shots in all their orders, itself first), `size` (fields of flops.ModelSize),
    `jobs` (as `metrics.compute_metrics` takes them) and perhaps `choices` of settings among them.
    """

    settings: dict
    catalog: dict
    figures: dict[str, dict]
    tables: dict[str, dict]
    pairs: list[dict]


def write_partial_report(plan: PartialStudy, folder: str | Path) -> Path:
    """Write tables, figures, report and summary into `folder` and return the report's path."""
    folder = Path(folder)
    files = existing_files(plan)
    stored = collect(plan, files)
    versions = {"table": code_version(*TABLE_CODE), "figure": code_version(*FIGURE_CODE)}
    for name, entry in plan.tables.items():
        paths = {kind: folder / f"tables/{name}.{kind}" for kind in report.TABLE_FILES}
        made = (stored, plan.catalog, files, versions["table"])
        tables.write_table(paths, name, entry, *made)
    specs = {}
    for name, entry in plan.figures.items():
        paths = {kind: folder / f"figures/{name}.{kind}" for kind in render.KINDS}
        paths["spec"] = folder / f"figures/{name}.vl.json"
        specs[name] = figures.write_figure(paths, entry, stored, plan.catalog)
    study = report.ReportInputs(
        plan.settings,
        plan.catalog,
        plan.figures,
        plan.tables,
        stored,
        specs,
        models=manifests_in(f"results/models/{name}" for name in plan.catalog["models"]),
        sources=manifests_in(f"results/raw/{name}" for name in _sources(plan.catalog)),
        held_out=manifests_in(str(Path(path).parent) for path in files["held_out"]),
        files=files,
        versions=versions,
        partial=True,
    )
    report.write_report(study, folder / "report.html", folder / "summary.txt")
    return folder / "report.html"


def _sources(catalog: dict) -> list[str]:
    """Return the tasks and texts of which rows or documents may have been read."""
    elsewhere = catalog.get("forgetting", {"tasks": (), "texts": ()})
    return [*dict.fromkeys([*catalog["tasks"], *elsewhere["tasks"], *elsewhere["texts"]])]


def existing_files(plan: PartialStudy) -> dict[str, list[str]]:
    """Return the window tables and latencies that exist, and the manifests, of runs and of those
    that score shots: what all else is made from."""
    study = plan.settings["study"]
    paths = {
        "windows": [
            f"results/windows/{study}/{pair['task']}/{pair['model']}.parquet" for pair in plan.pairs
        ],
        "manifests": [
            f"{job['folder']}/manifest.json" for pair in plan.pairs for job in pair["jobs"]
        ],
        "latency": [latency_file(job["folder"]) for pair in plan.pairs for job in pair["jobs"]],
        "held_out": [
            f"{job['held_out']}/manifest.json"
            for pair in plan.pairs
            for job in pair["jobs"]
            if "held_out" in job
        ],
    }
    return {name: [path for path in each if Path(path).exists()] for name, each in paths.items()}


def collect(plan: PartialStudy, existing: dict[str, list[str]] | None = None) -> Evidence:
    """Return the evidence that exists, relative to the project's folder; `existing` are its files
    (`existing_files`), if they are known.

    A run that is missing or broken counts as missing, with the last line of its log or what is
    wrong with it; so do scores of held-out shots, whose cell is told of where nothing else is wrong
    with it.
    """
    existing = existing_files(plan) if existing is None else existing
    windows = read_frames(existing["windows"], schemas.WINDOWS.names)
    measured = read_frames(existing["latency"], LATENCY.names)
    found, costs = [], []
    manifests, logs, draws, sound = [], {}, defaultdict(Draws), []
    by_half = plan.settings.get("best_epoch") == halves.SELECTION
    for pair in plan.pairs:
        results, problems = _pair_results(pair, windows, draws[pair["task"]], by_half)
        found.append(results)
        priced = []
        for job in pair["jobs"]:
            key = (pair["task"], pair["model"], *(job[name] for name in CELL))
            if job.get("held_out") in problems:
                logs.setdefault(key, f"{HELD_OUT}: {problems[job['held_out']]}")
            if job["folder"] in problems:
                logs[key] = problems[job["folder"]]
            elif (manifest := Path(job["folder"], "manifest.json")).exists():
                sound.append(job["folder"])
                manifests.append(storage.read_json(manifest))
                model = run_costs.flops_model(pair["size"], pair["evaluation"])
                priced.append(run_costs.compute_costs(_task(pair), [job], model))
        costs += priced
    frame = join([each.metrics for each in found], result_schemas.METRICS.names)
    outcomes = join([each.outcomes for each in found], result_schemas.OUTCOMES.names)
    tests = _statistics(plan, frame, outcomes)
    spent = join(costs, result_schemas.COSTS.names)
    chosen = [each for pair in plan.pairs for each in _choices(pair, frame, spent)]
    made = {"costs": spent, "choices": join(chosen, result_schemas.CHOICES.names)}
    probed = [_bias(pair, frame, plan.catalog) for pair in plan.pairs]
    made["bias"] = join(probed, result_schemas.BIAS.names)
    made["latency"] = measured
    made["forgetting"] = _forgetting(plan, sound)
    return Evidence(frame, windows, **made, **tests, manifests=manifests, logs=logs)


def _choices(pair: dict, frame: pd.DataFrame, costs: pd.DataFrame) -> list[pd.DataFrame]:
    """Return what a pair's choices of settings give, of those whose held-out scores are all there:
    among fewer candidates they would be others."""
    model, found = run_costs.flops_model(pair["size"], pair["evaluation"]), []
    frame, costs = (each[each["model"] == pair["model"]] for each in (frame, costs))
    for choice in pair.get("choices", ()):
        try:
            found.append(choices.choose_settings(_task(pair), [choice], frame, costs, model))
        except UserError as error:
            LOG.warning("choice '%s' of %s with %d shots is left out: %s", choice["choice"],
                        "/".join(_task(pair).values()), choice["k"], error)  # fmt: skip
    return found


def _bias(pair: dict, frame: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return what a pair's model makes of its probes, as far as their rows and runs are there."""
    own = frame[(frame["task"] == pair["task"]) & (frame["model"] == pair["model"])]
    paths = [item["path"] for item in pair["evaluation"]]
    try:
        probes = scored_sets.read_probes(pair["evaluation"], paths)
        return bias.measure_bias(own, pair["jobs"], probes, catalog)
    except UserError as error:
        LOG.warning("bias of %s is left out: %s", "/".join(_task(pair).values()), error)
        return pd.DataFrame(columns=result_schemas.BIAS.names)


def _forgetting(plan: PartialStudy, folders: Iterable[str]) -> pd.DataFrame:
    """Return the changes outside the tasks that finished jobs, in these folders, have measured."""
    study, models = plan.settings["study"], dict.fromkeys(pair["model"] for pair in plan.pairs)
    paths = (
        [f"results/unadapted/{study}/{model}.parquet" for model in models],
        [f"{folder}/forgetting.parquet" for folder in folders],
    )
    return forgetting.changes(*map(_readable, paths))


def _readable(paths: Iterable[str]) -> list[pd.DataFrame]:
    """Return those of these tables that exist and can be read."""
    found = []
    for path in paths:
        try:
            if Path(path).exists():
                found.append(storage.read_table(path))
        except UserError as error:
            LOG.warning("a measure outside the tasks is left out: %s", error)
    return found


def _task(pair: dict) -> dict:
    return {name: pair[name] for name in ("protocol", "task", "model")}


def _statistics(
    plan: PartialStudy, frame: pd.DataFrame, outcomes: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return comparisons, questions and variance of every task whose sets can be read."""
    sets = {pair["task"]: _read_sets(pair)[0] for pair in plan.pairs}
    of_task = {
        task: (frame[frame["task"] == task], outcomes[outcomes["task"] == task]) for task in sets
    }
    orders = {pair["task"]: pair["orders"] for pair in plan.pairs}
    compared, asked, split = [], [], []
    for task, found in sets.items():
        compared.append(comparisons.compare(*of_task[task], found, plan.catalog))
        asked.append(contrasts.contrasts(*of_task[task], found, plan.catalog))
        others = [of_task[name] for name in orders[task][1:]]
        split.append(variance.split_variance(*of_task[task], found, others))
    return {
        "comparisons": join(compared, statistics_schemas.COMPARISONS.names),
        "contrasts": join(asked, statistics_schemas.CONTRASTS.names),
        "variance": join(split, statistics_schemas.VARIANCE.names),
    }


def _read_sets(pair: dict) -> tuple[list[EvaluationSet], str]:
    """Return the prepared evaluation sets, or what is wrong with the first that cannot be read."""
    try:
        paths = [item["path"] for item in pair["evaluation"]]
        return scored_sets.read_sets(pair["evaluation"], paths), ""
    except UserError as error:
        return [], str(error)


def _pair_results(
    pair: dict, windows: pd.DataFrame, draws: Draws, by_half: bool
) -> tuple[metrics.Results, dict[str, str]]:
    """Return a pair's results and, by folder, why runs have no usable ones."""
    cell = _task(pair)
    sets, absent = _read_sets(pair)
    probes, problems = scored_sets.probe_names(pair["evaluation"]), {}
    if sets:
        results = metrics.compute_metrics(
            *(cell, pair["jobs"], sets, windows), problems=problems, draws=draws, by_half=by_half,
            probes=probes,
        )  # fmt: skip
    else:
        names = [item["set"] for item in pair["evaluation"] if item["set"] not in probes]
        results = metrics.without_results(cell, pair["jobs"], names, windows, by_half=by_half)
        problems = {job["folder"]: absent for job in pair["jobs"]}
    for folder in problems:
        if not Path(folder, "manifest.json").exists():
            started = last_line(folder)
            if sets or started != NOT_STARTED:
                problems[folder] = started
    return results, problems


def last_line(folder: str) -> str:
    """Return the last line that is not blank of the log of the job whose results are in `folder`,
    and what SLURM says of its end."""
    path = Path(f"{folder.replace('results/', 'results/logs/', 1)}.log")
    if not path.exists():
        return slurm.of_cluster(folder, 0.0) or NOT_STARTED
    lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1].strip() if lines else "started: its log is empty"
    said = slurm.of_cluster(folder, path.stat().st_mtime)
    return f"{last} ({said})" if said else last


def manifests_in(folders: Iterable[str | Path]) -> list[dict]:
    """Return the manifests of those folders that have one."""
    paths = [Path(folder, "manifest.json") for folder in folders]
    return [storage.read_json(path) for path in paths if path.exists()]
