"""Verdicts on the comparisons of a study: better, worse, equivalent or undecided.

Two questions are asked of each comparison, both of other draws and of other rows like these. Is
there a difference (`p_crossed`)? Is it smaller than the study's margin (two one-sided tests)? Each
question is corrected over all comparisons of the study by Benjamini and Hochberg, so that over many
studies at most 5 % of the verdicts that it gives are false on average, and a study in which nothing
differs has any with a chance of about 5 % (tests/slow/test_verdict_calibration.py).
"""

import numpy as np
import pandas as pd

from . import stats

ALPHA = 0.05
"""Level of every mark and verdict. That of the published matrices could not be verified."""
BETTER, WORSE, EQUIVALENT, UNDECIDED, UNTESTED = (
    "better",
    "worse",
    "equivalent",
    "undecided",
    "not tested",
)
VERDICTS = (BETTER, WORSE, EQUIVALENT, UNDECIDED, UNTESTED)


def judged(frame: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Return comparisons (statistics_schemas.COMPARISONS) with their verdicts, as one study.

    `margin` is the smallest difference that matters, in points. New columns: `p_equivalent`;
    `study_difference` and `study_equivalent`, the p of both questions after the correction;
    `verdict`, of VERDICTS. A difference that is found counts as such even where it is also within
    the margin, which `within_margin` tells.
    """
    columns = ("difference", "error", "df", "p_crossed")
    difference, error, df, p = (frame[name].to_numpy(dtype=float) for name in columns)
    tested = ~np.isnan(p)
    within = stats.equivalence_test(difference, error, df, margin / 100)
    within = np.where(tested, within, np.nan)
    differs = stats.benjamini_hochberg(p)
    equivalent = stats.benjamini_hochberg(within)
    sign = np.where(difference > 0, BETTER, WORSE)
    open_ = np.where(equivalent < ALPHA, EQUIVALENT, UNDECIDED)
    verdict = np.where(tested, np.where(differs < ALPHA, sign, open_), UNTESTED)
    return frame.assign(
        p_equivalent=within,
        study_difference=differs,
        study_equivalent=equivalent,
        within_margin=equivalent < ALPHA,
        verdict=verdict.astype(object),
    )
