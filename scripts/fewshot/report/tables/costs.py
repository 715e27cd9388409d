"""What runs cost, as tables: costs and coverage, cost against accuracy, break-even."""

import math

import pandas as pd

from ...analysis.cell_costs import ORDER, accuracies, cell_costs, contests
from ...analysis.evidence import Evidence
from ...analysis.metrics import CELL
from ...analysis.summary import NUMBERS, seed_counts
from ...analysis.titles import arm_title, is_baseline, ordered, set_title, titles
from ...formatting import BLANK, number_of, percent, size_text
from ..table_text import Table, cell_names, claims_note, reach, seeds_text

SHOWN = {
    "Load (s)": "seconds_load",
    "Train (s)": "seconds_train",
    "Curve (s)": "seconds_curve",
    "Score (s)": "seconds_score",
    "Other (s)": "seconds_other",
}
"""Columns of the printed table of costs and what they show."""


def coverage(evidence: Evidence, catalog: dict) -> Table:
    """Count the seeds of every cell; print the cells that are not complete, and those without the
    scores of held-out shots that are planned, and why."""
    counts = seed_counts(evidence.metrics)
    tokens = evidence.windows.astype({name: object for name in ORDER})
    shown = ["longest_tokens", "window", "shown_rows"]
    tokens = tokens.groupby([*CELL], as_index=False)[shown].max()
    numbers = counts.merge(tokens.astype({"protocol": object}), on=CELL, how="left")
    numbers["exact_ties"] = _exact_ties(numbers, evidence.manifests)
    numbers["log"] = [
        evidence.logs.get(tuple(row), "") for row in numbers[ORDER].itertuples(index=False)
    ]
    numbers = ordered(numbers, catalog, ORDER)
    lacking = numbers["seeds_ok"] < numbers["seeds_planned"]
    # Of a complete cell's own log nothing is told: its shots, held out, are not.
    open_cells = numbers[lacking | (numbers["log"] != "")]
    text = pd.DataFrame([_open_cell(row, catalog) for _, row in open_cells.iterrows()])
    if len(text) and not text["Last line of the log"].any():
        text = text.drop(columns="Last line of the log")
    total = len(numbers)
    note = (
        f"{total - int(lacking.sum())} of {number_of(total, 'cell')} "
        f"{'is' if total == 1 else 'are'} complete."
    )
    note += _held_out_note(len(open_cells) - int(lacking.sum()))
    note += _part_note(catalog["tasks"]) + _truncation_note(evidence.manifests)
    # Label counts of the shots tie by their nature.
    models = ~numbers["method"].map(lambda name: is_baseline(catalog, name)).astype(bool)
    note += _tie_note(int(numbers["exact_ties"][models].sum()))
    note += _shown_note(numbers["shown_rows"].max())
    return Table(numbers, text, note if total else "")


def _exact_ties(cells: pd.DataFrame, manifests: list[dict]) -> list[int]:
    """Return of each cell's runs the evaluation rows of which several label words ranked highest.

    Fine-tuned models: as scored after the last epoch.
    """
    counts = dict.fromkeys(cells[CELL].itertuples(index=False, name=None), 0)
    for manifest in manifests:
        key = tuple(manifest[name] for name in CELL)
        for seed in manifest["seeds"].values():
            sets = [facts.get("exact_ties", 0) for facts in seed.get("scoring", {}).values()]
            counts[key] = counts.get(key, 0) + sum(sets)
    return [counts[key] for key in cells[CELL].itertuples(index=False, name=None)]


def _held_out_note(cells: int) -> str:
    """Return a sentence on complete cells whose shots have no held-out scores, or nothing."""
    return f" Of {cells} of these the scores of held-out shots are missing." if cells else ""


def _tie_note(rows: int) -> str:
    """Return a sentence on rows whose label words tied exactly, or nothing where none did."""
    if not rows:
        return ""
    return (
        f" {number_of(rows, 'row')} had several label words of exactly the highest score: a hash "
        "of the row's id decided, not the order of the labels (column exact_ties)."
    )


def _shown_note(rows: float) -> str:
    """Return a sentence on evaluation rows that were shots too, or nothing where none was."""
    if not rows > 0:
        return ""
    return (
        f" Up to {rows:.0f} evaluation rows have the texts of a shot that the model was shown or "
        "trained on (column shown_rows); they are scored all the same."
    )


def _part_note(tasks: dict[str, dict]) -> str:
    """Return a sentence on the evaluation sets that are parts of published ones, or nothing."""
    parts = []
    for task in tasks.values():
        cut = task.get("subsample", {})
        words = []
        if "max_characters" in task:
            words.append(f"rows of up to {task['max_characters']:,} characters")
        if "validation" in cut.get("splits", ()):
            how = ", stratified by label, group and subset" if cut.get("stratified") else ""
            words.append(f"{cut['rows']:,} random rows{how}")
        if words:
            parts.append(f"{task['title']} ({'; of these '.join(words)})")
    return f" Scored in part: {'; '.join(parts)}." if parts else ""


def _truncation_note(manifests: list[dict]) -> str:
    """Return a sentence on the runs whose prompts were cut, or nothing where none was."""
    seeds = [seed for manifest in manifests for seed in manifest["seeds"].values()]
    cut = [
        (sum(n for name, n in counts.items() if name != "train"), counts["train"])
        for counts in (seed.get("truncated", {}) for seed in seeds)
        if any(counts.values())
    ]
    if not cut:
        return ""
    rows, shots = (max(column) for column in zip(*cut, strict=True))
    return (
        f" Their methods cut prompts in {number_of(len(cut), 'run')}: of up to "
        f"{number_of(rows, 'evaluation row')} and {number_of(shots, 'shot')} each."
    )


def _open_cell(row: pd.Series, catalog: dict) -> dict:
    """Return the printed row of a cell that lacks seeds."""
    unfit = row["seeds_unfit"] > 0
    tokens = f"{row['longest_tokens']:.0f} of {row['window']:.0f}" if unfit else BLANK
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row.to_dict(), catalog),
        "Done": f"{row['seeds_ok']}/{row['seeds_planned']}",
        "Does not fit": str(row["seeds_unfit"] or BLANK),
        "Missing": str(row["seeds_missing"] or BLANK),
        "Longest prompt (tokens)": tokens if row["longest_tokens"] > 0 else BLANK,
        "Last line of the log": row["log"],
    }


def costs(evidence: Evidence, catalog: dict) -> Table:
    """Return seconds per phase and seed, memory and parameters of every cell.

    Seconds are means over finished seeds; `scoring_share` is the part of them that goes into
    evaluation, `curve_share` that of the learning curve among it. A cell's peak is that of its
    largest seed; on GPUs what was planned stands beside it.
    """
    numbers = cell_costs(evidence, catalog)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    total = numbers["seconds_total"]
    numbers["curve_share"] = numbers["seconds_curve"] / total
    numbers["scoring_share"] = numbers["curve_share"] + numbers["seconds_score"] / total
    planned = numbers["predicted_memory_mib"].notna().any()
    rows = [_cost_row(row, catalog, planned) for row in numbers.to_dict("records")]
    note = f"Device: {', '.join(sorted(set(numbers['device'])))}. Seconds are means per seed."
    return Table(numbers, pd.DataFrame(rows), note)


def _cost_row(row: dict, catalog: dict, planned: bool) -> dict:
    """Return the printed row of a cell, with the planned memory where there is any."""
    share = row["trainable"] / row["parameters"] if row["parameters"] else 0
    plan = {"Planned (MiB)": number(row["predicted_memory_mib"])} if planned else {}
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        **{title: f"{row[name]:,.1f}" for title, name in SHOWN.items()},
        "Scoring (share)": _share(row["scoring_share"]),
        "of which curve": _share(row["curve_share"]) if row["trainable"] else BLANK,
        "Peak memory (MiB)": number(row["peak_memory_mib"]),
        **plan,
        "Trained parameters": f"{row['trainable']:,.0f} ({100 * share:.3g} %)",
        "Seeds": seeds_text(row),
    }


def _share(value: float) -> str:
    """Return a share of a cell's seconds; a dash where it took none that are worth a count."""
    return BLANK if pd.isna(value) else f"{100 * value:.0f} %"


def number(value: float, kind: str = ",.0f") -> str:
    """Return a number as text, or a dash for what is not known."""
    return BLANK if pd.isna(value) else format(value, kind)


ROUGH = (
    " ≈ counts two operations for each parameter and token alone, since the model's shape is not "
    "known: attention is left out."
)


def cost_accuracy(evidence: Evidence, catalog: dict, *, k: int | None = None) -> Table:
    """Set operations, seconds, disk and memory of each cell beside its accuracy.

    Cells with k shots (the study's main number if left out), and without any for comparison.
    """
    k = catalog["main"]["k"] if k is None else k
    costs = cell_costs(evidence, catalog, sorted({0, k}))
    if costs.empty:
        return Table(costs, pd.DataFrame())
    means = accuracies(evidence, catalog, sorted({0, k}))
    means = means[[*CELL, "evaluation_set", "domain", *NUMBERS]].rename(
        columns={name: f"accuracy_{name}" for name in NUMBERS}
    )
    numbers = costs.merge(means, on=CELL, how="left")
    numbers = ordered(numbers, catalog, [*ORDER, "evaluation_set"])
    rows = [_priced(cell, catalog) for _, cell in numbers.groupby(CELL, sort=False)]
    devices = ", ".join(sorted(set(costs["device"])))
    said = [f"Device: {devices}. Seconds and memory are added up over processes."]
    said.append(claims_note(means.rename(columns={"accuracy_interval": "interval"})))
    note = " ".join(filter(None, said))
    return Table(numbers, pd.DataFrame(rows).fillna(BLANK), note + _rough(numbers))


def _priced(cell: pd.DataFrame, catalog: dict) -> dict:
    """Return the printed row of a cell, which has a row for each evaluation set."""
    row = cell.iloc[0].to_dict()
    several = (cell["domain"] == "out").sum() > 1
    shown = {}
    for item in cell[cell["evaluation_set"].notna()].to_dict("records"):
        outside = set_title(catalog, item["evaluation_set"]) if several else "Out of domain"
        title = "In domain" if item["domain"] == "in" else outside
        shown[f"{title} (%)"] = accuracy_text(item)
    known = bool(row["shape_known"])
    return {
        "section": f"{set_title(catalog, row['task'])} · {titles(catalog, 'models')[row['model']]}",
        "Method": arm_title(catalog, row["method"], row["pattern"]),
        "Shots": str(row["k"]),
        "Trained": number(row["trainable"]),
        "FLOPs": operations_text(row["flops_uncached"], known),
        "cached": operations_text(row["flops_cached"], known),
        "training": operations_text(row["flops_train"], known),
        "Training (s)": number(row["train_device_seconds"], ",.1f"),
        "1,000 rows (s)": number(1000 * row["prediction_device_seconds"], ",.1f"),
        "Disk": size_text(row["disk_bytes"]),
        "Memory": size_text(row["total_memory_mib"] * 2**20),
        **shown,
        "Seeds": seeds_text(row),
    }


def accuracy_text(row: dict) -> str:
    """Return a mean accuracy in percent, with the reach of its interval where there is one."""
    if not row["accuracy_seeds"]:
        return BLANK
    half = reach({name: row[f"accuracy_{name}"] for name in ("mean", "low", "high")})
    return percent(row["accuracy_mean"]) + ("" if pd.isna(half) else f" ± {percent(half)}")


def operations_text(value: float, known: bool) -> str:
    """Return operations as 1.4e15; ≈ where they rest on the number of parameters alone."""
    if pd.isna(value) or value == 0:
        return BLANK if pd.isna(value) else "0"
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{'' if known else '≈ '}{digits}e{int(power)}"


def _rough(numbers: pd.DataFrame) -> str:
    """Return a sentence on operations that leave attention out, where some do."""
    return "" if numbers["shape_known"].astype(bool).all() else ROUGH


def break_even(evidence: Evidence, catalog: dict, *, k: int | None = None) -> Table:
    """Tell from how many predictions on fine-tuning is cheaper than the same model in context.

    `k` is the study's main number of shots if left out.
    """
    numbers = contests(evidence, catalog, catalog["main"]["k"] if k is None else k)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    rows = [_contest(row, catalog) for row in numbers.to_dict("records")]
    return Table(numbers, pd.DataFrame(rows), _rough(numbers).strip())


def _contest(row: dict, catalog: dict) -> dict:
    """Return the printed row of a fine-tuned cell and its rival."""
    sign = "" if row["shape_known"] else "≈ "
    return {
        "section": set_title(catalog, row["task"]),
        **cell_names(row, catalog),
        "Against": arm_title(catalog, row["rival_method"], row["rival_pattern"]),
        "Context (tokens)": number(row["rival_context_tokens"]),
        "Cache": size_text(row["rival_cache_bytes"]),
        "From (whole prompts)": sign + count_text(row["even_uncached"]),
        "From (cached context)": sign + count_text(row["even_cached"]),
        "From (measured)": count_text(row["even_seconds"]),
        "Memory (×)": number(row["total_memory_mib"] / row["rival_total_memory_mib"], ".2f"),
        "Seeds": seeds_text(row),
    }


def count_text(count: float) -> str:
    """Return a number of predictions, rounded up; 'never' where it is infinite."""
    if pd.isna(count):
        return BLANK
    if math.isinf(count):
        return "never"
    return f"{math.ceil(count):,}" if count < 1e9 else operations_text(count, True)
