"""Estimates, intervals and tests of the questions, against scipy and formulas by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import simulate
from arm_frames import ROWS, SEEDS, arm, evaluation, together
from fewshot import storage
from fewshot.analysis import questions as asked
from fewshot.analysis import statistics_schemas, stats
from fewshot.analysis.contrasts import contrasts
from fewshot.analysis.predictions import unpack
from fewshot.analysis.study_means import corrected, study_means
from scipy import stats as reference
from statsmodels.stats.multitest import multipletests

CATALOG = {
    **simulate.CATALOG,
    "patterns": {"minimal": {"title": "Minimal"}, "gpt-3": {"title": "GPT-3"}},
}
APART = {**CATALOG, "shared_draws": False}
MODELS = ("opt-s", "opt-l", "pythia-s", "pythia-l")


def outside(model, method, p, **given):
    """Return an arm on another set, with answers of its own."""
    metrics, outcomes = arm(model, method, p, pattern="elsewhere", **given)
    names = {"evaluation_set": "hans", "pattern": "minimal"}
    outcomes = outcomes.assign(**names) if len(outcomes) else outcomes
    return metrics.assign(domain="out", **names), outcomes


def computed(*arms, catalog=CATALOG, items=None):
    sets = items or [evaluation(), replace(evaluation(), name="hans")]
    frame = contrasts(*together(*arms), sets, catalog)
    return frame


def only(frame, question, **wanted):
    chosen = frame[frame["question"] == question]
    for name, value in wanted.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1, chosen
    return chosen.iloc[0]


def answers(one):
    """Return which rows each seed of an arm has right, [S, R]."""
    return unpack(one[1]["correct"], ROWS).astype(float)


def parts_by_hand(values):
    """Return the mean squares / answers of draws, of rows and of both, of values [S, R]."""
    seeds, rows = values.mean(axis=1), values.mean(axis=0)
    both = values - seeds[:, None] - rows + values.mean()
    count = values.size
    return (
        seeds.var(ddof=1) / len(seeds),
        rows.var(ddof=1) / len(rows),
        (both**2).sum() / (len(seeds) - 1) / (len(rows) - 1) / count,
    )


def test_the_gap_by_hand_and_by_scipy():
    made = [
        each(name, method, p)
        for each, name, method, p in (
            (arm, "opt-s", "ft", 0.9),
            (arm, "opt-s", "icl", 0.7),
            (outside, "opt-s", "ft", 0.5),
            (outside, "opt-s", "icl", 0.6),
        )
    ]
    row = only(computed(*made), asked.GAP)
    inside, out = (answers(made[i]) - answers(made[i + 1]) for i in (0, 2))
    seeds = out.mean(axis=1) - inside.mean(axis=1)
    assert row["estimate"] == pytest.approx(seeds.mean())
    test = reference.ttest_1samp(seeds, 0)
    interval = test.confidence_interval()
    found = row[["p_draws", "low_draws", "high_draws"]].tolist()
    assert found == pytest.approx([test.pvalue, interval.low, interval.high])
    draws = seeds.var(ddof=1) / SEEDS
    rows, both = (
        sum(parts)
        for parts in list(zip(*(parts_by_hand(v) for v in (inside, out)), strict=True))[1:]
    )
    variance = draws + rows - both
    assert variance > 0.7 * max(draws, rows)
    assert row["error"] == pytest.approx(np.sqrt(variance))
    spread = row[["draw_variance", "row_variance", "joint_variance"]].tolist()
    assert spread == pytest.approx([draws, rows, -both])
    half = reference.t.ppf(0.975, row["df"]) * row["error"]
    assert row["high"] - row["estimate"] == pytest.approx(half)
    assert row["p"] == pytest.approx(2 * reference.t.sf(row["estimate"] / -row["error"], row["df"]))
    assert (row["seeds"], row["rows"], row["clusters"]) == (SEEDS, ROWS, 2 * ROWS)
    assert (row["status"], row["varies"]) == ("ok", "draws and rows")


def test_the_trend_is_tested_over_the_slopes_of_the_seeds():
    sizes = {"opt-s": 125e6, "opt-m": 350e6, "opt-l": 1.3e9}
    catalog = {
        **CATALOG,
        "models": {
            name: {"title": name, "family": "opt", "parameters": size}
            for name, size in sizes.items()
        },
    }
    made = {(name, how): arm(name, how, 0.6) for name in sizes for how in ("ft", "icl")}
    row = only(computed(*made.values(), catalog=catalog), asked.SIZE)
    by_seed = [
        (answers(made[name, "ft"]) - answers(made[name, "icl"])).mean(axis=1) for name in sizes
    ]
    slopes = np.polynomial.polynomial.polyfit(np.log10(list(sizes.values())), np.array(by_seed), 1)
    assert row["estimate"] == pytest.approx(slopes[1].mean())
    assert row["p_draws"] == pytest.approx(reference.ttest_1samp(slopes[1], 0).pvalue)
    assert list(row["models"]) == list(sizes) and row["model"] is None


def test_more_shots_are_a_paired_test():
    made = [arm("opt-s", "ft", p, k=k) for k, p in ((4, 0.5), (16, 0.6), (32, 0.8))]
    frame = computed(*made)
    for k, fewer in ((4, made[0]), (16, made[1])):
        row = only(frame, asked.SHOTS_OF_ARM, reference_k=k)
        scores = [each[0]["accuracy"].to_numpy() for each in (made[2], fewer)]
        assert row["k"] == 32
        assert row["estimate"] == pytest.approx(scores[0].mean() - scores[1].mean())
        assert row["p_draws"] == pytest.approx(reference.ttest_rel(*scores).pvalue)


def test_only_seeds_that_all_arms_have_count():
    seeds = range(2, SEEDS)
    some, whole = arm("opt-s", "lora", 0.6, seeds=seeds), arm("opt-s", "ft", 0.8)
    planned = arm("opt-s", "lora", 0.6, seeds=[0, 1], status="missing")
    row = only(computed(whole, some, planned), asked.METHODS)
    difference = answers(some) - answers(whole)[2:]
    assert row["estimate"] == pytest.approx(difference.mean())
    told = row[["seeds", "seeds_planned", "status"]].tolist()
    assert told == [SEEDS - 2, SEEDS, f"{SEEDS - 2}/{SEEDS} seeds"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"status": "missing"}, "missing"),
        ({"status": "does not fit"}, "does not fit"),
        ({"seeds": [3]}, "one seed of 1"),
    ],
)
def test_what_lacks_an_arm_has_no_estimate_and_says_why(given, status):
    frame = computed(arm("opt-s", "ft", 0.8), arm("opt-s", "icl", 0.6, **given))
    row = only(frame, asked.MEAN)
    assert np.isnan(row[["estimate", "error", "p", "p_draws"]].astype(float)).all()
    assert row["status"] == status


def test_a_score_of_sampled_rows_is_no_estimate():
    metrics, outcomes = arm("opt-s", "ft", 0.8)
    row = only(computed((metrics, outcomes[:0]), arm("opt-s", "lora", 0.6)), asked.METHODS)
    assert (row["status"], row["seeds"]) == ("sampled rows", 0)
    assert pd.isna(row["estimate"])


def test_templates_are_whole():
    made = [arm("opt-s", "ft", 0.8), arm("opt-s", "lora", 0.6)]
    alone = only(computed(*made), asked.METHODS)
    item = evaluation([f"t{i // 8}" for i in range(ROWS)])
    row = only(computed(*made, items=[item]), asked.METHODS)
    sums = (answers(made[1]) - answers(made[0])).reshape(SEEDS, 5, 8).sum(axis=2)
    expected = stats.error_of(stats.parts(sums, np.full(5, 8)))
    assert (row["error"], row["df"]) == pytest.approx((expected.error, expected.df))
    assert row["clusters"] == 5 and row["error"] != alone["error"]
    assert row["p_draws"] == alone["p_draws"]


def test_what_never_differs_has_an_estimate_and_no_test():
    one = arm("opt-s", "ft", 0.8)
    other = tuple(frame.assign(method="lora") for frame in one)
    row = only(computed(one, other), asked.METHODS)
    assert row["estimate"] == 0
    assert np.isnan(row[["error", "low", "p", "low_draws", "p_draws"]].astype(float)).all()


def test_unrelated_draws_are_tested_by_welch_and_their_own_seeds_kept():
    ft, icl = arm("opt-s", "ft", 0.8), arm("opt-s", "icl", 0.6, seeds=range(10, 18))
    row = only(computed(ft, icl, catalog=APART), asked.MEAN)
    scores = [each[0]["accuracy"].to_numpy() for each in (ft, icl)]
    test = reference.ttest_ind(*scores, equal_var=False)
    assert row["p_draws"] == pytest.approx(test.pvalue)
    assert row["draw_df"] == pytest.approx(test.df)
    difference = answers(ft).mean(axis=0) - answers(icl).mean(axis=0)
    assert row["row_variance"] == pytest.approx(difference.var(ddof=1) / ROWS)
    both = sum(parts_by_hand(answers(each))[2] for each in (ft, icl))
    assert row["joint_variance"] == pytest.approx(-both)
    shared = only(computed(ft, icl), asked.MEAN)
    assert shared["status"] == "missing", "no seed in common"


def test_unrelated_draws_of_a_gap_are_the_same_error():
    made = [arm("opt-s", "ft", 0.8), arm("opt-s", "icl", 0.6)]
    made += [outside("opt-s", "ft", 0.5), outside("opt-s", "icl", 0.6)]
    row = only(computed(*made, catalog=APART), asked.GAP)
    ones, sides = np.ones(ROWS), []
    for i in (0, 1):
        parts = [stats.parts(answers(made[i + j]), ones) for j in (2, 0)]
        sides.append(stats.combined(parts, [1, -1]))
    rows = [
        stats.parts((answers(made[j]) - answers(made[j + 1])).mean(axis=0)[None], ones)
        for j in (2, 0)
    ]
    expected = stats.error_apart(*sides, stats.combined(rows, [1, -1]))
    assert (row["error"], row["df"]) == pytest.approx((expected.error, expected.df))


def mean_of_models():
    """Return arms by model and method, whose difference changes with the model."""
    return {
        (name, how): arm(name, how, p)
        for name, trained in zip(MODELS, (0.5, 0.9, 0.7, 0.85), strict=True)
        for how, p in (("ft", trained), ("icl", 0.6))
    }


def test_a_mean_over_models_allows_for_others_where_there_are_three():
    made = mean_of_models()
    frame = computed(*made.values())
    cells = [answers(made[name, "ft"]) - answers(made[name, "icl"]) for name in MODELS]
    values = np.stack(cells, axis=1)
    fixed, free = only(frame, asked.MEAN), only(frame, asked.MEAN_OF_KIND)
    for row in (fixed, free):
        assert row["estimate"] == pytest.approx(values.mean())
        test = reference.ttest_1samp(values.mean(axis=(1, 2)), 0)
        assert row["p_draws"] == pytest.approx(test.pvalue)
        assert list(row["models"]) == list(MODELS) and list(row["patterns"]) == ["minimal"]
    crossed = stats.error_of(stats.parts(values.mean(axis=1), np.ones(ROWS)))
    assert (fixed["error"], fixed["df"]) == pytest.approx((crossed.error, crossed.df))
    parts = stats.mean_parts(values[:, None], np.ones(ROWS))
    expected = stats.error_of_mean([stats.Share(parts)])
    assert (free["error"], free["df"]) == pytest.approx((expected.error, expected.df))
    assert free["cells"] == pytest.approx(values.mean(axis=(0, 2)))
    assert (fixed["varies"], free["varies"]) == ("draws and rows", "draws, rows and models")
    two = computed(*(each for (name, _), each in made.items() if name.startswith("opt")))
    assert asked.MEAN_OF_KIND not in set(two["question"])


@pytest.mark.parametrize("models", [MODELS[:2], MODELS[:3]])
def test_three_patterns_may_be_others_too(models):
    patterns = ("a", "b", "c")
    catalog = {**CATALOG, "patterns": {name: {"title": name} for name in patterns}}
    made = {
        (name, pattern, how): arm(name, how, p, pattern=pattern)
        for name in models
        for pattern, trained in zip(patterns, (0.5, 0.9, 0.6), strict=True)
        for how, p in (("ft", trained), ("icl", 0.6))
    }
    values = np.array(
        [
            [answers(made[name, each, "ft"]) - answers(made[name, each, "icl"]) for name in models]
            for each in patterns
        ]
    ).transpose(2, 0, 1, 3)
    frame = computed(*made.values(), catalog=catalog)
    row = only(frame, asked.MEAN_OF_KIND)
    both = len(models) > 2
    assert row["varies"] == f"draws, rows{',' if both else ' and'} patterns{' and models' * both}"
    free = values if both else values.mean(axis=2, keepdims=True)
    expected = stats.error_of_mean([stats.Share(stats.mean_parts(free, np.ones(ROWS)))])
    assert (row["error"], row["df"]) == pytest.approx((expected.error, expected.df))
    assert row["cells"] == pytest.approx(free.mean(axis=(0, 3)).ravel())
    mean = study_means(frame, catalog).set_index("question").loc[asked.MEAN_OF_KIND]
    assert mean[["estimate", "error"]].tolist() == pytest.approx(
        row[["estimate", "error"]].tolist()
    )


def test_results_are_stored_and_read_as_they_are(tmp_path):
    frame = computed(*mean_of_models().values())
    storage.write_table(tmp_path / "c.parquet", frame, statistics_schemas.CONTRASTS)
    read = storage.read_table(tmp_path / "c.parquet")
    means = [study_means(each, CATALOG) for each in (frame, read)]
    pd.testing.assert_frame_equal(*means, check_dtype=False)
    assert len(means[0]) == 2
    empty = contrasts(*together(arm("opt-s", "ft", 0.8)), [], CATALOG)
    storage.write_table(tmp_path / "empty.parquet", empty, statistics_schemas.CONTRASTS)


def test_the_mean_of_one_task_is_the_stored_one():
    frame = computed(*mean_of_models().values())
    means = study_means(frame, CATALOG).set_index("question")
    for question in (asked.MEAN, asked.MEAN_OF_KIND):
        row = only(frame, question)
        for name in ("estimate", "error", "df", "p", "low_draws", "p_draws"):
            assert means.loc[question, name] == pytest.approx(row[name])


def of_task(frame, name):
    """Return contrasts as those of another task with the same numbers."""
    return frame.assign(task=name, evaluation_set=name)


def test_tasks_are_averaged_over_common_models():
    frame = computed(*mean_of_models().values())
    both = pd.concat([frame, of_task(frame, "rte")])
    means = study_means(both, CATALOG).set_index("question")
    one = frame.set_index("question")
    fixed = means.loc[asked.MEAN]
    assert fixed["tasks"] == ["nli", "rte"]
    assert fixed["estimate"] == pytest.approx(one.loc[asked.MEAN, "estimate"])
    assert fixed["error"] == pytest.approx(one.loc[asked.MEAN, "error"] / np.sqrt(2))
    free, row = means.loc[asked.MEAN_OF_KIND], one.loc[asked.MEAN_OF_KIND]
    own = row["draw_variance"] + row["row_variance"] + row["joint_variance"]
    models = np.var(row["cells"], ddof=1) / len(MODELS)
    assert free["error"] ** 2 == pytest.approx(own / 2 + models)


def test_tasks_without_a_mean_are_counted_and_variants_are_no_tasks():
    frame = computed(*mean_of_models().values())
    lacking = of_task(frame, "rte").assign(estimate=np.nan, status="missing", seeds=0)
    row = study_means(pd.concat([frame, lacking]), CATALOG).iloc[0]
    assert (row["tasks"], row["status"], row["seeds"]) == (["nli"], "1/2 tasks", SEEDS)
    none = study_means(lacking, CATALOG).iloc[0]
    assert pd.isna(none["estimate"]) and (none["tasks"], none["status"]) == ([], "missing")
    variants = {"variants": {"flip": {"nli": {"nli": 0.0, "nli-flip": 0.5}}}}
    both = pd.concat([frame, of_task(frame, "nli-flip")])
    assert study_means(both, CATALOG | variants).iloc[0]["tasks"] == ["nli"]


def test_tasks_with_other_models_are_not_averaged():
    frame = computed(*mean_of_models().values())
    fewer = [each for (name, _), each in mean_of_models().items() if name != "pythia-l"]
    both = pd.concat([frame, of_task(computed(*fewer), "rte")])
    for row in study_means(both, CATALOG).to_dict("records"):
        assert pd.isna(row["estimate"])
        assert row["status"] == "models or patterns differ between tasks"


def test_p_values_are_corrected_within_a_question():
    frame = computed(*mean_of_models().values(), *(arm(name, "lora", 0.7) for name in MODELS))
    found = corrected(frame)
    assert found["question"].nunique() > 3
    for _, part in found.groupby("question"):
        for name, plain in (("bh", "p"), ("bh_draws", "p_draws")):
            expected = multipletests(part[plain], method="fdr_bh")[1]
            np.testing.assert_allclose(part[name], expected)
