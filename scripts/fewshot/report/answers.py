"""The answer of a study in sentences: what was found, by which test, and what cannot be known."""

from dataclasses import dataclass

import pandas as pd

from ..analysis import stats
from ..analysis.arms import RESAMPLES
from ..analysis.titles import arm_title
from ..analysis.verdicts import ALPHA, UNDECIDED, UNTESTED, VERDICTS
from ..formatting import number_of, points
from .findings import ARMS, WHERE, by_domain, sentences, verdicts
from .table_text import Table
from .tables.comparisons import main_comparisons, margin_of, setting_text, with_agreement
from .tables.questions import study_sentences

MOST_MEANS = 6
"""The answer has the means if they take no more sentences than this; else only the table does."""


@dataclass(frozen=True)
class Answer:
    """What was `found`, a sentence per domain, with the `verdicts` by model and evaluation set;
    `means` over models and tasks, how comparisons were made (`basis`), how often each verdict was
    given by method, the limits."""

    found: list[str]
    verdicts: Table
    means: list[str]
    basis: str
    methods: Table
    limits: list[str]


def answer(
    comparisons: pd.DataFrame, catalog: dict, contrasts: pd.DataFrame | None = None
) -> Answer | None:
    """Return the answer by the comparisons at the main k and selection; None without any.

    `contrasts` (statistics_schemas.CONTRASTS) add the means over models and tasks, if they are few.
    """
    frame = main_comparisons(comparisons, catalog)
    if frame.empty:
        return None
    means = [] if contrasts is None else study_sentences(contrasts, catalog)
    return Answer(
        sentences(frame, catalog),
        verdicts(frame, catalog),
        means if len(means) <= MOST_MEANS else [],
        _basis(frame, catalog),
        _methods(frame, catalog),
        _limits(frame, catalog),
    )


def _basis(frame: pd.DataFrame, catalog: dict) -> str:
    shared = catalog.get("shared_draws", True)
    draws = "over the same draws" if shared else "over draws of its own (they are not shared)"
    corrected = (
        f"Both tests are corrected over all {len(frame)} comparisons of the study (Benjamini and "
        "Hochberg)."
        if len(frame) > 1
        else "There is 1 comparison in the study, which needs no correction."
    )
    return (
        f"Each fine-tuned model is compared with the same model in context {draws}: "
        f"{setting_text(frame, catalog)} {criterion(catalog)} {corrected}"
    )


def criterion(catalog: dict) -> str:
    """Return when a verdict is given, in sentences."""
    margin = f"{margin_of(catalog):g}"
    return (
        "Verdicts are for other draws and for rows like these: better or worse where the test of "
        f"a difference gives p < {ALPHA:g} after correction; equivalent where two one-sided tests "
        f"show, after correction, that the difference lies within ±{margin} points, the study's "
        "margin; undecided where neither is shown."
    )


def _methods(frame: pd.DataFrame, catalog: dict) -> Table:
    """Count, for each method and reference, how often it was better, worse or neither."""
    rows = []
    for domain, of_domain in by_domain(frame):
        for (method, pattern, *against), part in of_domain.groupby(ARMS, sort=False):
            count = part["verdict"].value_counts()
            rows.append(
                {
                    "section": WHERE[domain],
                    "Method": arm_title(catalog, method, pattern),
                    "Reference": arm_title(catalog, *against),
                    **{name.capitalize(): str(count.get(name, 0)) for name in VERDICTS},
                    "Median difference": points(part["difference"].astype(float).median()),
                }
            )
    return Table(frame, pd.DataFrame(rows))


def _limits(frame: pd.DataFrame, catalog: dict) -> list[str]:
    """Say what the numbers of seeds, comparisons and rows do not allow to conclude."""
    found = []
    tests = int((frame["verdict"] != UNTESTED).sum())
    if tests == 1:
        found.append(
            "A verdict may be chance. If nothing differed, the one test of a difference would fall "
            f"below {ALPHA:g} in {100 * ALPHA:g} % of such studies."
        )
    elif tests:
        found.append(
            f"Some verdicts may be chance. If nothing differed, {ALPHA * tests:.2g} of the {tests} "
            f"tests of a difference would fall below {ALPHA:g} before correction. After it at most "
            "5 % of verdicts are false on average over many studies; false ones come together, "
            "since comparisons share references, draws and rows."
        )
    if (frame["verdict"] == UNDECIDED).any():
        found.append(
            "Undecided does not mean equal: the interval says how large a difference may be. More "
            "seeds narrow it only as far as the evaluation rows allow (snakemake power)."
        )
    single = frame[(frame["seeds"] == 1) & frame["low"].notna()]
    if len(single):
        found.append(
            f"With one seed ({len(single)} of {number_of(len(frame), 'comparison')}) an interval "
            "is for other rows, not for other draws, and there is no verdict."
        )
    done = frame[frame["seeds"] > 1]
    if len(done) and catalog.get("shared_draws", True):
        size = max(1, int(done["family_size"].max()))
        found.append(stats.floor_note(int(done["seeds"].max()), size, RESAMPLES))
    lacking = frame[frame["seeds"] < frame["seeds_planned"]]
    if len(lacking):
        found.append(
            f"Where seeds are missing on one side or the other ({len(lacking)} of "
            f"{number_of(len(frame), 'comparison')}), those that both have are compared; tables "
            "mark this."
        )
    agree = with_agreement(frame, catalog)["agree"]
    compared = int(agree.notna().sum())
    if compared:
        found.append(
            f"In {(agree == 'no').sum()} of {number_of(compared, 'comparison')} the tests disagree "
            "after Holm's correction: see “What each test says”."
        )
    return found
