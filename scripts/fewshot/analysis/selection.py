"""Which epoch of a fine-tuned model counts: the last, or the best by a curve."""

import math

import pandas as pd

SELECTIONS = ("last", "best-in-domain", "best-out-of-domain")
RUN = ["seed", "epoch"]


def selections(sets: int) -> tuple[str, ...]:
    """Return the selections of a task with `sets` evaluation sets, its own included."""
    return SELECTIONS if sets > 1 else SELECTIONS[:2]


def curve_rows(scored: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a run's curves that are the curve: of a sampled set only its sample."""
    return scored[scored["sampled"] == scored.groupby("evaluation_set")["sampled"].transform("any")]


def kept_epochs(in_domain: pd.DataFrame) -> pd.DataFrame:
    """Return per seed the `last` epoch and the `best` in-domain one (the earliest of equals).

    `in_domain` are the rows of the task's own curve; all evaluation rows are scored at both.
    """
    correct = in_domain.groupby(RUN)["correct"].sum().reset_index()
    best = correct.sort_values("correct", ascending=False, kind="stable").groupby("seed")["epoch"]
    return pd.DataFrame({"last": correct.groupby("seed")["epoch"].max(), "best": best.first()})


def best_outside(curve: pd.DataFrame) -> pd.Series:
    """Return per seed the epoch with the highest mean accuracy over the out-of-domain sets.

    `curve` are those sets' rows of the curve. Each set weighs the same, whatever its size; of
    equals the earliest epoch counts.
    """
    counts = curve.groupby(["evaluation_set", *RUN])[["n", "correct"]].sum()
    # Whole numbers over a common denominator: equal means compare as equal.
    common = math.lcm(*counts["n"].unique().tolist())
    score: dict[tuple[int, int], int] = {}
    for (_, *run), n, correct in counts.itertuples():
        score[tuple(run)] = score.get(tuple(run), 0) + correct * (common // n)
    best: dict[int, int] = {}
    for seed, epoch in sorted(score):
        if seed not in best or score[seed, epoch] > score[seed, best[seed]]:
            best[seed] = epoch
    return pd.Series(best, name="epoch").rename_axis("seed")


def selected_rows(scored: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return the counts of each selection's epoch, marked by a column `selection`.

    `scored` are all counts of a run's evaluation sets. Where an epoch was not kept, a sampled set
    has only its sample's counts there, and these are returned.
    """
    curve = curve_rows(scored)
    inside = curve["evaluation_set"] == task
    kept = kept_epochs(curve[inside])
    epochs = {"last": kept["last"], "best-in-domain": kept["best"]}
    if not inside.all():
        epochs["best-out-of-domain"] = best_outside(curve[~inside])
    frames = []
    for selection, epoch in epochs.items():
        rows = scored.merge(epoch.rename("epoch").reset_index(), on=RUN)
        has_whole = (~rows["sampled"]).groupby([rows["seed"], rows["evaluation_set"]])
        rows = rows[rows["sampled"] != has_whole.transform("any")]
        frames.append(rows.assign(selection=selection))
    return pd.concat(frames)
