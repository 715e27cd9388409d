"""Comparisons of arms: what is paired, tested, corrected, and said of what is missing."""

from types import SimpleNamespace

import compare_methods
import numpy as np
import pandas as pd
import pytest
import simulate
from arm_frames import CATALOG, ROWS, SEEDS, arm, compared, evaluation, only, together
from fewshot import schemas, storage
from fewshot.analysis import result_schemas, statistics_schemas, stats
from fewshot.analysis.arms import bootstrap_of
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.pairs import (
    SAME_MODEL,
)
from fewshot.analysis.verdicts import BETTER, UNTESTED, judged
from fewshot.report.tables.comparisons import comparison
from scipy import stats as reference


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


def crossed_by_hand(ft, icl):
    """Return the difference's variance, degrees of freedom and interval from mean squares."""
    both = [
        np.stack([np.unpackbits(np.frombuffer(line, np.uint8))[:ROWS] for line in one["correct"]])
        for one in (ft[1], icl[1])
    ]
    d = both[0].astype(float) - both[1]
    seeds, rows = d.shape
    by_seed, by_row = d.mean(axis=1), d.mean(axis=0)
    rest = d - by_seed[:, None] - by_row + d.mean()
    squares = (
        rows * by_seed.var(ddof=1),
        seeds * by_row.var(ddof=1),
        (rest**2).sum() / (seeds - 1) / (rows - 1),
    )
    variance = (squares[0] + squares[1] - squares[2]) / seeds / rows
    parts = np.array(squares[:2]) / seeds / rows
    df = variance**2 / (parts**2 / (seeds - 1, rows - 1)).sum()
    return d.mean(), variance, df, np.array(squares) / seeds / rows


def test_the_verdict_is_a_t_test_on_the_variance_of_crossed_seeds_and_rows():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    row = only(compared(ft, icl))
    mean, variance, df, parts = crossed_by_hand(ft, icl)
    assert variance > 0.7 * parts.max(), "no bound touches it"
    assert (row["error"], row["df"]) == pytest.approx((np.sqrt(variance), df))
    found = row[["draw_part", "row_part", "both_part"]].tolist()
    assert found == pytest.approx(parts)
    law = reference.t(df, loc=mean, scale=np.sqrt(variance))
    assert (row["low"], row["high"]) == pytest.approx(law.interval(0.95))
    assert row["p_crossed"] == pytest.approx(2 * reference.t(df).sf(mean / np.sqrt(variance)))


def test_the_crossed_bootstrap_stands_beside_it():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    row = only(compared(ft, icl))
    _, outcomes = together(ft, icl)
    drawn = bootstrap_of("nli", evaluation(), outcomes)
    sides = [np.flatnonzero(outcomes["method"] == name) for name in ("ft", "icl")]
    lines = [drawn.line(runs, "draws") for runs in sides]
    test = stats.crossed_bootstrap(*lines, row["difference"], SEEDS)
    bounds = (row["bootstrap_low"], row["bootstrap_high"])
    assert bounds == (test.difference.low, test.difference.high)
    assert row["p_bootstrap"] == test.p
    assert bounds[0] < row["difference"] < bounds[1]
    # An arm less itself is nothing, however rows and seeds are drawn.
    assert not (lines[0] - drawn.line(sides[0], "draws")).any()
    assert not np.array_equal(lines[0], drawn.line(sides[0], "other draws"))


def test_arms_that_answer_alike_have_no_variance_and_no_test():
    """A p of 0 or 1 would claim to know how another draw differs."""
    ft = arm("opt-s", "ft", 0.7)
    same = [frame.assign(method="icl") for frame in ft]
    row = only(compared(ft, same))
    assert (row["difference"], row["status"]) == (0, "no variance")
    names = ["low", "error", "p_crossed", "p_bootstrap", "t_low", "p_paired", "p_welch"]
    assert row[names[:-1]].isna().all()
    verdict = judged(pd.DataFrame([row]), 3)["verdict"].tolist()
    assert verdict == [UNTESTED]


def test_one_cluster_of_rows_has_no_verdict():
    row = only(compared(arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5),
                        item=evaluation(["t"] * ROWS)))  # fmt: skip
    assert row["status"] == "one cluster of rows"
    assert np.isnan(row["p_crossed"]) and row["p_paired"] > 0


@pytest.mark.parametrize(("metric", "score"), [("matthews", "mcc"), ("f1", "f1")])
def test_a_task_is_compared_by_its_own_metric_too(metric, score):
    ft, icl = arm("opt-s", "ft", 0.8), arm("opt-s", "icl", 0.5)
    gold, expected = np.arange(ROWS) % 2, []
    for one in (ft, icl):
        right = [
            np.unpackbits(np.frombuffer(line, np.uint8))[:ROWS].astype(bool)
            for line in one[1]["correct"]
        ]
        said = [np.where(line, gold, 1 - gold) for line in right]
        of_seed = [
            np.corrcoef(gold, line)[0, 1]
            if score == "mcc"
            else 2 * (gold & line).sum() / (gold.sum() + line.sum())
            for line in said
        ]
        one[0][score] = of_seed
        expected.append(np.mean(of_seed))
    catalog = {**CATALOG, "tasks": {"nli": {"title": "NLI", "metric": metric}}}
    frame = compared(ft, icl, catalog=catalog)
    row = only(frame[frame["score"] == score])
    assert row["difference"] == pytest.approx(expected[0] - expected[1])
    assert row["low"] < row["difference"] < row["high"]
    assert 0 < row["p_crossed"] < 0.05 and 0 < row["p_bootstrap"] < 0.1
    assert row["bootstrap_low"] == pytest.approx(row["low"], abs=0.15)
    judge = judged(pd.DataFrame([row]), 3).iloc[0]
    assert (judge["verdict"], judge["study_difference"]) == (BETTER, row["p_crossed"])
    assert set(compared(ft, icl)["score"]) == {"accuracy"}, "another task is not"


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
        ("missing", 1, "one seed of 6"),
    ],
)
def test_a_pair_without_two_common_seeds_stays_and_says_why(status, done, told):
    lost = [arm("opt-s", "icl", 0, seeds=range(done, SEEDS), status=status)]
    lost += [arm("opt-s", "icl", 0.5, seeds=range(done))] if done else []
    whole = [arm("opt-l", name, 0.6) for name in ("ft", "icl")]
    frame = compared(arm("opt-s", "ft", 0.7), *lost, *whole)
    row = frame[(frame["family"] == SAME_MODEL) & (frame["model"] == "opt-s")].iloc[0]
    assert (row["seeds"], row["status"]) == (done, told)
    tests = ["p_crossed", "p_bootstrap", "p_welch", "t_low", "holm_paired"]
    assert row[tests].isna().all()
    # One seed has a difference, with an interval for other rows alone.
    assert row[["difference", "low", "improvement"]].notna().all() == (done == 1)
    assert row["family_size"] == 1, "what has no p is not counted among the comparisons"
    assert frame["p_paired"].notna().sum() == 3  # opt-l with itself, twice, and ft-s with icl-l


def test_counts_of_a_sample_have_tests_over_seeds_only():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    ft[0].loc[0, "n"] = 10
    row = only(compared(ft, icl))
    assert row["status"] == "sampled rows"
    assert (row["rows"], row["clusters"]) == (10, 0)
    assert np.isnan(row["low"]) and np.isnan(row["holm_bootstrap"])
    assert row["p_paired"] > 0
    assert row["family_size"] == 1


def test_only_pairs_with_a_crossed_error_count_where_any_has_one():
    """Holm's correction of the verdict does not grow by pairs that cannot have a verdict."""
    arms = [arm(model, name, 0.6) for model in simulate.MODELS for name in ("ft", "icl")]
    arms[0][0].loc[0, "n"] = 10
    frame = compared(*arms)
    same = frame[frame["family"] == SAME_MODEL].set_index("model")
    assert same["p_crossed"].notna().sum() == 3 and same["p_paired"].notna().sum() == 4
    assert set(same["family_size"]) == {3}


def test_draws_that_are_not_shared_are_not_paired():
    ft, icl = arm("opt-s", "ft", 0.7), arm("opt-s", "icl", 0.5)
    unshared = {**CATALOG, "shared_draws": False}
    row, shared = only(compared(ft, icl, catalog=unshared)), only(compared(ft, icl))
    paired = ["p_paired", "p_permutation", "floor_permutation", "holm_paired"]
    assert row[paired].isna().all()
    welch = reference.ttest_ind(values(ft), values(icl), equal_var=False).confidence_interval()
    assert (row["t_low"], row["t_high"]) == pytest.approx((welch.low, welch.high))
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
    assert only(compared(ft, icl, lost))["status"] == "one seed of 4"


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
        output=SimpleNamespace(
            comparisons="c.parquet", contrasts="q.parquet", variance="v.parquet"
        ),
        params=SimpleNamespace(
            orders=["nli"], evaluation=[{"set": "nli", "merge": [0, 1]}], catalog=CATALOG
        ),
    )
    compare_methods.main(smk)
    found = storage.read_table("c.parquet")
    assert found.columns.tolist() == statistics_schemas.COMPARISONS.names
    expected = compared(*arms)
    numbers = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], check_dtype=False)
    assert len(storage.read_table("v.parquet")) == 4
    asked = storage.read_table("q.parquet")
    assert asked.columns.tolist() == statistics_schemas.CONTRASTS.names
    assert set(asked["question"]) == {"mean", "size", "size of one arm"}
