"""What tables, figures and report are made from, read from stored files."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from .. import schemas, storage
from . import latency_schema, result_schemas, statistics_schemas
from .summary import at_level

SCHEMAS = {
    "metrics": result_schemas.METRICS,
    "windows": schemas.WINDOWS,
    "costs": result_schemas.COSTS,
    "comparisons": statistics_schemas.COMPARISONS,
    "contrasts": statistics_schemas.CONTRASTS,
    "variance": statistics_schemas.VARIANCE,
    "choices": result_schemas.CHOICES,
    "bias": result_schemas.BIAS,
    "latency": latency_schema.LATENCY,
    "forgetting": statistics_schemas.FORGETTING,
}


def _empty(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=SCHEMAS[name].names)


@dataclass(frozen=True)
class Evidence:
    """All that the pages of a study are made from: frames of `schemas.WINDOWS` and of `schemas`.

    `manifests` are those of its runs; `logs` gives the last log line of a missing run by (task,
    model, method, pattern, k).
    """

    metrics: pd.DataFrame = field(default_factory=partial(_empty, "metrics"))
    windows: pd.DataFrame = field(default_factory=partial(_empty, "windows"))
    costs: pd.DataFrame = field(default_factory=partial(_empty, "costs"))
    comparisons: pd.DataFrame = field(default_factory=partial(_empty, "comparisons"))
    contrasts: pd.DataFrame = field(default_factory=partial(_empty, "contrasts"))
    variance: pd.DataFrame = field(default_factory=partial(_empty, "variance"))
    choices: pd.DataFrame = field(default_factory=partial(_empty, "choices"))
    bias: pd.DataFrame = field(default_factory=partial(_empty, "bias"))
    latency: pd.DataFrame = field(default_factory=partial(_empty, "latency"))
    forgetting: pd.DataFrame = field(default_factory=partial(_empty, "forgetting"))
    manifests: list[dict] = field(default_factory=list)
    logs: dict[tuple, str] = field(default_factory=dict)


class Watched:
    """Evidence that notes in `read` which of its parts were read, in that order."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.read: list[str] = []

    def __getattr__(self, name: str) -> object:
        """Return a part of the evidence; called for names that are no attribute of this object."""
        value = getattr(self.evidence, name)
        if name not in self.read:
            self.read.append(name)
        return value


def evidence_inputs(inputs: object) -> dict[str, list[str]]:
    """Return the files among a rule's named inputs that hold parts of the evidence, by part."""
    listed = {name: getattr(inputs, name, None) for name in (*SCHEMAS, "manifests")}
    return {name: list(map(str, paths)) for name, paths in listed.items() if paths is not None}


def _without_curves(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics[metrics["selection"] != "each"]


PARTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "all": lambda metrics: metrics,
    "overall": lambda metrics: _without_curves(at_level(metrics)),
    "curves": at_level,
    "breakdown": _without_curves,
}
"""Parts of the metrics that can be read alone: at the paper's size most rows are curves and
breakdowns, which few pages show."""


def read_evidence(
    manifests: Iterable[str | Path] = (), part: str = "all", **files: Iterable[str | Path]
) -> Evidence:
    """Read stored files of a study, by the names of Evidence; what is not named stays empty.

    Of the metrics, only one of PARTS is read.
    """
    frames = {
        name: join(
            (
                PARTS[part](frame) if name == "metrics" else frame
                for frame in map(storage.read_table, paths)
            ),
            SCHEMAS[name].names,
        )
        for name, paths in files.items()
    }
    return Evidence(**frames, manifests=[storage.read_json(path) for path in manifests])


def read_frames(paths: Iterable[str | Path], columns: list[str]) -> pd.DataFrame:
    """Read and join Parquet files; none give an empty frame with `columns`."""
    return join([storage.read_table(path) for path in paths], columns)


def join(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Join frames that may have different categories, as plain values."""
    plain = [
        frame.astype({n: object for n in frame if isinstance(frame[n].dtype, pd.CategoricalDtype)})
        for frame in frames
        if len(frame)
    ]
    return pd.concat(plain, ignore_index=True) if plain else pd.DataFrame(columns=columns)
