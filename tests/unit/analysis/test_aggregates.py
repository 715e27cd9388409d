"""Interquartile mean and probability of improvement of a study, against hand-made ones."""

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis.aggregates import aggregates
from fewshot.report.tables.aggregates import aggregated
from metric_rows import metric_rows
from scipy import stats as reference

CATALOG = simulate.CATALOG
PAIRS = pd.DataFrame(
    {
        **{"method": ["ft"], "pattern": ["minimal"]},
        **{"reference_method": ["icl"], "reference_pattern": ["minimal"]},
    }
)


def study_rows(seed=0):
    """Return runs of two methods, models and tasks, in domain and out of domain."""
    rng, frames = np.random.default_rng(seed), []
    for task in ("nli", "rte"):
        for name in (task, "hans"):
            for model in ("opt-s", "opt-l"):
                for method, mean in (("icl", 0.6), ("ft", 0.63)):
                    cell = {"task": task, "evaluation_set": name, "model": model, "method": method}
                    cell["domain"] = "in" if name == task else "out"
                    frames.append(metric_rows(rng.normal(mean, 0.03, 6), **cell))
    return pd.concat(frames, ignore_index=True)


def test_they_are_over_all_runs_of_a_domain():
    rows = study_rows()
    found = aggregates(rows, PAIRS, CATALOG).set_index(["domain", "method"])
    assert len(found) == 4
    for (domain, method), row in found.iterrows():
        own = rows[(rows["domain"] == domain) & (rows["method"] == method)]
        expected = reference.trim_mean(own["accuracy"].to_numpy(float), 0.25)
        assert row["interquartile_mean"] == pytest.approx(expected)
        assert row["low"] < expected < row["high"]
        assert (row["cells"], row["cells_planned"], row["seeds"]) == (4, 4, 24)
    keys = ["domain", "evaluation_set", "task", "model", "seed"]
    both = [rows[rows["method"] == name].set_index(keys)["accuracy"] for name in ("ft", "icl")]
    wins = (both[0] > both[1]).groupby("domain").mean()
    assert found["improvement"].xs("ft", level="method").to_dict() == pytest.approx(wins.to_dict())
    assert found["improvement"].xs("icl", level="method").isna().all()


def test_a_cell_that_one_method_lacks_counts_for_none():
    """A mean over other models would be no other method's, but other models'."""
    rows = study_rows()
    lacking = (rows["model"] == "opt-l") & (rows["task"] == "rte") & (rows["method"] == "ft")
    found = aggregates(rows[~lacking], PAIRS, CATALOG)
    assert set(found["cells"]) == {3} and set(found["cells_planned"]) == {4}
    kept = rows[(rows["task"] == "nli") | (rows["model"] == "opt-s")]
    kept = kept[(kept["domain"] == "in") & (kept["method"] == "icl")]
    expected = reference.trim_mean(kept["accuracy"].to_numpy(float), 0.25)
    own = found[(found["domain"] == "in") & (found["method"] == "icl")].iloc[0]
    assert own["interquartile_mean"] == pytest.approx(expected)
    none = rows[(rows["method"] == "ft") == (rows["task"] == "nli")]
    assert aggregates(none, PAIRS, CATALOG).empty


def test_a_missing_run_is_counted():
    rows = study_rows()
    first = rows.index[(rows["method"] == "ft") & (rows["domain"] == "in")][0]
    rows.loc[first, ["accuracy", "status"]] = [None, "missing"]
    found = aggregates(rows, PAIRS, CATALOG).set_index(["domain", "method"])
    assert found.loc[("in", "ft"), ["seeds", "seeds_planned"]].tolist() == [23, 24]
    assert found.loc[("out", "ft"), ["seeds", "seeds_planned"]].tolist() == [24, 24]


def test_draws_that_are_not_shared_are_compared_all_with_all():
    rows = study_rows()
    apart = aggregates(rows, PAIRS, {**CATALOG, "shared_draws": False})
    own = apart[(apart["domain"] == "out") & (apart["method"] == "ft")].iloc[0]
    shares = []
    for _, cell in rows[rows["domain"] == "out"].groupby(["task", "model"]):
        a, b = (
            cell.loc[cell["method"] == name, "accuracy"].to_numpy(float) for name in ("ft", "icl")
        )
        shares.append(reference.mannwhitneyu(a, b).statistic / (len(a) * len(b)))
    assert own["improvement"] == pytest.approx(np.mean(shares))


def test_a_simulated_study_has_them_at_its_checkpoint(study):
    found = aggregated(study, CATALOG)
    assert set(found["domain"]) == {"in", "out"} and set(found["selection"]) == {"last"}
    assert set(found["method"]) == {"icl", "ft", "lora"}
    ft = found[found["method"] == "ft"].set_index("domain")
    assert ft.loc["in", "improvement"] > 0.9  # Fifteen points better in truth.
    assert set(ft["reference_method"]) == {"icl"}
