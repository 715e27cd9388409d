"""What a study says of each cell, as other places take it: means over seeds, and all they rest on.

A number is told with its unit, rows, seeds and interval, by the names that those places use.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from .. import storage
from ..analysis.metrics import CELL
from ..analysis.summary import at_level, summarise


@dataclass(frozen=True)
class Metric:
    """What a score is called elsewhere: a global name, a title and the family it belongs to."""

    id: str
    title: str
    kind: str
    lower_is_better: bool = False


METRICS = {
    "accuracy": Metric("accuracy", "Accuracy", "accuracy"),
    "macro_f1": Metric("f1_macro", "Macro F1", "f1"),
    "f1": Metric("f1", "F1 of the second label", "f1"),
    "mcc": Metric("matthews_correlation", "Matthews correlation", "correlation"),
    "roc_area": Metric("auroc", "Area under the ROC curve", "auroc"),
    "brier": Metric("brier_score", "Brier score", "brier_score", True),
    "ece": Metric("expected_calibration_error", "Expected calibration error", "ece", True),
}
"""Score (a column of result_schemas.METRICS) → what it is called."""

CLAIMS = {
    "draws and rows": "Wilson's interval with Student's t, on the crossed error of draws and rows: "
    "other draws, rows like these",
    "rows": "Wilson's interval with Student's t (area: t), on the error of rows: rows like these; "
    "nothing is drawn",
    "draws": "Student's t over draws: other draws, these rows",
}
"""Claim of an interval (analysis.titles.CLAIMS) → how it was computed and what it lets vary."""


@dataclass(frozen=True)
class Score:
    """A score's mean over seeds as a share, its 95 % interval [low, high] by `method`, both None
    where there is none, its standard error, if known, and the value of each seed."""

    mean: float
    low: float | None
    high: float | None
    method: str
    error: float | None
    by_seed: dict[int, float]


@dataclass(frozen=True)
class SetScores:
    """The scores of a cell on one evaluation set, by METRICS: over `rows` rows a seed, whose most
    frequent label has the share `majority`."""

    name: str
    domain: str
    rows: int
    majority: float
    scores: dict[str, Score]


@dataclass(frozen=True)
class CellScores:
    """The scores of a cell (protocol, task, model, method, pattern, k): of `seeds` draws of
    `planned`, at the epoch that `selection` names. No sets where no seed has a result."""

    cell: dict
    selection: str
    seeds: int
    planned: int
    sets: tuple[SetScores, ...]

    @property
    def key(self) -> tuple:
        """Return the values of the cell's names, in order."""
        return tuple(self.cell[name] for name in CELL)


def cell_scores(metrics: pd.DataFrame, selection: str) -> list[CellScores]:
    """Return the scores of every cell of a study's metrics (result_schemas.METRICS), in order."""
    rows = at_level(metrics)
    rows = rows[rows["selection"] == selection]
    means = {name: summarise(rows, value=name).to_dict("records") for name in METRICS}
    keys = [*CELL, "selection", "evaluation_set", "domain"]  # those of `summarise`
    parts = [part for _, part in rows.groupby(keys, sort=False, dropna=False)]
    cells: dict[tuple, list[tuple[dict, SetScores]]] = {}
    for i, part in enumerate(parts):
        about = means["accuracy"][i]
        found = {name: _score(name, means[name][i], part) for name in METRICS if
                 means[name][i]["seeds"]}  # fmt: skip
        told = SetScores(
            about["evaluation_set"], about["domain"], int(about["rows"]), about["majority"], found
        )
        cells.setdefault(tuple(about[name] for name in CELL), []).append((about, told))
    return [_cell(key, selection, entries) for key, entries in cells.items()]


def _cell(key: tuple, selection: str, entries: Sequence[tuple[dict, SetScores]]) -> CellScores:
    about = entries[0][0]
    sets = tuple(told for _, told in entries if told.scores)
    cell = {name: _plain(value) for name, value in zip(CELL, key, strict=True)}
    return CellScores(cell, selection, int(about["seeds"]), int(about["seeds_planned"]), sets)


def _score(name: str, mean: Mapping, part: pd.DataFrame) -> Score:
    done = part[part[name].notna()]
    bounds = {side: None if np.isnan(mean[side]) else float(mean[side]) for side in ("low", "high")}
    column = f"{name}_error"
    error = float(done[column].max()) if column in done and mean["interval"] in CLAIMS else np.nan
    if mean["interval"] == "draws":
        error = float(done[name].std() / np.sqrt(len(done)))
    return Score(
        float(mean["mean"]),
        **bounds,
        method=CLAIMS.get(mean["interval"], ""),
        error=None if np.isnan(error) else error,
        by_seed=dict(zip(done["seed"].astype(int), done[name].astype(float), strict=True)),
    )


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True)
class Context:
    """What results are about: the study, its catalog (study.catalog), where models and evaluation
    sets come from (study.exchange_inputs.result_sources), and who gives them.

    `organization` and `source`, an address, are as the user told them; empty: not told.
    """

    study: str
    catalog: dict
    sources: dict
    organization: str = ""
    source: str = ""

    def title(self, kind: str, name: str) -> str:
        """Return the title of one of "models", "methods", "patterns" or "tasks"."""
        return self.catalog[kind].get(name, {}).get("title", name)

    def model_source(self, model: str) -> dict:
        """Return hub and commit of a model, if it comes from the Hub."""
        return _resolved(self.sources["models"][model])

    def set_source(self, name: str) -> dict:
        """Return hub, commit and split, or addresses, of an evaluation set's rows."""
        return _resolved(self.sources["tasks"][name])


def _resolved(entry: Mapping) -> dict:
    """Return a source with the commit that was downloaded, as its manifest has it."""
    found = {key: value for key, value in entry.items() if key != "manifest"}
    path = Path(entry.get("manifest", ""))
    if "hub" in entry and path.is_file():
        found["revision"] = storage.read_json(path).get("revision") or found["revision"]
    return found


@dataclass(frozen=True)
class Runs:
    """The runs of a cell: their folders and manifests."""

    folders: tuple[Path, ...]
    manifests: tuple[dict, ...]

    @property
    def ended(self) -> int:
        """Return when the last one was written, in seconds since 1970: manifests hold no time."""
        return max(int(Path(each, "manifest.json").stat().st_mtime) for each in self.folders)

    @property
    def date(self) -> str:
        """Return that time as ISO 8601 has it."""
        return datetime.fromtimestamp(self.ended, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_runs(jobs: Sequence[Mapping]) -> Runs:
    """Return the runs of a cell's jobs, of which each names the `folder` of its run.

    Raises UserError where a manifest is not there or not readable.
    """
    folders = tuple(Path(job["folder"]) for job in jobs)
    return Runs(
        folders, tuple(storage.read_json(each / "manifest.json", "code") for each in folders)
    )


def settings_told(context: Context, scores: CellScores, runs: Runs) -> dict[str, str]:
    """Return what makes a cell's numbers what they are, as texts: JSON of what is none."""
    cell, manifest = scores.cell, runs.manifests[0]
    entry = context.catalog["methods"][cell["method"]]
    told = {
        **cell,
        "method_title": entry["title"],
        "family": entry["family"],
        "settings": manifest.get("settings", {}),
        "checkpoint": scores.selection if entry["trained"] else "nothing is trained",
        "seeds": f"{scores.seeds} of {scores.planned} draws of shots",
        "answers": "the label word, or class, with the highest log-probability; nothing is "
        "generated",
        "code_version": manifest["code"],
        "device": manifest.get("device"),
        "processes": manifest.get("world_size"),
    }
    return {key: as_text(value) for key, value in told.items() if value is not None}


def as_text(value: object) -> str:
    """Return a text as it is and any other value as JSON, always the same."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def own_score(context: Context, name: str) -> str:
    """Return the score by which an evaluation set is judged, a key of METRICS."""
    metric = context.catalog["tasks"][name].get("metric", "accuracy")
    return {"matthews": "mcc", "f1": "f1"}.get(metric, "accuracy")
