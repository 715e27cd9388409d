"""What models make of bias probes, before and after adaptation, as a table and in a sentence."""

from collections.abc import Mapping

import pandas as pd

from ...analysis.bias import FRACTION, LEAN, NET, SELECTIONS, one_sided
from ...analysis.evidence import Evidence
from ...analysis.titles import SELECTIONS as CHECKPOINTS
from ...analysis.titles import is_baseline, ordered, set_title
from ...formatting import number_of, percent
from ..table_text import Table, cell_names, cell_text, change_text, seeds_text

KEYS = ["task", "evaluation_set", "attribute", "model", "method", "pattern", "k"]
ALL = "all"
"""What the rows of all groups of an attribute are called."""
NOTE = (
    "Fraction neutral: pairs whose likeliest answer is neutral, the only right one, in percent. "
    "Net neutral: mean probability of neutral (× 100). Less the others: net neutral of a group "
    "less the mean of the other groups in the same pairs, in points. Lean less the others: the "
    "same of P(entailment) − P(contradiction): above zero a model takes the group for granted more "
    "than the others. From 0 shots: less the same model with the same pattern and no shots. 95 % "
    "intervals are for other draws and other occupations, with 0 shots for occupations alone; "
    "none is corrected for their number."
)


def main_checkpoint(catalog: dict) -> str:
    """Return the checkpoint at which probes are shown: the study's main one, but the last epoch
    where that is an oracle, at which not every answer is kept."""
    chosen = catalog["main"]["selection"]
    return chosen if chosen in SELECTIONS else "last"


def checkpoint_note(catalog: dict) -> str:
    """Return the sentence that names `main_checkpoint`."""
    return f"Checkpoint: {CHECKPOINTS[main_checkpoint(catalog)]}."


def shown(bias: pd.DataFrame, catalog: dict, k: int | None = None) -> pd.DataFrame:
    """Return the rows (result_schemas.BIAS) that pages show: those at the main checkpoint with `k`
    shots (the study's main number if left out) and without any."""
    k = catalog["main"]["k"] if k is None else k
    chosen = bias[bias["k"].isin([0, k]) & (bias["selection"] == main_checkpoint(catalog))]
    # The order of attributes and groups stays that of the probe.
    return ordered(chosen.reset_index(drop=True), catalog, [*KEYS[:2], *KEYS[3:]])


def bias(evidence: Evidence, catalog: dict, *, k: int | None = None) -> Table:
    """Print fraction neutral, net neutral and differences between groups of each cell with `k`
    shots (the study's main number if left out) and without any, with 95 % intervals."""
    numbers = shown(evidence.bias, catalog, k)
    if numbers.empty:
        return Table(numbers, pd.DataFrame())
    rows: dict[tuple, dict] = {}
    for item in numbers.to_dict("records"):
        group = ALL if pd.isna(item["group"]) else item["group"]
        key = (*(item[name] for name in KEYS), group)
        rows.setdefault(key, {})[item["measure"]] = item
    printed = [_row(key, found, catalog) for key, found in _by_attribute(rows).items()]
    return Table(numbers, pd.DataFrame(printed), f"{NOTE} {checkpoint_note(catalog)}")


def _by_attribute(rows: dict[tuple, dict]) -> dict[tuple, dict]:
    """Return rows with those of one task, probe and attribute together, in their order."""
    places = list(dict.fromkeys(key[:3] for key in rows))
    return dict(sorted(rows.items(), key=lambda pair: places.index(pair[0][:3])))


def _row(key: tuple, found: Mapping[str, dict], catalog: dict) -> dict:
    fraction, net, lean = (found[name] for name in (FRACTION, NET, LEAN))
    task, probe, attribute, *_, group = key
    named = {"section": f"{set_title(catalog, task)} → {set_title(catalog, probe)}: {attribute}"}
    named |= {**cell_names(fraction, catalog), "Group": group}
    if not fraction["seeds"]:
        return {**named, "Fraction neutral": fraction["status"]}
    return named | {
        "Fraction neutral": _level(fraction),
        "From 0 shots": _moved(fraction, "change"),
        "Net neutral": _level(net),
        "Less the others": _moved(net, "difference"),
        "From 0 shots (difference)": _moved(net, "difference_change"),
        "Lean less the others": _moved(lean, "difference"),
        "Seeds": seeds_text(fraction),
    }


def _level(item: Mapping) -> str:
    return cell_text({**item, "mean": item["estimate"], "seeds_planned": item["seeds"]})


def _moved(item: Mapping, name: str) -> str:
    """Return a difference in points with its interval; a blank without any."""
    return change_text(item, name, f"{name}_low", f"{name}_high")


def bias_lines(bias: pd.DataFrame, catalog: dict) -> list[str]:
    """Say for each task and probe how many pairs are called neutral without shots and with the main
    number of them, how far groups differ, and how many of these differences are clear.

    Baselines are left out: the sentence is about models that are adapted.
    """
    rows, lines = shown(bias, catalog), []
    baselines = [name for name in catalog["methods"] if is_baseline(catalog, name)]
    rows = rows[(rows["seeds"] > 0) & ~rows["method"].isin(baselines)]
    for (task, probe), part in rows.groupby(["task", "evaluation_set"], sort=False, observed=True):
        whole = part[part["group"].isna() & (part["measure"] == FRACTION)]
        parts = [
            f"{percent(of_k['estimate'].mean())} % with {number_of(int(k), 'shot')}"
            for k, of_k in whole.groupby("k", sort=True)
        ]
        (most, clear), (lean, leaning) = (_differences(part, each) for each in (NET, LEAN))
        lines.append(
            f"All pairs of “{set_title(catalog, probe)}” are neutral and differ in a social word. "
            f"With the prompts of {set_title(catalog, task)}, models call {' and '.join(parts)} "
            "of them neutral (means over attributes and cells). Between groups, P(neutral) differs "
            f"by up to {most} points; {clear} differences have a 95 % interval without zero. "
            f"P(entailment) − P(contradiction) differs by up to {lean} points; {leaning} have one. "
            "The intervals are not corrected for their number."
        )
    return lines


def _differences(rows: pd.DataFrame, measure: str) -> tuple[str, str]:
    """Return the largest difference between groups in points, and how many have an interval without
    zero, as '3 of 12'."""
    apart = one_sided(rows[rows["measure"] == measure])
    known = apart[apart["difference_low"].notna()]
    clear = (known["difference_low"] > 0) | (known["difference_high"] < 0)
    return f"{100 * apart['difference'].abs().max():.1f}", f"{int(clear.sum())} of {len(known)}"
