"""Comparisons of arms: what is paired, tested, corrected, and said of what is missing."""

from types import SimpleNamespace

import compare_methods
import numpy as np
import pandas as pd
import pytest
import simulate
from arm_frames import ROWS, SEEDS, arm, evaluation, together
from fewshot import schemas, storage
from fewshot.analysis import result_schemas, stats
from fewshot.analysis.arms import bootstrap_of
from fewshot.analysis.comparisons import (
    ACROSS_PATTERNS,
    BASELINE,
    MATRIX,
    SAME_MODEL,
    compare,
    pairs_of,
)
from fewshot.analysis.evidence import Evidence
from fewshot.report.tables.comparisons import comparison
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

CATALOG = {
    **simulate.CATALOG,
    "patterns": {"minimal": {"title": "Minimal"}, "gpt-3": {"title": "GPT-3"}},
}


def compared(*arms, catalog=CATALOG, item=None):
    return compare(*together(*arms), [item or evaluation()], catalog)


def only(frame, family=SAME_MODEL):
    frame = frame[frame["family"] == family]
    assert len(frame) == 1
    return frame.iloc[0]


def values(one):
    return one[0]["accuracy"].to_numpy()


def test_every_test_of_a_pair_is_that_of_scipy():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    a, b = values(ft), values(icl)
    row = only(compared(ft, icl))
    assert row["difference"] == pytest.approx((a - b).mean())
    assert (row["mean"], row["reference_mean"]) == pytest.approx((a.mean(), b.mean()))
    paired = reference.ttest_rel(a, b)
    assert row["p_paired"] == pytest.approx(paired.pvalue)
    interval = paired.confidence_interval()
    assert (row["t_low"], row["t_high"]) == pytest.approx((interval.low, interval.high))
    welch = reference.ttest_ind(a, b, equal_var=False)
    found = row[["welch_t", "welch_df", "p_welch"]].tolist()
    assert found == pytest.approx([welch.statistic, welch.df, welch.pvalue])
    flips = reference.permutation_test(
        (a, b), lambda x, y: (x - y).mean(), permutation_type="samples"
    )
    assert row["p_permutation"] == pytest.approx(flips.pvalue)
    wins = (a > b).sum() + (a == b).sum() / 2
    share = reference.binomtest(int(wins), SEEDS).proportion_ci(method="wilson")
    found = row[["improvement", "improvement_low", "improvement_high"]].tolist()
    assert found == pytest.approx([wins / SEEDS, share.low, share.high])
    assert (row["seeds"], row["seeds_planned"], row["rows"], row["clusters"]) == (6, 6, ROWS, ROWS)
    assert row["status"] == "ok"


def test_the_interval_is_the_crossed_bootstrap_over_shared_rows_and_seeds():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    row = only(compared(ft, icl))
    _, outcomes = together(ft, icl)
    drawn = bootstrap_of("nli", evaluation(), outcomes)
    sides = [np.flatnonzero(outcomes["method"] == name) for name in ("ft", "icl")]
    lines = [drawn.line(runs, "draws") for runs in sides]
    test = stats.crossed_bootstrap(*lines, row["difference"], SEEDS)
    assert row["detectable"] == stats.detectable_difference(lines[0] - lines[1])
    assert (row["low"], row["high"]) == (test.difference.low, test.difference.high)
    assert row["p_bootstrap"] == test.p
    assert row["low"] < row["difference"] < row["high"]
    # An arm less itself is nothing, however rows and seeds are drawn.
    assert not (lines[0] - drawn.line(sides[0], "draws")).any()
    assert not np.array_equal(lines[0], drawn.line(sides[0], "other draws"))


def test_clusters_are_drawn_whole():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    names = [f"t{i // 8}" for i in range(ROWS - 1)]
    item = evaluation([*names, None])
    assert item.clusters.tolist() == [i // 8 for i in range(ROWS - 1)] + [5]
    row = only(compared(ft, icl, item=item))
    assert row["clusters"] == 6, "five templates, and a row without one"
    assert row["low"] != only(compared(ft, icl))["low"]


@pytest.mark.parametrize("pure", [True, False])
def test_templates_of_one_label_each_are_drawn_label_by_label(pure):
    """A set that is balanced by design stays so; where templates mix labels, nothing is fixed."""
    labels = np.arange(ROWS) % 2
    names = [f"{i // 8}{'ab'[label] if pure else ''}" for i, label in enumerate(labels)]
    _, outcomes = together(arm("opt-s", "ft", 0.7))
    item = evaluation(names)
    weights = bootstrap_of("nli", item, outcomes, resamples=50).weights
    of_label = np.zeros(weights.shape[1])
    of_label[item.clusters] = labels
    drawn = weights[:, of_label == 1].sum(axis=1) if pure else weights.sum(axis=1)
    assert (drawn == 5).all()
    assert weights.shape[1] == (10 if pure else 5)


def test_arms_in_another_order_have_the_same_numbers():
    arms = [
        arm(model, method, 0.6)
        for model in ("opt-s", "opt-l", "pythia-s")
        for method in ("ft", "icl")
    ]
    one, two = compared(*arms), compared(*arms[::-1])
    keys = ["family", "model", "reference_model"]
    pd.testing.assert_frame_equal(
        one.sort_values(keys, ignore_index=True), two.sort_values(keys, ignore_index=True)
    )


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


def test_a_missing_seed_leaves_the_others_and_is_told():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5, seeds=range(5))
    lost = arm("opt-s", "icl", 0, seeds=[5], status="missing")
    row = only(compared(ft, icl, lost))
    assert (row["seeds"], row["seeds_planned"], row["status"]) == (5, 6, "5/6 seeds")
    assert row["difference"] == pytest.approx((values(ft)[:5] - values(icl)).mean())
    assert row["floor_permutation"] == pytest.approx(2 / 2**5)
    assert row["low"] < row["difference"] < row["high"]


@pytest.mark.parametrize(
    ("status", "done", "told"),
    [
        ("does not fit", 0, "does not fit"),
        ("missing", 0, "missing"),
        ("missing", 1, "too few seeds: 1/6"),
    ],
)
def test_a_pair_without_two_common_seeds_stays_and_says_why(status, done, told):
    lost = [arm("opt-s", "icl", 0, seeds=range(done, SEEDS), status=status)]
    lost += [arm("opt-s", "icl", 0.5, seeds=range(done))] if done else []
    whole = [arm("opt-l", name, 0.6) for name in ("ft", "icl")]
    frame = compared(arm("opt-s", "ft", 0.7), *lost, *whole)
    row = frame[(frame["family"] == SAME_MODEL) & (frame["model"] == "opt-s")].iloc[0]
    assert (row["seeds"], row["status"]) == (done, told)
    numbers = row[["difference", "low", "p_bootstrap", "p_welch", "holm_paired", "improvement"]]
    assert numbers.isna().all()
    assert row["family_size"] == 1, "what has no p is not counted among the comparisons"
    assert frame["p_paired"].notna().sum() == 3  # opt-l with itself, twice, and ft-s with icl-l


def test_counts_of_a_sample_have_tests_over_seeds_only():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    ft[0].loc[0, "n"] = 10
    row = only(compared(ft, icl))
    assert row["status"] == "sampled rows"
    assert (row["rows"], row["clusters"]) == (10, 0)
    assert np.isnan(row["low"]) and np.isnan(row["holm_bootstrap"])
    assert row["p_paired"] > 0 and np.isnan(row["detectable"])
    assert row["family_size"] == 1


def test_only_pairs_with_a_bootstrap_count_where_any_has_one():
    """Holm's correction of the verdict does not grow by pairs that cannot have a verdict."""
    arms = [arm(model, name, 0.6) for model in simulate.MODELS for name in ("ft", "icl")]
    arms[0][0].loc[0, "n"] = 10
    frame = compared(*arms)
    same = frame[frame["family"] == SAME_MODEL].set_index("model")
    assert same["p_bootstrap"].notna().sum() == 3 and same["p_paired"].notna().sum() == 4
    assert set(same["family_size"]) == {3}


def test_detectable_differences_are_those_of_the_corrected_test():
    """Next to others in its family a pair needs a larger difference to be found."""
    pair = [arm("opt-s", name, 0.6) for name in ("ft", "icl")]
    others = [arm(model, name, 0.6) for model in ("opt-l", "pythia-s") for name in ("ft", "icl")]
    alone, beside = only(compared(*pair)), compared(*pair, *others)
    beside = beside[(beside["family"] == SAME_MODEL) & (beside["model"] == "opt-s")].iloc[0]
    assert beside["family_size"] == 3 and beside["low"] == alone["low"]
    assert beside["detectable"] > 1.1 * alone["detectable"]


def test_draws_that_are_not_shared_are_not_paired():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    unshared = {**CATALOG, "shared_draws": False}
    row, shared = only(compared(ft, icl, catalog=unshared)), only(compared(ft, icl))
    paired = ["p_paired", "t_low", "p_permutation", "floor_permutation", "holm_paired"]
    assert row[paired].isna().all()
    assert row["p_welch"] == shared["p_welch"]
    assert (row["low"], row["high"]) != (shared["low"], shared["high"])
    better = stats.probability_of_improvement(values(ft), values(icl))
    found = row[["improvement", "improvement_low", "improvement_high"]].tolist()
    assert found == [better.mean, better.low, better.high]
    table = comparison(Evidence(comparisons=compared(ft, icl, catalog=unshared)), unshared)
    assert "not shared" in table.note


def test_draws_that_are_not_shared_keep_each_sides_own_seeds():
    ft, icl = arm("opt-s", "ft", 0.7, seeds=range(4)), arm("opt-s", "icl", 0.5, seeds=range(3, 6))
    lost = arm("opt-s", "icl", 0, seeds=range(3), status="missing")
    frame = compared(ft, icl, lost, catalog={**CATALOG, "shared_draws": False})
    row, (a, b) = only(frame), (values(ft), values(icl))
    welch = reference.ttest_ind(a, b, equal_var=False)
    assert (row["welch_t"], row["p_welch"]) == pytest.approx((welch.statistic, welch.pvalue))
    assert row["difference"] == pytest.approx(a.mean() - b.mean())
    assert (row["mean"], row["reference_mean"]) == pytest.approx((a.mean(), b.mean()))
    assert row["low"] < row["difference"] < row["high"]
    assert (row["seeds"], row["seeds_planned"], row["status"]) == (3, 6, "3/6 seeds")
    whole = [arm("opt-s", "icl", 0.5), arm("opt-s", "ft", 0.7, seeds=range(3))]
    row = only(compared(*whole, catalog={**CATALOG, "shared_draws": False}))
    assert (row["seeds"], row["seeds_planned"], row["status"]) == (3, 3, "ok")
    assert only(compared(ft, icl, lost))["status"] == "too few seeds: 1/4"


def test_the_script_writes_the_schemas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arms = [arm(model, name, 0.6) for model in ("opt-s", "opt-l") for name in ("ft", "icl")]
    for number, pair in enumerate((arms[:2], arms[2:])):
        metrics, outcomes = together(*pair)
        filled = metrics.astype({"label": "Int16", "group": object, "subset": object})
        storage.write_table(f"m{number}.parquet", filled, result_schemas.METRICS)
        storage.write_table(f"o{number}.parquet", outcomes, result_schemas.OUTCOMES)
    rows = evaluation().rows.assign(text_a="a", text_b="b", label=evaluation().rows["label"])
    storage.write_table("rows.parquet", rows.astype({"label": "int16"}), schemas.ROWS)
    smk = SimpleNamespace(
        input=SimpleNamespace(
            metrics=["m0.parquet", "m1.parquet"],
            outcomes=["o0.parquet", "o1.parquet"],
            evaluation=["rows.parquet"],
            manifests=[],
        ),
        output=SimpleNamespace(comparisons="c.parquet", variance="v.parquet"),
        params=SimpleNamespace(
            orders=["nli"], evaluation=[{"set": "nli", "merge": [0, 1]}], catalog=CATALOG
        ),
    )
    compare_methods.main(smk)
    found = storage.read_table("c.parquet")
    assert found.columns.tolist() == result_schemas.COMPARISONS.names
    expected = compared(*arms)
    numbers = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], check_dtype=False)
    assert len(storage.read_table("v.parquet")) == 4
