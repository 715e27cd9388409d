"""Verdicts of a study: two questions, corrected together, and what they leave open."""

import numpy as np
import pandas as pd
import pytest
from fewshot.analysis.verdicts import judged
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests


def study(differences, errors, df=30):
    frame = pd.DataFrame({"difference": differences, "error": errors, "df": float(df)})
    t = np.abs(frame["difference"] / frame["error"])
    frame["p_crossed"] = 2 * reference.t(df).sf(t)
    return frame


def test_the_four_verdicts_and_none():
    frame = judged(study([0.1, -0.1, 0.001, 0.02, np.nan], [0.02, 0.02, 0.008, 0.02, np.nan]), 3)
    assert frame["verdict"].tolist() == ["better", "worse", "equivalent", "undecided", "not tested"]


def test_a_difference_within_the_margin_is_found_and_said_to_be_small():
    frame = judged(study([0.015], [0.003]), 3)
    assert (frame["verdict"][0], frame["within_margin"][0]) == ("better", True)
    assert not judged(study([0.015], [0.003]), 1)["within_margin"][0]


def test_both_questions_are_corrected_over_the_whole_study():
    frame = study([0.05, 0.04, 0.001, 0.0, -0.03], [0.02, 0.02, 0.01, 0.009, 0.015])
    found = judged(frame, 3)
    corrected = multipletests(frame["p_crossed"], method="fdr_bh")[1]
    assert found["study_difference"].tolist() == pytest.approx(corrected.tolist())
    corrected = multipletests(found["p_equivalent"], method="fdr_bh")[1]
    assert found["study_equivalent"].tolist() == pytest.approx(corrected.tolist())
    alone = judged(frame.iloc[[0]], 3)
    assert alone["verdict"].tolist() == ["better"]
    crowd = pd.concat([frame.iloc[[0]], *[study([0.0], [0.05])] * 20], ignore_index=True)
    assert judged(crowd, 3)["verdict"][0] == "undecided"


def test_equivalence_needs_an_interval_within_the_margin_not_a_large_p():
    """A difference that cannot be told from zero is no finding."""
    frame = judged(study([0.0], [0.05]), 3)
    assert frame["verdict"][0] == "undecided"
    assert judged(study([0.0], [0.05]), 20)["verdict"][0] == "equivalent"
