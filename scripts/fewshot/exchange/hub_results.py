"""Results as the Hub shows them on a model's page: `.eval_results/*.yaml`.

https://huggingface.co/docs/hub/eval-results. An entry has a data set of the Hub, a task of it and
one number; unit, rows, draws and interval stand in its notes.
"""

from pathlib import Path

import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

from .. import storage
from .shared_results import METRICS, CellScores, Context, Runs, SetScores, own_score

DIGITS = 4
"""Decimals of a value in percent."""


def entries(context: Context, scores: CellScores, runs: Runs) -> list[EvalResultEntry]:
    """Return an entry for each evaluation set of a cell that is a data set of the Hub: the score
    by which the set is judged, in percent, as mean over draws."""
    found = []
    for each in scores.sets:
        source, name = context.set_source(each.name), own_score(context, each.name)
        if "hub" in source and name in each.scores:
            about = {"source_url": context.source, "source_name": context.study}
            found.append(
                EvalResultEntry(
                    dataset_id=source["hub"],
                    task_id=each.name,
                    dataset_revision=source.get("revision"),
                    value=round(100 * each.scores[name].mean, DIGITS),
                    date=runs.date,
                    notes=notes(context, scores, each, name),
                    **(about if context.source else {}),
                )
            )
    return found


def notes(context: Context, scores: CellScores, each: SetScores, name: str) -> str:
    """Return what the format has no field for, in one line."""
    cell, score = scores.cell, each.scores[name]
    parts = [f"{METRICS[name].title} × 100"]
    if cell["k"]:
        parts[0] += f", mean of {len(score.by_seed)} draws of {cell['k']} shots"
    if score.low is not None:
        parts.append(f"95 % interval {100 * score.low:.1f} to {100 * score.high:.1f}")
    trained = context.catalog["methods"][cell["method"]]["trained"]
    labels = "/".join(context.catalog["tasks"][each.name]["labels"])
    parts += [
        f"{each.rows} rows of {labels}, split {context.set_source(each.name)['split']}",
        f"{context.title('methods', cell['method'])} on {context.title('tasks', cell['task'])}",
        f"prompt '{cell['pattern']}', answers ranked by log-probability",
        *([f"checkpoint: {scores.selection}"] if trained else []),
        f"fairshot, protocol {cell['protocol']}",
    ]
    return "; ".join(parts)


def path_of(folder: str | Path, context: Context, cell: dict) -> Path:
    """Return where the file of a cell stands: in a folder of its own, since one repository of a
    model takes what was adapted in one way."""
    names = [str(cell[name]) for name in ("protocol", "task", "model", "method", "pattern")]
    return Path(folder, *names, f"k{cell['k']}", ".eval_results", f"fairshot-{context.study}.yaml")


def write(folder: str | Path, context: Context, scores: CellScores, runs: Runs) -> int:
    """Write the file of a cell, if any of its evaluation sets is on the Hub; return how many are
    not."""
    made = eval_result_entries_to_yaml(entries(context, scores, runs))
    if made:
        with storage.atomic(path_of(folder, context, scores.cell)) as partial:
            text = yaml.safe_dump(made, sort_keys=False, allow_unicode=True, width=1000)
            partial.write_text(text, "utf-8")
    return len(scores.sets) - len(made)
