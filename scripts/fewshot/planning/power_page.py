"""The power of a study as a page to read and a table: what it can find, and with how many seeds."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from .. import storage
from ..analysis.stats import power
from ..analysis.stats.power import ALPHA, ENDLESS, MOST_SEEDS, POWER, Expected, Sources
from ..formatting import BLANK, percent
from ..report.table_text import markdown_section
from ..schemas import NAME, column

SEEDS = (3, 5, 10, 20, 50)
"""Numbers of seeds that stand beside the study's own."""
SOURCES = ["draw_variance", "row_variance", "both_variance", "row_df"]
PLAIN, CORRECTED = "", "_corrected"
OVER = f"> {MOST_SEEDS:,}"

_CORRECTED = "; at 5 % / comparisons of the study"
POWERS = pa.schema(
    [
        column("task", NAME, "training task"),
        column("evaluation_set", NAME, "task that is scored"),
        column("domain", NAME, "'in' or 'out' of the training domain"),
        column(
            "seeds", pa.int32(), "seeds of the study; null: so many that draws add nothing", True
        ),
        column("planned", pa.bool_(), "whether these are the study's seeds"),
        column("rows", pa.int64(), "evaluation rows"),
        column("clusters", pa.int64(), "clusters of rows, or rows; null: rows not prepared", True),
        column("rows_from", NAME, "where rows are from: 'prepared', 'tasks.yaml', 'unknown'"),
        column(
            "test_half", pa.bool_(), "whether rows are the test half alone, which judges an epoch"
        ),
        column("source", NAME, "where variances are from: 'finished cells' or 'assumed'"),
        column("finished", pa.int32(), "finished comparisons that they rest on"),
        column("draw_variance", pa.float64(), "variance of a difference between draws alone"),
        column("row_variance", pa.float64(), "that by the choice of rows, over endless draws"),
        column("both_variance", pa.float64(), "what this choice adds for a single draw"),
        column("row_df", pa.float64(), "degrees of freedom of rows or clusters"),
        column("error", pa.float64(), "expected standard error of a difference", True),
        column("df", pa.float64(), "degrees of freedom of the test", True),
        *(
            column(f"{name}{end}", kind, f"{what}{_CORRECTED if end else ''}", True)
            for name, kind, what in (
                ("detectable", pa.float64(), "difference that is found (80 %) at 5 %"),
                ("provable", pa.float64(), "margin within which equal scores are shown to be"),
                ("equivalent", pa.float64(), "chance to show them within the study's margin"),
                ("seeds_different", pa.int32(), "seeds to find a difference of the margin"),
                ("seeds_equivalent", pa.int32(), "seeds to show equal scores within it"),
            )
            for end in (PLAIN, CORRECTED)
        ),
    ]
)
"""Chances and differences are shares; seeds are at most MOST_SEEDS, else null."""


def write_power(asked: Sequence[Mapping], facts: Mapping[str, object], output) -> str:
    """Write the power as Parquet, CSV and Markdown (`output.table`, `.csv`, `.md`).

    `asked` and `facts` are those of `power.py`. Return its first table and remarks.
    """
    frame = powers(asked, facts)
    storage.write_table(output.table, frame, POWERS)
    with storage.atomic(output.csv) as partial_file:
        frame.to_csv(partial_file, index=False)
    with storage.atomic(output.md) as partial_file:
        Path(partial_file).write_text(page(frame, facts), "utf-8")
    return short(frame, facts)


def powers(asked: Sequence[Mapping], facts: Mapping[str, object]) -> pd.DataFrame:
    """Return the power (POWERS) of each evaluation set for several numbers of seeds."""
    alphas = {PLAIN: ALPHA, CORRECTED: ALPHA / max(facts["comparisons"], 1)}
    margin, apart = facts["margin"] / 100, not facts["shared_draws"]
    rows = [row for each in asked for row in _of_set(each, margin, alphas, apart)]
    frame = pd.DataFrame(rows, columns=POWERS.names)
    whole = ["seeds", "clusters", *(f"seeds_{what}{end}" for what in ("different", "equivalent")
                                    for end in alphas)]  # fmt: skip
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _of_set(
    each: Mapping, margin: float, alphas: Mapping[str, float], apart: bool
) -> Iterator[dict]:
    """Yield the rows of one evaluation set: by seeds, and the last one without an end of them."""
    sources = Sources(*(each[name] for name in SOURCES), apart)
    shared = {name: each[name] for name in POWERS.names if name in each}
    shared |= _needed(sources, margin, alphas)
    for seeds in (*sorted({*SEEDS, each["seeds"]}), None):
        found = power.expected_error(sources, ENDLESS if seeds is None else seeds)
        yield {
            **shared,
            "seeds": seeds,
            "planned": seeds == each["seeds"],
            "error": found.error,
            "df": found.test_df,
            **_found(found, margin, alphas),
        }


def _found(found: Expected, margin: float, alphas: Mapping[str, float]) -> dict[str, float]:
    row = {}
    for end, alpha in alphas.items():
        row[f"detectable{end}"] = power.detectable_difference(found, POWER, alpha)
        row[f"provable{end}"] = power.provable_margin(found, POWER, alpha)
        row[f"equivalent{end}"] = power.equivalence_power(found, margin, alpha)
    return row


def _needed(sources: Sources, margin: float, alphas: Mapping[str, float]) -> dict[str, int | None]:
    asked = {"different": power.difference_power, "equivalent": power.equivalence_power}
    return {
        f"seeds_{what}{end}": power.seeds_needed(sources, partial(_chance, chance, margin, alpha))
        for what, chance in asked.items()
        for end, alpha in alphas.items()
    }


def _chance(chance, margin: float, alpha: float, found: Expected) -> float:
    return chance(found, margin, alpha)


def page(frame: pd.DataFrame, facts: Mapping[str, object]) -> str:
    """Return the page in Markdown: the study's own power, other numbers of seeds, sources."""
    title = f"# Power of study '{facts['study']}' with {facts['k']} shots\n"
    if frame.empty:
        return f"{title}\n{NOTHING}\n"
    own = frame[frame["planned"]]
    parts = [
        title,
        markdown_section("As planned", _planned(frame, facts)),
        markdown_section("By seeds", [_by_seeds(row, facts) for row in _records(frame)]),
        markdown_section("What this rests on", [_basis(row) for row in _records(own)]),
        _listed(remarks(own, facts)),
    ]
    return "\n".join(parts)


def short(frame: pd.DataFrame, facts: Mapping[str, object]) -> str:
    """Return what is printed: the study as planned, and the remarks."""
    if frame.empty:
        return NOTHING
    heading = f"Power of study '{facts['study']}' with {facts['k']} shots"
    table = markdown_section(heading, _planned(frame, facts))
    return f"{table}\n{_listed(remarks(frame[frame['planned']], facts))}"


NOTHING = (
    "Nothing is compared: the study has no fine-tuned method that has the same model in context, "
    "with the same number of shots, beside it."
)


def _records(frame: pd.DataFrame) -> list[dict]:
    """Return the rows of a frame, with None where there is no value."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _listed(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) + "\n"


def _where(row: Mapping) -> dict[str, str]:
    half = " (test half)" if row["test_half"] else ""
    return {"task": row["task"], "scored on": f"{row['evaluation_set']}{half}"}


def _planned(frame: pd.DataFrame, facts: Mapping) -> list[dict[str, str]]:
    margin = f"{facts['margin']:g}"
    limits = {(row["task"], row["evaluation_set"]): row
              for row in _records(frame) if row["seeds"] is None}  # fmt: skip
    return [
        {
            **_where(row),
            "seeds": _count(row["seeds"]),
            "rows": _count(row["rows"]),
            "finds a difference of": _pair(row, "detectable", _size_text),
            "shows equivalence within": _pair(row, "provable", _size_text),
            f"chance to show ±{margin}": _pair(row, "equivalent", _chance_text),
            f"seeds to find {margin}": _seeds(row, limits, "different", "detectable", facts),
            f"seeds to show ±{margin}": _seeds(row, limits, "equivalent", "provable", facts),
        }
        for row in _records(frame[frame["planned"]])
    ]


def _seeds(row: Mapping, limits: Mapping, what: str, size: str, facts: Mapping) -> str:
    """Return the seeds that are needed, plain and corrected, or whether no number is enough."""
    limit, texts = limits[row["task"], row["evaluation_set"]], []
    for end in (PLAIN, CORRECTED):
        seeds, least = row[f"seeds_{what}{end}"], limit[f"{size}{end}"]
        more = "never" if least is not None and least > facts["margin"] / 100 else OVER
        texts.append(BLANK if least is None else more if seeds is None else _count(seeds))
    return " / ".join(texts)


def _by_seeds(row: Mapping, facts: Mapping) -> dict[str, str]:
    return {
        **_where(row),
        "seeds": "no end" if row["seeds"] is None else _count(row["seeds"]),
        "error": BLANK if row["error"] is None else percent(row["error"]),
        "finds a difference of": _pair(row, "detectable", _size_text),
        "shows equivalence within": _pair(row, "provable", _size_text),
        f"chance to show ±{facts['margin']:g}": _pair(row, "equivalent", _chance_text),
    }


def _basis(row: Mapping) -> dict[str, str]:
    """Return standard deviations, in points, of a difference between two methods."""
    finished = f"{row['source']} ({row['finished']})" if row["finished"] else row["source"]
    return {
        **_where(row),
        "variances from": finished,
        "rows from": row["rows_from"],
        "clusters": "not known" if row["clusters"] is None else _count(row["clusters"]),
        "between draws": percent(row["draw_variance"] ** 0.5),
        "by rows, all draws": percent(row["row_variance"] ** 0.5),
        "by rows, one draw": percent((row["row_variance"] + row["both_variance"]) ** 0.5),
    }


def _pair(row: Mapping, name: str, text) -> str:
    """Return a number of one comparison and, behind a slash, of one among the study's."""
    return " / ".join(text(row[f"{name}{end}"]) for end in (PLAIN, CORRECTED))


def _count(number: int) -> str:
    return f"{number:,}"


def _size_text(size: float | None) -> str:
    return "> 100" if size is not None and size > 1 else percent(size)


def _chance_text(chance: float | None) -> str:
    return BLANK if chance is None else f"{100 * chance:.0f} %"


def remarks(own: pd.DataFrame, facts: Mapping[str, object]) -> Iterator[str]:
    """Yield the remarks below the tables, of the study as planned."""
    count, margin = facts["comparisons"], f"{facts['margin']:g}"
    yield (
        "In points, with a chance of 80 %: the difference that a test at 5 % finds, and the margin "
        "within which two one-sided tests at 5 % show two methods to be if they do not differ. "
        "Both are for other draws and rows like these."
    )
    yield (
        f"Before the slash: one comparison alone. Behind it: one of the study's {count}, at 5 % / "
        f"{count} (Bonferroni). The study corrects both questions by Benjamini and Hochberg, whose "
        "power lies between: it finds what Bonferroni does, and more if more methods differ."
    )
    yield (
        f"Never: with these evaluation rows no number of seeds is enough to find {margin} points, "
        f"or to show methods to be within ±{margin}. More seeds average out the draws, not the "
        "choice of rows; “no end” of seeds is the best that the rows allow."
    )
    if own["test_half"].any():
        yield (
            f"In domain, on {_names(own[own['test_half']])}, verdicts rest on the test half of the "
            "rows, which is counted here: the other half chooses the epoch (held-out)."
        )
    yield from _basis_remarks(own, facts)
    if (own["seeds"] < 2).any():
        yield "One seed: no verdict for other draws is possible."


def _basis_remarks(own: pd.DataFrame, facts: Mapping[str, object]) -> Iterator[str]:
    finished, assumed = ((own["finished"] > 0) == which for which in (True, False))
    if finished.any():
        yield (
            f"Variances on {_names(own[finished])} are means over finished comparisons. They are "
            "estimates, and rough ones if these have few seeds."
        )
    if assumed.any():
        told = facts["assumed"]
        yield (
            f"Variances on {_names(own[assumed])} are assumed: accuracies vary by "
            f"{told['draw_sd']:g} points between draws, methods disagree on "
            f"{100 * told['disagreement']:g} % of the rows, {100 * told['repeated']:g} % of this "
            "is the same with every draw, and rows of a cluster are correlated by "
            f"{told['cluster_correlation']:g}. The study's key `power` changes this. Better: run a "
            "few seeds of it, then `snakemake statistics` and this again."
        )
    unprepared = own["rows_from"] != "prepared"
    if unprepared.any():
        yield (
            f"Rows of {_names(own[unprepared])} are not prepared and count as independent. Rows of "
            "one template or premise are not, so with such rows less is found than is told here. "
            "`snakemake data` prepares them."
        )
    unknown = own["rows_from"] == "unknown"
    if unknown.any():
        half = ", 5,000 for a test half" if own["test_half"][unknown].any() else ""
        yield f"How many rows {_names(own[unknown])} have is not known: 10,000 are taken{half}."


def _names(own: pd.DataFrame) -> str:
    return ", ".join(dict.fromkeys(own["evaluation_set"]))
