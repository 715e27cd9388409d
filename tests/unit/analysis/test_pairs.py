"""Which arms are compared, in which families, and with which reference."""

import numpy as np
import pandas as pd
import pytest
import simulate
from arm_frames import CATALOG, arm, compared
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.pairs import ACROSS_PATTERNS, BASELINE, MATRIX, SAME_MODEL, pairs_of
from fewshot.report.tables.comparisons import comparison
from statsmodels.stats.multitest import multipletests


@pytest.mark.slow
def test_families_are_one_matrix_each_and_its_diagonal():
    arms = [
        arm(model, method, 0.6, pattern=pattern)
        for model in simulate.MODELS
        for method, pattern in (("ft", "minimal"), ("icl", "minimal"), ("icl", "gpt-3"))
    ]
    frame = compared(*arms)
    sizes = frame.groupby("family")["family_size"].agg(["size", "first"])
    assert sizes.loc[SAME_MODEL].tolist() == [4, 4]
    assert sizes.loc[MATRIX].tolist() == [8, 4], "two model families of two sizes"
    assert sizes.loc[ACROSS_PATTERNS].tolist() == [8, 4]
    other = frame["family"] == ACROSS_PATTERNS
    assert set(frame.loc[other, "reference_pattern"]) == {"gpt-3"}
    assert set(frame.loc[~other, "reference_pattern"]) == {"minimal"}
    same = frame[frame["family"] == SAME_MODEL]
    matrix = frame[frame["family"] == MATRIX]
    for name, method in (("holm", "holm"), ("bh", "fdr_bh")):
        for test in ("bootstrap", "paired", "welch", "permutation"):
            expected = multipletests(same[f"p_{test}"], method=method)[1]
            np.testing.assert_allclose(same[f"{name}_{test}"], expected)
            for family in ("opt", "pythia"):
                part = matrix[matrix["model"].str.startswith(family)]
                expected = multipletests(part[f"p_{test}"], method=method)[1]
                np.testing.assert_allclose(part[f"{name}_{test}"], expected)
    diagonal = matrix[matrix["model"] == matrix["reference_model"]].set_index("model")
    pd.testing.assert_series_equal(diagonal["low"], same.set_index("model")["low"])


def test_the_reference_has_the_same_pattern_or_the_first():
    keys = pd.DataFrame(
        [
            ("opt-s", "ft", "gpt-3", 16, "last"),
            ("opt-s", "lora", "minimal", 16, "last"),
            ("opt-s", "icl", "gpt-3", 16, "last"),
            ("opt-s", "icl", "minimal", 32, "last"),
            ("opt-s", "icl", "gpt-3", 0, "last"),
            ("opt-s", "ft", "gpt-3", 64, "last"),
        ],
        columns=["model", "method", "pattern", "k", "selection"],
    )
    pairs = pairs_of(keys, CATALOG)
    same = pairs[pairs["family"] == SAME_MODEL]
    assert same[["arm", "reference"]].to_numpy().tolist() == [[0, 2], [1, 2]]
    assert not (pairs["family"] == ACROSS_PATTERNS).any()


@pytest.mark.parametrize("stored", [False, True])
def test_results_made_elsewhere_are_compared_if_they_have_the_same_draws(stored):
    """With them or not, a fine-tuned model's first reference is the one that was made here."""
    harness = {"title": "Harness", "family": "imported", "trained": False}
    methods = {"harness": harness | {"stored_draws": stored}, **CATALOG["methods"]}
    catalog = {**CATALOG, "methods": methods}
    ours = [arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)]
    theirs = arm("opt-s", "harness", 0.4, pattern="gpt-3")
    more = compared(*ours, theirs, catalog=catalog)
    assert set(more["method"]) == {"ft"}
    foreign = more["reference_method"] == "harness"
    assert more.loc[foreign, "family"].tolist() == [ACROSS_PATTERNS] * stored
    pd.testing.assert_frame_equal(more[~foreign], compared(*ours))
    alone = compared(ours[0], theirs, catalog=catalog)
    assert set(alone["family"]) == ({SAME_MODEL, MATRIX} if stored else set())


def test_each_way_to_show_the_shots_is_a_reference_and_corrected_apart():
    """All shots in one context, and an ensemble; baselines are held against the first alone."""
    methods = CATALOG["methods"]
    other = {**methods["icl"], "divided": True, "title": "Ensemble"}
    base = {**methods["icl"], "baseline": "own model", "title": "Base"}
    catalog = {**CATALOG, "methods": {**methods, "several": other, "base": base}}
    models = ("opt-s", "opt-l")
    arms = [arm(model, name, p) for model in models for name, p in
            (("ft", 0.7), ("icl", 0.5), ("several", 0.6), ("base", 0.4))]  # fmt: skip
    frame = compared(*arms, catalog=catalog)
    same = frame[frame["family"] == SAME_MODEL]
    assert sorted(zip(same["model"], same["reference_method"], strict=True)) == [
        (model, name) for model in sorted(models) for name in ("icl", "several")
    ]
    assert set(same["family_size"]) == {2}, "the models under one heading"
    assert set(frame[frame["family"] == BASELINE]["reference_method"]) == {"icl"}
    table = comparison(Evidence(comparisons=frame), catalog)
    assert list(dict.fromkeys(table.text["section"])) == list(
        section for i, section in enumerate(table.text["section"]) if i % 2 == 0
    ), "the models of one heading stand together"
    others = (each for each in arms if each[0]["method"][0] != "several")
    alone = compared(*others, catalog=catalog)
    first = same[same["reference_method"] == "icl"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        first, alone[alone["family"] == SAME_MODEL].reset_index(drop=True), check_dtype=False
    )


def test_the_matrix_has_all_shots_in_one_context_even_in_another_pattern():
    other = {**CATALOG["methods"]["icl"], "divided": True, "title": "Ensemble"}
    catalog = {**CATALOG, "methods": {"several": other, **CATALOG["methods"]}}
    arms = [arm("opt-s", "ft", 0.7), arm("opt-s", "several", 0.6)]
    frame = compared(*arms, arm("opt-s", "icl", 0.5, pattern="gpt-3"), catalog=catalog)
    references = frame.groupby("family")["reference_method"].agg(list)
    assert references[MATRIX] == ["icl"] and references[ACROSS_PATTERNS] == ["several"]


def test_without_shots_nothing_is_compared():
    assert compared(arm("opt-s", "ft", 0.6), arm("opt-s", "icl", 0.5, k=0, seeds=[0])).empty
