"""A study's results in the formats of other places, cell by cell (target export_results)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .. import storage
from ..analysis.metrics import CELL
from ..study.without_model import NONE
from . import every_eval_ever, hub_results
from .shared_results import Context, cell_scores, read_runs


@dataclass(frozen=True)
class Written:
    """How many cells were written, and what was not: cells without a result or a language model,
    and evaluation sets that are no data set of the Hub."""

    cells: int
    without: int
    not_on_hub: int


def write(
    hub: str | Path,
    shared: str | Path,
    context: Context,
    metrics: pd.DataFrame,
    jobs: Sequence[Mapping],
    rows: Mapping[str, str] | None = None,
) -> Written:
    """Write a study's results for the Hub to folder `hub` and those of Every Eval Ever to `shared`.

    `metrics` are the study's (result_schemas.METRICS), `jobs` its jobs
    (exchange_inputs.exported_jobs), and `rows` the prepared rows of each evaluation set, if single
    rows are to be written too. Raises UserError as `every_eval_ever.write` and `storage.read_rows`
    do.
    """
    texts = None if rows is None else {name: storage.read_rows(at) for name, at in rows.items()}
    cells, without, absent = 0, 0, 0
    jobs_of: dict[tuple, list[Mapping]] = {}
    for job in jobs:
        jobs_of.setdefault(tuple(job[name] for name in CELL), []).append(job)
    for folder in (hub, shared):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for scores in cell_scores(metrics, context.catalog["main"]["selection"]):
        if scores.cell["model"] == NONE or not scores.sets:
            without += 1
            continue
        runs = read_runs(jobs_of[scores.key])
        absent += hub_results.write(hub, context, scores, runs)
        every_eval_ever.write(shared, context, scores, runs, texts)
        cells += 1
    return Written(cells, without, absent)
