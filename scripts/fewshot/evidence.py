"""What tables, figures and report are made from, read from stored files."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from . import records


@dataclass(frozen=True)
class Evidence:
    """All that the pages of a study are made from.

    `fit` is records.FIT of the study, `manifests` those of its runs; `logs` gives the last log
    line of a missing run by (task, model, method, pattern, k).
    """

    metrics: pd.DataFrame
    fit: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=records.FIT.names))
    manifests: list[dict] = field(default_factory=list)
    logs: dict[tuple, str] = field(default_factory=dict)


def read_evidence(
    metrics: Iterable[str | Path], fit: Iterable[str | Path], manifests: Iterable[str | Path]
) -> Evidence:
    """Read the stored files of a study."""
    return Evidence(
        read_frames(metrics, records.METRICS.names),
        read_frames(fit, records.FIT.names),
        [records.read_json(path) for path in manifests],
    )


def read_frames(paths: Iterable[str | Path], columns: list[str]) -> pd.DataFrame:
    """Read and join Parquet files; none give an empty frame with `columns`."""
    return join([records.read_table(path) for path in paths], columns)


def join(frames: Iterable[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    """Join frames that may have different categories, as plain values."""
    plain = [
        frame.astype({n: object for n in frame if isinstance(frame[n].dtype, pd.CategoricalDtype)})
        for frame in frames
        if len(frame)
    ]
    return pd.concat(plain, ignore_index=True) if plain else pd.DataFrame(columns=columns)
