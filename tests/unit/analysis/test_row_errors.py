"""Errors of mean accuracies by part, against arithmetic by hand and against the rows themselves."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis import metrics, stats
from fewshot.analysis.predictions import CORRECT, pack, unpack
from fewshot.analysis.row_errors import ERRORS, add_errors
from fewshot.analysis.stats import crossed
from fewshot.data.evaluation_sets import EvaluationSet, read_set
from scipy import stats as reference

RUN = ["job", "seed", "epoch", "evaluation_set"]


def item_of(cluster, label=None, group=None, subset=None) -> EvaluationSet:
    """Return a set with a row for each of `cluster`, whose ids descend."""
    n = len(cluster)
    rows = {"id": np.arange(n)[::-1], "label": np.zeros(n, int) if label is None else label}
    rows |= {"group": group, "subset": subset, "cluster": cluster}
    return EvaluationSet("set", (0, 1), pd.DataFrame(rows))


def frames(item, correct, *, seeds=None, selection="last", epoch=1, job=0, counted=None):
    """Return the overall metric rows and the outcomes of seeds that answered `correct` [S, R], in
    the order of the item's rows."""
    seeds = range(len(correct)) if seeds is None else seeds
    order = np.argsort(item.rows["id"].to_numpy())
    n = len(item.labels)
    scored = pd.DataFrame(
        [
            dict(zip(RUN, (job, seed, epoch, "set"), strict=True))
            | {"n": n, **dict.fromkeys(CORRECT), "correct": pack(np.asarray(right)[order])}
            for seed, right in zip(seeds, correct, strict=True)
        ]
    )
    rows = scored[RUN].assign(selection=selection, n=n if counted is None else counted)
    rows = rows.assign(group=None, subset=None, label=pd.array([pd.NA] * len(rows), dtype="Int16"))
    return rows, scored


@pytest.fixture
def stored_pair(tmp_path, monkeypatch):
    """Return the results of one stored pair of the simulated study."""
    monkeypatch.chdir(tmp_path)
    pair = simulate.write_pair(tmp_path)
    sets = [read_set(each["set"], each["merge"], each["path"]) for each in pair["evaluation"]]
    cell = {name: pair[name] for name in ("protocol", "task", "model")}
    return metrics.compute_metrics(cell, pair["jobs"], sets)


def test_the_error_of_equal_clusters_is_the_published_formula():
    """Two seeds have 2, 1, 0 and 2, 2, 1 of two rows right in three clusters. Mean squares: seeds
    1/6, clusters 7/24, both 1/24; variance (1/6 + 7/24 - 1/24) / 6 = 5/72 (Clark 1973)."""
    correct = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]
    item = item_of(list("aabbcc"))
    found = add_errors(*frames(item, correct), [item], [0])
    assert found["accuracy_error"].to_numpy() == pytest.approx([np.sqrt(5 / 72)] * 2)
    assert found["clusters"].tolist() == [3, 3]
    # Parts of 2/72 for draws and 3.5/72 for rows weigh the quantiles of 1 and of 2 degrees.
    far = 1 - crossed.FAR / 2
    wanted = (2 * reference.t.ppf(far, 1) + 3.5 * reference.t.ppf(far, 2)) / 5.5
    assert reference.t.ppf(far, found["accuracy_df"][0]) == pytest.approx(wanted, rel=1e-5)
    assert found[ERRORS[2:-1]].isna().all(axis=None), "no answers after calibrations are known"


def test_one_seed_has_the_error_of_its_rows():
    """Clusters of two rows with 2, 1 and 0 right: variance of their means 1/4, over 3."""
    item = item_of(list("aabbcc"))
    found = add_errors(*frames(item, [[1, 1, 1, 0, 0, 0]]), [item], [0])
    assert found["accuracy_error"].item() == pytest.approx(np.sqrt(1 / 12))
    assert found["accuracy_df"].item() == 2
    alone = item_of([None] * 6)
    found = add_errors(*frames(alone, [[1, 1, 1, 0, 0, 0]]), [alone], [0])
    assert found["accuracy_error"].item() == pytest.approx(np.sqrt(0.3 / 6)), "rows by themselves"
    assert found["clusters"].item() == 6


def test_rows_that_share_a_premise_count_less_than_rows_by_themselves():
    """Three rows of each premise that stand or fall together, as in MNLI: 20 rows, not 60."""
    right = np.repeat(np.arange(20) % 3 > 0, 3)
    shared, alone = item_of(np.repeat(np.arange(20), 3)), item_of([None] * 60)
    errors = [
        add_errors(*frames(item, [right]), [item], [0])["accuracy_error"].item()
        for item in (shared, alone)
    ]
    p = right.mean()
    assert errors == pytest.approx([np.sqrt(p * (1 - p) / 19), np.sqrt(p * (1 - p) / 59)])


def test_every_part_has_the_error_of_its_own_rows():
    """At each level: that of the rows of the part, in their clusters, which may cross labels."""
    rng = np.random.default_rng(0)
    n, seeds = 240, 4
    group, subset = rng.choice(["g", "h"], n), rng.choice(["a", "b"], n)
    label, cluster = rng.integers(0, 2, n), rng.integers(0, 14, n)
    group[:20] = subset[:20] = ""  # Outside any part.
    item = item_of(cluster, label, group, subset)
    correct = rng.random((seeds, n)) < 0.6 + 0.1 * rng.normal(size=(seeds, 1))
    rows, scored = frames(item, correct)
    levels = [{}] + [{"label": i} for i in (0, 1)]
    levels += [{"group": name} for name in "gh"]
    levels += [{"group": a, "subset": b} for a, b in product("gh", "ab")]
    levels += [{"group": a, "subset": b, "label": i} for a, b, i in product("gh", "ab", (0, 1))]
    parts = [rows.assign(**each) for each in levels]
    found = add_errors(pd.concat(parts, ignore_index=True), scored, [item], [0])
    frame = item.rows.assign(at=np.arange(n))
    for place, each in enumerate(levels):
        part = found.iloc[place * seeds : (place + 1) * seeds]
        mask = (frame[list(each)] == list(each.values())).all(axis=1)
        own = frame[mask].groupby("cluster")["at"]
        sums = np.array([correct[:, at].sum(axis=1) for _, at in own]).T
        expected = stats.error_of(stats.parts(sums, own.size().to_numpy()))
        assert part["accuracy_error"].to_numpy() == pytest.approx([expected.error] * seeds)
        assert part["accuracy_df"].to_numpy() == pytest.approx([expected.df] * seeds)
        assert set(part["clusters"]) == {len(own)}


def test_clusters_of_one_label_vary_within_it_where_each_label_has_two():
    """A set of templates is balanced by design: accuracies of 1 and 0 by label are no error."""
    cluster, label = np.repeat(np.arange(8), 5), np.repeat([0, 1], 20)
    item = item_of(cluster, label, group=np.where(np.arange(40) < 25, "g", "h"))
    correct = np.where(label == 0, True, np.arange(40) % 5 < 1 + cluster % 2)
    rows, scored = frames(item, [correct])
    both = pd.concat([rows, rows.assign(group="g")], ignore_index=True)
    found = add_errors(both, scored, [item], [0])
    # Label 1 has shares .2 and .4, half of the rows: its variance 0.04 / 3 / 4, over four.
    assert found["accuracy_error"][0] == pytest.approx(np.sqrt(0.04 / 3 / 4 / 4))
    # In g one cluster has label 1: all five vary together, 1 1 1 1 and .2.
    assert found["accuracy_error"][1] == pytest.approx(
        np.sqrt(np.var([1, 1, 1, 1, 0.2], ddof=1) / 5)
    )


def test_an_error_is_not_known_where_a_seeds_answers_were_not_kept():
    item = item_of([None] * 6)
    correct = np.random.default_rng(1).random((3, 6)) < 0.5
    rows, scored = frames(item, correct)
    oracle = rows.assign(selection="best-out-of-domain", epoch=[1, 1, 2])
    sampled = rows.assign(selection="best-in-domain", n=[6, 6, 4])
    each = rows.assign(selection="each")
    whole = pd.concat([rows, oracle, sampled, each], ignore_index=True)
    found = add_errors(whole, scored, [item], [0])
    assert found.groupby("selection", sort=False)["clusters"].count().tolist() == [3, 0, 0, 0]
    assert found[found["selection"] != "last"][ERRORS].isna().all(axis=None)


def test_seeds_of_two_jobs_of_a_cell_count_together():
    item = item_of([None] * 30)
    correct = np.random.default_rng(2).random((6, 30)) < 0.6
    one = add_errors(*frames(item, correct), [item], [0])
    halves = [
        frames(item, correct[at], seeds=at, job=job)
        for job, at in enumerate(([0, 1], [2, 3, 4, 5]))
    ]
    rows, scored = (pd.concat(each, ignore_index=True) for each in zip(*halves, strict=True))
    together = add_errors(rows, scored, [item], [0, 0])
    assert together["accuracy_error"].tolist() == one["accuracy_error"].tolist()
    apart = add_errors(rows, scored, [item], [0, 1])
    assert apart["accuracy_error"].nunique() == 2


def test_calibrated_answers_have_errors_of_their_own_over_the_seeds_that_have_them():
    item = item_of([None] * 40)
    rng = np.random.default_rng(3)
    rows, scored = frames(item, rng.random((3, 40)) < 0.5)
    other = rng.random((2, 40)) < 0.8
    scored["correct_batch"] = [pack(other[0]), None, pack(other[1])]
    found = add_errors(rows, scored, [item], [0])
    expected = stats.error_of(stats.parts(other, np.ones(40)))
    assert found["accuracy_batch_error"].to_numpy() == pytest.approx([expected.error] * 3)
    assert found["accuracy_contextual_error"].isna().all()
    assert found["accuracy_error"].notna().all()


def test_stored_metrics_hold_the_errors_of_their_outcomes(stored_pair):
    """From stored runs: the same for all seeds, and that of the answers in the outcomes."""
    rows = stored_pair.metrics
    inside = (rows["evaluation_set"] == "nli") & (rows["selection"] != "each")
    rows = rows[inside & rows["label"].isna()]
    assert len(rows) == 2 * 2 * 3  # methods, seeds, selections
    for (method, _), part in rows.groupby(["method", "selection"]):
        runs = stored_pair.outcomes[stored_pair.outcomes["method"] == method]
        runs = runs[runs["evaluation_set"] == "nli"].set_index(["seed", "epoch"])["correct"]
        packed = runs.loc[list(zip(part["seed"], part["epoch"], strict=True))]
        correct = unpack(packed.tolist(), 120)
        assert correct.mean() == pytest.approx(part["accuracy"].mean())
        expected = stats.error_of(stats.parts(correct, np.ones(120)))
        assert part["accuracy_error"].to_numpy() == pytest.approx([expected.error] * 2)
