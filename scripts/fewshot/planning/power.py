"""What is asked of a study's power: its comparisons, evaluation sets, and how scores vary there.

Plain values, which Snakemake compares: the page is written again when one of them changes. They
come from prepared rows and finished comparisons where these are there, else from `tasks.yaml` and
the study's key `power`, so that nothing has to run before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import storage
from ..analysis.pairs import SAME_MODEL, SIDE, pairs_of
from ..data import halves
from ..data.evaluation_sets import read_set
from ..study.catalog import method_entry
from ..study.task_checks import stated_rows
from .workload import DATA, told_rows

if TYPE_CHECKING:
    from ..analysis.stats.power import Sources
    from ..study.study import Study

STATISTICS = Path("results/statistics")
"""Where finished comparisons are."""
PARTS = ["draw_part", "row_part", "both_part", "seeds", "clusters"]
CHOSEN = ["family", "score", "evaluation_set", "domain", "k", "selection"]
FINISHED, ASSUMED = "finished cells", "assumed"
PREPARED, STATED, UNKNOWN = "prepared", "tasks.yaml", "unknown"


@dataclass(frozen=True)
class SetSize:
    """How many rows an evaluation set has, and how they lie in clusters.

    `clusters` is None where that is not known; `row_cluster` is the mean size of a row's cluster,
    Σ n² / Σ n, and `df` the degrees of freedom of its clusters, as `stats.parts` has them. `told`
    is PREPARED, STATED or UNKNOWN.
    """

    rows: int
    clusters: int | None
    row_cluster: float
    df: float
    told: str


def facts(study: "Study") -> dict[str, object]:
    """Return what the page tells besides the `questions`; `comparisons` counts all of the study."""
    tasks = dict.fromkeys(cell.task for cell in study.cells)
    counts = [_compared(study, task)[0] * len(study.evaluation_sets(task)) for task in tasks]
    return {
        "study": study.name,
        "k": study.main_k,
        "margin": study.settings["main"]["margin"],
        "comparisons": sum(counts),
        "shared_draws": study.shared_draws,
        "assumed": dict(study.settings["power"]),
    }


def questions(study: "Study", folder: Path = Path()) -> list[dict[str, object]]:
    """Return a question for each task and evaluation set on which methods are compared.

    `comparisons` counts those of fine-tuned models with the same model in context, at the study's
    main k: verdicts are corrected over them. `seeds` are those of the comparison with the fewest.
    The variances are those of `stats.power.Sources`: from `finished` comparisons or, if there are
    none, assumed. `test_half` says that `rows` counts the test half alone: in domain it judges the
    epoch that the choice half chose. `folder` is the project's. Raises UserError if a file is there
    and cannot be read, or has too few rows or clusters for two halves.
    """
    found, selections = [], _selections(study)
    by_half = selections["in"] == halves.SELECTION
    for task in dict.fromkeys(cell.task for cell in study.cells):
        comparisons, seeds = _compared(study, task)
        if comparisons:
            stored = _stored(study, task, selections, folder)
            for name in study.evaluation_sets(task):
                half = by_half and name == task
                size = set_size(study, name, folder, half=half)
                sources, cells = _sources(study, stored, name, size)
                found.append(
                    {
                        "task": task,
                        "evaluation_set": name,
                        "domain": "in" if name == task else "out",
                        "comparisons": comparisons,
                        "seeds": seeds,
                        "rows": size.rows,
                        "clusters": size.clusters,
                        "rows_from": size.told,
                        "test_half": half,
                        "source": FINISHED if cells else ASSUMED,
                        "finished": cells,
                        "draw_variance": sources.draws,
                        "row_variance": sources.rows,
                        "both_variance": sources.both,
                        "row_df": sources.row_df,
                    }
                )
    return found


def _selections(study: "Study") -> dict[str, str]:
    """Return the checkpoint at which each domain's verdicts are given."""
    # Imported here: Snakemake starts faster without scipy.
    from ..analysis.questions import main_selection

    return {domain: main_selection(domain, study.settings) for domain in ("in", "out")}


def _compared(study: "Study", task: str) -> tuple[int, int]:
    """Return how many comparisons a task has on each evaluation set, and the seeds they rest on."""
    cells = [cell for cell in study.cells if cell.task == task and cell.k == study.main_k]
    if not cells:
        return 0, 0
    rows = [(cell.model, cell.method, cell.pattern, cell.k, "last") for cell in cells]
    used = {cell.method for cell in cells}
    catalog = {
        "models": {name: {"family": entry["family"]} for name, entry in study.models.items()},
        # In the registry's order, by which references are preferred.
        "methods": {name: method_entry(study, name) for name in study.methods if name in used},
        "patterns": study.patterns,
    }
    pairs = pairs_of(pd.DataFrame(rows, columns=[*SIDE, "k", "selection"]), catalog)
    pairs = pairs[pairs["family"] == SAME_MODEL]
    sides = {*pairs["arm"], *pairs["reference"]}
    return len(pairs), min((len(study.seeds_of(cells[int(at)])) for at in sides), default=0)


def set_size(study: "Study", name: str, folder: Path = Path(), *, half: bool = False) -> SetSize:
    """Return the size of an evaluation set, or of its test `half`: as prepared, or as its task's
    entry tells. Raises UserError where prepared rows are too few for two halves."""
    base = study.rows_of(name)
    path = folder / DATA / base / "validation.parquet"
    if not path.is_file():
        entry = study.tasks[name]
        told = STATED if stated_rows(entry, study.tasks, "validation") else UNKNOWN
        rows = told_rows(entry, study.tasks, "validation")
        rows -= rows // 2 if half else 0  # Of an odd number the test half has one more.
        return SetSize(rows, None, 1.0, max(rows - 1.0, 1.0), told)
    item = read_set(name, (), path, base)
    item = halves.half_for_test(item) if half else item
    rows = len(item.labels)
    if item.clusters is None:
        return SetSize(rows, rows, 1.0, max(rows - 1.0, 1.0), PREPARED)
    sizes = np.bincount(item.clusters)
    strata = 1 if item.cluster_labels is None else len(np.unique(item.cluster_labels))
    row_cluster = float((sizes**2).sum() / rows)
    return SetSize(rows, len(sizes), row_cluster, max(rows / row_cluster - strata, 1.0), PREPARED)


def _stored(study: "Study", task: str, selections: Mapping[str, str], folder: Path) -> pd.DataFrame:
    """Return the finished comparisons of a task that tell how its scores vary: those that get
    verdicts, in each domain at its checkpoint in `selections`."""
    path = folder / STATISTICS / study.name / task / "comparisons.parquet"
    frame = storage.read_table(path) if path.is_file() else pd.DataFrame()
    if not {*PARTS, *CHOSEN} <= set(frame):
        return pd.DataFrame(columns=[*CHOSEN, *PARTS])  # From before these were stored.
    frame = frame[(frame["family"] == SAME_MODEL) & (frame["score"] == "accuracy")]
    selection = frame["domain"].astype(object).map(selections)
    frame = frame[(frame["k"] == study.main_k) & (frame["selection"] == selection)]
    return frame[(frame["seeds"] > 1) & frame[PARTS].notna().all(axis=1)]


def _sources(
    study: "Study", stored: pd.DataFrame, name: str, size: SetSize
) -> tuple["Sources", int]:
    """Return how a difference varies on an evaluation set, and from how many finished comparisons;
    0 if it is assumed."""
    from ..analysis.stats import power  # Imported here: Snakemake starts faster without scipy.

    apart = not study.shared_draws
    rows = stored[stored["evaluation_set"] == name]
    if rows.empty:
        return assumed_sources(study.settings["power"], size, apart), 0
    *parts, seeds, clusters = rows[PARTS].to_numpy(dtype=float).T
    scored = float(clusters.mean())
    df = size.df if size.clusters else max(scored - 1, 1.0)
    found = power.sources_of(*parts, seeds, df, apart)
    # More clusters than were scored then lower what rows add.
    scale = scored / (size.clusters or scored)
    return replace(found, rows=scale * found.rows, both=scale * found.both), len(rows)


def assumed_sources(assumed: Mapping[str, float], size: SetSize, apart: bool) -> "Sources":
    """Return how the difference of two methods varies by the study's key `power`.

    Both methods' accuracies vary by `draw_sd` points between draws, each for itself. On a share of
    the rows, `disagreement`, one is right and the other wrong: this share is the variance of a
    row's difference, and its share `repeated` is the same in every draw. Rows of a cluster
    correlate by `cluster_correlation`, which multiplies the variance of a mean over R rows by
    1 + (Σ n² / R - 1) · correlation (Kish 1965).

    The defaults. Prompt-based fine-tuning of RoBERTa-large on 16 shots of each label varies by 2 to
    5 points over five draws (Gao, Fisch and Chen 2021, table 3: NLI and paraphrases), and the 24
    cells with shots in the README's table by 4 in the mean. Two methods with 70 % right each
    disagree on 42 % of the rows if their answers are independent, and on none if they are the same:
    30 % lies between. For the other two no published value is known.
    """
    from ..analysis.stats import power

    design = 1 + (size.row_cluster - 1) * assumed["cluster_correlation"]
    rows = assumed["disagreement"] * design / size.rows
    repeated = assumed["repeated"]
    draws = 2 * (assumed["draw_sd"] / 100) ** 2
    return power.Sources(draws, repeated * rows, (1 - repeated) * rows, size.df, apart)
