"""Which contrasts a study asks for, and with which weights."""

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis import questions as asked
from fewshot.analysis.arms import ARM

CATALOG = {
    **simulate.CATALOG,
    "patterns": {"minimal": {"title": "Minimal"}, "gpt-3": {"title": "GPT-3"}},
    "main": {"k": 16, "selection": "best-in-domain"},
}
CATALOG["methods"] = {
    **simulate.CATALOG["methods"],
    "ens": {"title": "Ensemble", "family": "in_context", "trained": False, "divided": True},
    "tfidf": {"title": "TF-IDF", "family": "tfidf", "trained": False, "baseline": "no model"},
}
SELECTIONS = ("last", "best-in-domain")


def keys(cells, unfit=()):
    """Return the arms of cells (model, method, pattern, k), of which some do not fit."""
    rows = [(*cell, selection, cell in unfit) for cell in cells for selection in SELECTIONS]
    return pd.DataFrame(rows, columns=[*ARM, "unfit"])


def cells(*, models=("opt-s",), methods=("icl", "ft"), patterns=("minimal",), ks=(16,)):
    return [(a, b, c, d) for a in models for b in methods for c in patterns for d in ks]


def found(question, frame, sets=("nli", "hans")):
    made = asked.contrasts_of(dict.fromkeys(sets, frame), "nli", CATALOG)
    return [contrast for contrast in made if contrast.question == question]


def named(weights):
    """Return weights by set, method, k and selection."""
    return {(arm[0], arm[2], *arm[4:]): weight for arm, weight in weights.items()}


def test_the_gap_is_a_difference_of_differences_at_one_checkpoint():
    [gap] = found(asked.GAP, keys(cells()))
    assert named(gap.weights) == {
        ("hans", "ft", 16, "last"): 1,
        ("hans", "icl", 16, "last"): -1,
        ("nli", "ft", 16, "last"): -1,
        ("nli", "icl", 16, "last"): 1,
    }
    names = ("evaluation_set", "domain", "selection", "model", "method", "reference_method")
    assert [gap.names[name] for name in names] == ["hans", "out", "last", "opt-s", "ft", "icl"]


def test_a_best_epoch_is_judged_only_by_rows_that_did_not_choose_it():
    made = found(asked.METHODS, keys(cells(methods=("ft", "lora"))))
    assert [named(contrast.weights) for contrast in made] == [
        {("nli", "lora", 16, "last"): 1, ("nli", "ft", 16, "last"): -1},
        {("hans", "lora", 16, "best-in-domain"): 1, ("hans", "ft", 16, "best-in-domain"): -1},
    ]


def test_the_trend_is_the_slope_of_least_squares_over_powers_of_ten():
    sizes = [1e8, 4e8, 3e9, 2e10]
    values = np.array([0.5, 0.7, 0.6, 0.9])
    slope = np.polynomial.polynomial.polyfit(np.log10(sizes), values, 1)[1]
    assert asked.trend_weights(sizes) @ values == pytest.approx(slope)
    assert asked.trend_weights([1e9, 1e8]).tolist() == pytest.approx([1, -1])
    assert asked.trend_weights([1e8, 1e8, 1e9]).tolist() == pytest.approx([-0.5, -0.5, 1])
    assert not asked.trend_weights([1e8, 1e8]).any() and not asked.trend_weights([1e8]).any()


def test_sizes_are_compared_within_a_family():
    every = cells(models=("opt-s", "opt-l", "pythia-s"))
    [trend] = found(asked.SIZE, keys(every), ["nli"])
    weights = {(arm[1], arm[2]): weight for arm, weight in trend.weights.items()}
    assert weights == pytest.approx(
        {("opt-l", "ft"): 1, ("opt-l", "icl"): -1, ("opt-s", "ft"): -1, ("opt-s", "icl"): 1}
    )
    assert (trend.names["model"], trend.names["model_family"]) == (None, "opt")
    assert trend.names["models"] == ["opt-s", "opt-l"]
    of_arms = found(asked.SIZE_OF_ARM, keys(every), ["nli"])
    assert {contrast.names["method"] for contrast in of_arms} == {"icl", "ft"}
    assert all(contrast.names["reference_method"] is None for contrast in of_arms)


def test_the_most_shots_that_fit_are_compared_with_fewer():
    every = cells(methods=("icl",), ks=(0, 2, 16, 32)) + cells(methods=("ft",), ks=(2, 16, 32, 64))
    frame = keys(every, unfit=[("opt-s", "icl", "minimal", 32)])
    made = {
        (contrast.names["method"], contrast.names["k"], contrast.names["reference_k"])
        for contrast in found(asked.SHOTS_OF_ARM, frame, ["nli"])
    }
    assert made == {("icl", 16, 2), *(("ft", 64, k) for k in (2, 16, 32))}, "none without shots"
    [both] = found(asked.SHOTS, frame, ["nli"])
    assert named(both.weights) == {
        ("nli", "ft", 16, "last"): 1,
        ("nli", "icl", 16, "last"): -1,
        ("nli", "ft", 2, "last"): -1,
        ("nli", "icl", 2, "last"): 1,
    }


def test_methods_ways_and_patterns_are_compared_with_their_like():
    frame = keys(
        cells(methods=("lora", "icl", "ens", "ft", "tfidf"), patterns=("gpt-3", "minimal"))
    )
    sides = {}
    for question in (asked.METHODS, asked.WAYS, asked.PATTERNS):
        sides[question] = []
        for contrast in found(question, frame, ["nli"]):
            ours, theirs = (
                tuple(contrast.names[f"{side}{name}"] for name in ("method", "pattern"))
                for side in ("", "reference_")
            )
            weights = {arm[2:4]: weight for arm, weight in contrast.weights.items()}
            assert weights == {ours: 1, theirs: -1}, "as it is named"
            sides[question].append((*ours, *theirs))
    patterns = ("minimal", "gpt-3")
    assert sides[asked.METHODS] == [("lora", each, "ft", each) for each in patterns]
    assert sides[asked.WAYS] == [("ens", each, "icl", each) for each in patterns]
    expected = [(name, "gpt-3", name, "minimal") for name in ("icl", "ft", "lora", "ens")]
    assert sides[asked.PATTERNS] == expected, "no baseline"


def test_a_mean_is_over_the_patterns_that_every_model_has():
    every = cells(models=("opt-s", "opt-l"), patterns=("minimal",)) + cells(patterns=("gpt-3",))
    [mean] = asked.means_of({"nli": keys(every)}, "nli", CATALOG)
    assert (mean.models, mean.patterns) == (["opt-s", "opt-l"], ["minimal"])
    arm, reference = mean.pairs["opt-l", "minimal"]
    assert arm == ("nli", "opt-l", "ft", "minimal", 16, "last")
    assert reference == ("nli", "opt-l", "icl", "minimal", 16, "last")
    [none] = asked.means_of(
        {"nli": keys(cells() + cells(models=("opt-l",), patterns=("gpt-3",)))}, "nli", CATALOG
    )
    assert none.patterns == [] and not none.pairs


def test_results_made_elsewhere_with_other_draws_are_in_no_contrast():
    method = {"title": "x", "family": "imported", "trained": False, "stored_draws": False}
    catalog = {**CATALOG, "methods": {**CATALOG["methods"], "harness": method}}
    frame = keys(cells(methods=("harness", "ft", "icl")))
    for contrast in asked.contrasts_of({"nli": frame, "hans": frame}, "nli", catalog):
        assert all(arm[2] != "harness" for arm in contrast.weights)


def test_a_model_that_does_not_fit_is_no_part_of_means_and_trends():
    """It would leave no seed that all arms have; where none fits, the mean stays and says so."""
    models = ("opt-s", "opt-m", "opt-l")
    catalog = CATALOG | {
        "models": {
            name: {"title": name, "family": "opt", "parameters": 10 ** (8 + i)}
            for i, name in enumerate(models)
        }
    }
    unfit = cells(models=("opt-m",), methods=("icl",))
    frame = keys(cells(models=models), unfit)
    [mean] = asked.means_of({"nli": frame}, "nli", catalog)
    assert list(mean.models) == ["opt-s", "opt-l"]
    made = asked.contrasts_of({"nli": frame}, "nli", catalog)
    trends = [each for each in made if each.question == asked.SIZE]
    assert [each.names["models"] for each in trends] == [["opt-s", "opt-l"]]
    frame = keys(cells(models=models), cells(models=models, methods=("icl",)))
    [mean] = asked.means_of({"nli": frame}, "nli", catalog)
    assert list(mean.models) == list(models)
