"""What an honest choice of settings costs, beside other ways of choosing them."""

import numpy as np
import pandas as pd

from ...analysis.choices import WAYS
from ...analysis.evidence import Evidence
from ...analysis.row_errors import ERRORS
from ...analysis.summary import summarise
from ...analysis.titles import arm_title, ordered, titles
from ...formatting import BLANK, counted, points
from ..table_text import Table, cell_text, claims_note
from .comparisons import where_text

KEYS = ["task", "domain", "evaluation_set", "choice", "model", "k"]
HONEST, DISHONEST = "from-shots", ("best-in-domain", "oracle")


def summarised(choices: pd.DataFrame) -> pd.DataFrame:
    """Return the mean accuracy of each way over seeds (`summary.summarise`), with `choice` and
    `way` in the place of method and pattern."""
    frame = choices.drop(columns=["method", "pattern"])
    frame = frame.rename(columns={"choice": "method", "way": "pattern"})
    frame = frame.assign(selection="last", accuracy=frame["accuracy"].astype(float))
    # Which rows each way has right is not stored.
    frame = frame.assign(majority=np.nan, **dict.fromkeys(ERRORS, np.nan))
    return summarise(frame).rename(columns={"method": "choice", "pattern": "way"})


def honest_choice(evidence: Evidence, catalog: dict) -> Table:
    """Print accuracy by way of choosing settings, what was chosen from the shots, and how much work
    that was; `numbers` has a row per choice, model, set and way."""
    choices = evidence.choices
    numbers = summarised(choices)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    numbers = in_order(numbers, catalog)
    rows: dict[tuple, dict] = {}
    for item in numbers.to_dict("records"):
        key = tuple(item[name] for name in KEYS)
        row = rows.setdefault(key, _heads(item, catalog))
        row[WAYS[item["way"]]] = cell_text(item)
    for key, row in rows.items():
        mine = choices[(choices[KEYS] == list(key)).all(axis=1)]
        of_shots = mine[mine["way"] == HONEST]
        done, times = of_shots[of_shots["status"] == "ok"], _work(mine)
        row |= {"Candidates": _candidates(done), "Work": f"× {times}" if times else BLANK}
        row |= {"Chosen (seeds)": _chosen(done, catalog)}
        row["Seeds"] = counted(len(done), len(of_shots))
    return Table(
        numbers, pd.DataFrame(rows.values()), f"{NOTE} {claims_note(numbers)}{_unequal(choices)}"
    )


def in_order(numbers: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return a summary by task and set, then choice, model and way, each in its own order."""
    ranks = {"choice": list(catalog["choices"]), "way": list(WAYS)}
    ranked = numbers.assign(
        **{f"{column}_rank": numbers[column].map(names.index) for column, names in ranks.items()}
    )
    by = ["task", "domain", "evaluation_set", "choice_rank", "model", "k", "way_rank"]
    return ordered(ranked, catalog, by)[numbers.columns]


def _heads(item: dict, catalog: dict) -> dict:
    return {
        "section": where_text(item, catalog),
        "Choice": catalog["choices"][item["choice"]]["title"],
        "Model": titles(catalog, "models")[item["model"]],
        "Shots": str(item["k"]),
    }


def _candidates(rows: pd.DataFrame) -> str:
    """Return how many candidates the seeds had, as '4', or the fewest and most: '3–4'."""
    if rows.empty:
        return BLANK
    fewest, most = rows["candidates"].min(), rows["candidates"].max()
    return f"{most}" if fewest == most else f"{fewest}–{most}"


def _unequal(choices: pd.DataFrame) -> str:
    """Return a sentence where choices that stand beside each other differ in candidates."""
    done = choices[choices["status"] == "ok"]
    most = done.groupby(["task", "model", "k", "choice"], as_index=False)["candidates"].max()
    if not (most.groupby(["task", "model", "k"])["candidates"].nunique() > 1).any():
        return ""
    return (
        " Choices here differ in their number of candidates: one that has more was tuned more, and "
        "part of a difference between choices may come from that."
    )


def _chosen(rows: pd.DataFrame, catalog: dict) -> str:
    """Return what was chosen in these seeds, the most frequent first: 'LoRA, epoch 5 (3)'."""
    counts: dict[str, int] = {}
    for row in rows.to_dict("records"):
        name = arm_title(catalog, row["method"], row["pattern"])
        name += f", order {row['order']:.0f}" if row["order"] else ""
        epoch = f", epoch {row['epoch']:.0f}" if row["epoch"] else ""
        calibrated = ", calibrated" if row["calibration"] == "contextual" else ""
        counts[name + epoch + calibrated] = counts.get(name + epoch + calibrated, 0) + 1
    listed = sorted(counts.items(), key=lambda pair: -pair[1])
    return "; ".join(f"{name} ({count})" for name, count in listed) or BLANK


def _work(rows: pd.DataFrame) -> str:
    """Return the operations of holding shots out, in those of the candidates' own runs without
    their evaluation rows, as '2.1'; empty where these took none or are not known."""
    once = rows[(rows["way"] == HONEST) & (rows["status"] == "ok")]
    own, held = (once[f"flops_{part}"].astype(float).sum() for part in ("runs", "held_out"))
    times = held / own if own > 0 else float("nan")
    return "" if pd.isna(times) else f"{times:.2g}" if times < 10 else f"{times:,.0f}"


NOTE = (
    "Accuracy in percent, mean over seeds [95 % interval]. From the shots: of all candidates the "
    "one under which the shots, each scored by what is learned from others, are most probable; no "
    "other labelled row is read. Best in domain reads the labels of the in-domain evaluation rows, "
    "on which it looks better by chance alone; the oracle those of the set itself. First listed: "
    "the first cell of the choice at its last epoch. Candidates: the fewest and most of a seed. "
    "Work: operations of all candidates' held-out runs, in those of their own training with all "
    "shots or of encoding these once, without the evaluation rows, which no one who chooses has. "
    "Epochs that were not kept are counted on the learning curve's sample of rows. No test "
    "compares choices."
)


def cost_lines(choices: pd.DataFrame, catalog: dict) -> list[str]:
    """Say of each choice at the main k, a task at a time, what choosing from the shots gives and
    takes, in domain and out of it."""
    lines, k = [], catalog["main"]["k"]
    names = titles(catalog, "tasks")
    for choice, entry in catalog.get("choices", {}).items():
        for task in names:
            mine = choices[(choices[["choice", "task", "k"]] == [choice, task, k]).all(axis=1)]
            if parts := _gains(mine):
                times = _work(mine[mine["domain"] == "in"])
                took = (
                    f"; holding the shots out took {times} times the operations of the candidates' "
                    "own training or encoding of all shots"
                )
                lines.append(
                    f"Settings of “{entry['title']}” chosen from {k} shots of {names[task]} alone "
                    f"give {' and '.join(parts)}, means over {_pooled(mine)}"
                    f"{took if times else ''}."
                )
    return lines


def _gains(rows: pd.DataFrame) -> list[str]:
    """Say what choosing from the shots gives beside other ways, in domain and out of it."""
    parts = []
    for domain, where in (("in", "in domain"), ("out", "out of domain")):
        means = rows[rows["domain"] == domain].groupby("way")["accuracy"].mean()
        if pd.notna(means.get(HONEST)):
            gaps = [means[HONEST] - means[way] for way in ("first", *DISHONEST)]
            first, best, oracle = map(points, gaps)
            parts.append(
                f"{100 * means[HONEST]:.1f} % {where} ({first} points from the first listed, "
                f"{best} from the best in domain by evaluation labels, {oracle} from the oracle)"
            )
    return parts


def _pooled(rows: pd.DataFrame) -> str:
    """Say what means are over: 'models and seeds', and sets where several are out of domain."""
    several = rows.loc[rows["domain"] == "out", "evaluation_set"].nunique() > 1
    return "models, seeds and out-of-domain sets" if several else "models and seeds"
