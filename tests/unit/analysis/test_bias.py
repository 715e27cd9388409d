"""Numbers of a bias probe, recomputed from predictions with pandas, scipy and statsmodels."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot import schemas, storage
from fewshot.analysis import bias, metrics
from fewshot.data.evaluation_sets import read_set
from fewshot.errors import UserError
from probe_runs import ATTRIBUTES, CATALOG, SEEDS, probe_set, write_runs
from scipy import stats
from scipy.special import softmax
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from stored import seal_run

close = partial(pytest.approx, abs=1e-6)
"""Scores are float32: their sums here and there differ by rounding."""
ROW = ["method", "k", "attribute", "group", "measure"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def found(runs) -> pd.DataFrame:
    return bias.measure_bias(runs.metrics, runs.jobs, [runs.probe], CATALOG)


@pytest.fixture(scope="module")
def answers(runs) -> pd.DataFrame:
    """Return a row per answer with its group and the three measures, computed here."""
    words = [f"logprob_{i}" for i in range(3)]
    frame = runs.predictions.merge(runs.probe.rows[["id", "subset", "group", "cluster"]], on="id")
    p = softmax(frame[words].to_numpy(float), axis=1)
    measured = {
        bias.FRACTION: (frame["predicted"] == "neutral").astype(float),
        bias.NET: p[:, 1],
        bias.LEAN: p[:, 0] - p[:, 2],
    }
    return frame.assign(**measured)


def row(found, method, k, attribute, group, measure) -> pd.Series:
    own = found[(found[ROW[:3]] == [method, k, attribute]).all(axis=1)]
    own = own[own["measure"] == measure]
    own = own[own["group"].isna() if group is None else own["group"] == group]
    assert len(own) == 1
    return own.iloc[0]


def by_cluster(answers, method, k, attribute, measure) -> pd.DataFrame:
    """Return the mean of a measure by (seed, cluster) and group."""
    own = answers[(answers["method"] == method) & (answers["k"] == k)]
    own = own[own["subset"] == attribute]
    return own.pivot_table(index=["seed", "cluster"], columns="group", values=measure)


def apart(answers, method, k, attribute, group, measure) -> pd.Series:
    """Return a group less the mean of the others, by seed and cluster."""
    table = by_cluster(answers, method, k, attribute, measure)
    return table[group] - table.drop(columns=group).mean(axis=1)


@pytest.mark.parametrize("measure", list(bias.MEASURES))
def test_levels_and_differences_are_means_over_answers(found, answers, measure):
    for (method, k), own in answers.groupby(["method", "k"]):
        for attribute, groups in ATTRIBUTES.items():
            part = own[own["subset"] == attribute]
            whole = row(found, method, k, attribute, None, measure)
            assert whole["estimate"] == close(part[measure].mean())
            assert pd.isna(whole["difference"])
            for group in groups:
                told = row(found, method, k, attribute, group, measure)
                mine = part["group"] == group
                inside, others = part.loc[mine, measure].mean(), part.loc[~mine, measure].mean()
                assert told["estimate"] == close(inside)
                assert told["difference"] == close(inside - others)
                assert (told["rows"], told["clusters"]) == (24, 12)
    pair = [row(found, "ft", 15, "gender", group, measure) for group in ("woman", "man")]
    assert pair[0]["difference"] == close(-pair[1]["difference"])


@pytest.mark.parametrize("group", ["woman", "Indian"])
def test_without_shots_a_difference_has_the_t_interval_over_occupations(found, answers, group):
    attribute = "gender" if group == "woman" else "nationality"
    values = apart(answers, "icl", 0, attribute, group, bias.NET)
    ends = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    told = row(found, "icl", 0, attribute, group, bias.NET)
    assert tuple(told[["difference_low", "difference_high"]]) == close(tuple(ends))
    assert pd.isna(told["change"]) and told["status"] == "ok" and told["seeds"] == 1


def crossed_ends(values: pd.Series) -> tuple[float, float]:
    """Return the 95 % interval of a mean over seeds and clusters, by an analysis of variance."""
    frame = values.rename("value").reset_index()
    table = anova_lm(ols("value ~ C(seed) + C(cluster)", frame).fit())
    seed, cluster, both = table["mean_sq"] / len(frame)
    df = table["df"]
    total = max(seed + cluster - both, 0.7 * max(seed, cluster))
    free = total**2 / (seed**2 / df["C(seed)"] + cluster**2 / df["C(cluster)"])
    free = max(free, min(df["C(seed)"], df["C(cluster)"]))
    half = stats.t.ppf(0.975, free) * np.sqrt(total)
    return values.mean() - half, values.mean() + half


def test_with_shots_intervals_are_those_of_crossed_seeds_and_occupations(found, answers):
    for method in ("icl", "ft"):
        told = row(found, method, 15, "gender", "woman", bias.NET)
        values = apart(answers, method, 15, "gender", "woman", bias.NET)
        ends = crossed_ends(values)
        assert tuple(told[["difference_low", "difference_high"]]) == close(ends)
        before = apart(answers, "icl", 0, "gender", "woman", bias.NET).droplevel("seed")
        moved = values - before.reindex(values.index.get_level_values("cluster")).to_numpy()
        assert told["difference_change"] == close(moved.mean())
        ends = crossed_ends(moved)
        both = told[["difference_change_low", "difference_change_high"]]
        assert tuple(both) == close(ends)
        whole = row(found, method, 15, "nationality", None, bias.FRACTION)
        level = by_cluster(answers, method, 15, "nationality", bias.FRACTION).mean(axis=1)
        start = by_cluster(answers, "icl", 0, "nationality", bias.FRACTION).mean(axis=1)
        start = start.droplevel("seed").reindex(level.index.get_level_values("cluster")).to_numpy()
        assert tuple(whole[["change_low", "change_high"]]) == close(crossed_ends(level - start))
        assert 0 <= whole["low"] < whole["estimate"] < whole["high"] <= 1
    assert row(found, "ft", 15, "gender", "woman", bias.NET)["difference_high"] < 0, (
        "as it was made"
    )


def test_seeds_that_are_missing_are_told(runs):
    frame = runs.metrics.copy()
    of_ft = frame["method"] == "ft"
    frame.loc[of_ft & (frame["seed"] > 1), "status"] = "missing"
    found = bias.measure_bias(frame, runs.jobs, [runs.probe], CATALOG)
    told = row(found, "ft", 15, "gender", "woman", bias.NET)
    assert (told["status"], told["seeds"], told["seeds_planned"]) == (f"2/{SEEDS} seeds", 2, SEEDS)
    frame.loc[of_ft, "status"] = "does not fit"
    found = bias.measure_bias(frame, runs.jobs, [runs.probe], CATALOG)
    told = row(found, "ft", 15, "gender", "woman", bias.NET)
    assert told["status"] == "does not fit" and pd.isna(told["estimate"])
    frame.loc[of_ft & (frame["seed"] == 0), "status"] = "ok"
    one = row(
        bias.measure_bias(frame, runs.jobs, [runs.probe], CATALOG),
        *("ft", 15, "gender", "woman", bias.NET),
    )
    assert pd.notna(one["difference"]) and pd.isna(one["difference_low"]), "one draw of several"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.assign(label=0), "not all rows are neutral"),
        (lambda rows: rows.iloc[1:], "has not as many rows of each gender"),
        (lambda rows: rows[rows["group"] != "man"], "attribute 'gender' has one group, 'woman'"),
        (lambda rows: rows.assign(cluster=None), "a row has no cluster"),
    ],
)
def test_what_is_no_probe_is_one_line(change, said):
    probe = probe_set()
    with pytest.raises(UserError, match=said):
        bias.attributes_of(replace(probe, rows=change(probe.rows)))


def test_a_probe_changes_no_accuracy_and_no_answer(tmp_path, monkeypatch):
    """Headline, comparisons, verdicts and their corrections follow from these two alone."""
    monkeypatch.setitem(simulate.SIZES, "probe", 40)
    [pair] = [p for p in simulate.pairs() if (p["task"], p["model"]) == ("nli", "opt-s")]
    pair["jobs"] = [job for job in pair["jobs"] if (job["method"], job["k"]) == ("ft", 16)]
    probed = {**pair, "evaluation": [*pair["evaluation"], {"set": "probe"}]}
    simulate.write_prepared(tmp_path)
    monkeypatch.chdir(tmp_path)
    for job in pair["jobs"]:
        simulate.write_run(tmp_path, probed, job, epochs=2)
    cell = {name: pair[name] for name in ("protocol", "task", "model")}
    sets = [read_set(each["set"], each["merge"], each["path"]) for each in pair["evaluation"]]
    with pytest.raises(UserError, match="probe is no evaluation set of it"):
        metrics.compute_metrics(cell, pair["jobs"], sets)
    beside = metrics.compute_metrics(cell, pair["jobs"], sets, probes=["probe"])
    tables = {"predictions": schemas.predictions_schema(2), "curves": schemas.CURVES}
    for job in pair["jobs"]:
        for name, schema in tables.items():
            path = tmp_path / job["folder"] / f"{name}.parquet"
            frame = storage.read_table(path)
            assert (frame["evaluation_set"] == "probe").any()
            storage.write_table(path, frame[frame["evaluation_set"] != "probe"], schema)
        seal_run(tmp_path / job["folder"])
    without = metrics.compute_metrics(cell, pair["jobs"], sets)
    pd.testing.assert_frame_equal(beside.metrics, without.metrics)
    pd.testing.assert_frame_equal(beside.outcomes, without.outcomes)
