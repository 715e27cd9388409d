"""What the test half says of the epoch that the choice half chose, worked out from predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulate
import stored
from fewshot import storage
from fewshot.analysis import held_out_rows, metrics, questions, stats
from fewshot.analysis.contrasts import contrasts
from fewshot.analysis.predictions import unpack
from fewshot.data import halves
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.errors import UserError
from mistakes import told
from sklearn.metrics import matthews_corrcoef

pytestmark = pytest.mark.slow

CELL = {"protocol": "fair", "task": "nli", "model": "opt-s"}
EPOCHS = 5


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Return a pair with a run in context and one fine-tuned, whose curve counts the choice half:
    120 rows of two labels in domain, 240 in 30 clusters out of it."""
    monkeypatch.chdir(tmp_path)
    simulate.write_prepared(tmp_path)
    pair = simulate.pairs([0, 1, 2])[0]
    pair["jobs"] = [job for job in pair["jobs"] if job["k"] == 16 and job["method"] != "lora"]
    for job in pair["jobs"]:
        simulate.write_run(tmp_path, pair, job, epochs=EPOCHS, by_half=True)
    return pair


def sets():
    return [EvaluationSet(name, (0, 1), simulate.prepared(name)) for name in ("nli", "hans")]


def compute(pair, **options):
    return metrics.compute_metrics(CELL, pair["jobs"], sets(), **{"by_half": True, **options})


def job_of(pair, method):
    return next(job for job in pair["jobs"] if job["method"] == method)


def predicted(pair, method):
    """Return row predictions with whether the likelier label word is gold, and its probability."""
    rows = storage.read_table(f"{job_of(pair, method)['folder']}/predictions.parquet")
    gold = rows["label"] == 1
    right = (rows["logprob_1"] > rows["logprob_0"]) == gold
    logprob = np.where(gold, rows["logprob_1"], rows["logprob_0"]).astype(float)
    return rows.assign(right=right, gold=logprob)


def half_ids():
    return halves.half_for_test(sets()[0]).rows["id"]


def chosen_epochs(pair):
    """Return by seed the epoch with most rows of the choice half right, the earliest of equals."""
    curves = storage.read_table(f"{job_of(pair, 'ft')['folder']}/curves.parquet")
    own = curves[(curves["evaluation_set"] == "nli") & curves["sampled"]]
    right = own.groupby(["epoch", "seed"])["correct"].sum().unstack()
    assert own.groupby(["epoch", "seed"])["n"].sum().eq(60).all()
    return right.idxmax().to_dict()


def overall(frame, method, name, selection="held-out"):
    rows = frame[(frame["method"] == method) & (frame["evaluation_set"] == name)]
    rows = rows[rows["selection"] == selection]
    return rows[rows[["group", "subset", "label"]].isna().all(axis=1)].set_index("seed")


def test_in_domain_every_method_is_judged_by_the_test_half(pair):
    found, epochs = compute(pair).metrics, chosen_epochs(pair)
    assert len(set(epochs.values())) > 1 and set(epochs.values()) != {EPOCHS}
    for method in ("icl", "ft"):
        mine, rows = overall(found, method, "nli"), predicted(pair, method)
        assert mine["n"].tolist() == [60] * 3 and mine["domain"].eq("in").all()
        for seed in range(3):
            epoch = epochs[seed] if method == "ft" else 0
            at = (rows["seed"] == seed) & (rows["epoch"] == epoch)
            half = rows[at & (rows["evaluation_set"] == "nli") & rows["id"].isin(half_ids())]
            assert len(half) == 60 and mine.loc[seed, "epoch"] == epoch
            assert mine.loc[seed, "accuracy"] == half["right"].mean()
            assert mine.loc[seed, "mean_logprob"] == pytest.approx(half["gold"].mean())
            assert mine.loc[seed, "vocabulary_accuracy"] == half["right"].mean()
            guess = (half["logprob_1"] > half["logprob_0"]).astype(int)
            assert mine.loc[seed, "mcc"] == pytest.approx(matthews_corrcoef(half["label"], guess))
            shares = np.exp(half[["logprob_0", "logprob_1"]].to_numpy(dtype=float))
            shares /= shares.sum(axis=1, keepdims=True)
            brier = ((shares - np.eye(2)[half["label"]]) ** 2).sum(axis=1).mean()
            assert mine.loc[seed, "brier"] == pytest.approx(brier)


def test_out_of_domain_all_rows_judge_at_that_epoch(pair):
    found, epochs = compute(pair).metrics, chosen_epochs(pair)
    mine, rows = overall(found, "ft", "hans"), predicted(pair, "ft")
    assert mine["n"].tolist() == [240] * 3
    for seed, epoch in epochs.items():
        at = (rows["seed"] == seed) & (rows["epoch"] == epoch) & (rows["evaluation_set"] == "hans")
        assert mine.loc[seed, ["epoch", "accuracy"]].tolist() == [
            epoch,
            rows.loc[at, "right"].mean(),
        ]


def test_breakdowns_of_the_test_half_add_up(pair):
    found = compute(pair).metrics
    rows = found[(found["selection"] == "held-out") & (found["evaluation_set"] == "nli")]
    parts = rows[rows["label"].notna()].groupby(["method", "seed"])[["n", "correct"]].sum()
    whole = rows[rows["label"].isna()].set_index(["method", "seed"])[["n", "correct"]]
    pd.testing.assert_frame_equal(parts, whole.loc[parts.index], check_dtype=False)
    assert rows.loc[rows["label"].notna(), "n"].eq(30).all(), "stratified by label"
    assert rows.loc[rows["label"].isna(), "majority"].eq(0.5).all()
    outside = found[(found["selection"] == "held-out") & found["subset"].notna()]
    assert outside["evaluation_set"].eq("hans").all() and len(outside)


def test_the_last_epoch_is_judged_by_all_rows_as_ever(pair, tmp_path):
    found = compute(pair).metrics
    assert set(found["selection"]) == {"last", "held-out", "best-out-of-domain", "each"}
    assert overall(found, "ft", "nli", "last")["n"].tolist() == [120] * 3
    curve = found[(found["selection"] == "each") & (found["evaluation_set"] == "nli")]
    n = curve.groupby("method")["n"].unique().map(list).to_dict()
    assert n == {"ft": [60], "icl": [120]}, "the curve is the choice half's"
    # No scores of the test half pass for those of the choice half, which has as many rows.
    assert curve.loc[curve["method"] == "ft", "brier"].isna().all()
    for job in pair["jobs"]:
        simulate.write_run(tmp_path, pair, job, epochs=EPOCHS)
    usual = compute(pair, by_half=False).metrics
    for name in ("nli", "hans"):
        both = [overall(frame, "ft", name, "last") for frame in (found, usual)]
        pd.testing.assert_frame_equal(*both, check_dtype=False)


def test_outcomes_have_the_test_half_beside_all_rows(pair):
    found, item = compute(pair).outcomes, sets()[0]
    own = found[found["evaluation_set"] == "nli"]
    runs = own.groupby(["method", "seed", "epoch"])
    assert runs["n"].apply(lambda n: sorted(n) == [60, 120]).all()
    mine = np.isin(item.sorted_ids, half_ids())
    for _, both in runs:
        both = both.set_index("n")
        for column in ("correct", "correct_batch"):
            whole = unpack([both.loc[120, column]], 120)[0]
            assert (unpack([both.loc[60, column]], 60)[0] == whole[mine]).all()
    assert found[found["evaluation_set"] == "hans"]["n"].eq(240).all()


def test_what_is_missing_has_the_baseline_of_the_test_half(pair):
    folder = Path(job_of(pair, "ft")["folder"])
    (folder / "manifest.json").unlink()
    rows = overall(compute(pair, problems={}).metrics, "ft", "nli")
    assert rows["status"].eq("missing").all() and rows["majority"].eq(0.5).all()
    blank = metrics.without_results(CELL, pair["jobs"], ["nli", "hans"], None, by_half=True)
    assert set(blank.metrics["selection"]) == {"last", "held-out", "best-out-of-domain"}


@pytest.mark.parametrize("by_half", [True, False])
def test_a_run_with_another_choice_is_refused(pair, tmp_path, by_half):
    simulate.write_run(tmp_path, pair, job_of(pair, "ft"), epochs=EPOCHS, by_half=not by_half)
    said = told(compute, pair, by_half=by_half)
    found, asked = ("in-domain", "held-out") if by_half else ("held-out", "in-domain")
    assert said == (
        f"{job_of(pair, 'ft')['folder']}/manifest.json: best_epoch is {found}, and the study has "
        f"{asked}; remove the folder"
    )


def test_a_curve_over_other_rows_than_the_choice_half_is_refused(pair):
    path = f"{job_of(pair, 'ft')['folder']}/curves.parquet"
    curves = storage.read_table(path)
    own = (curves["evaluation_set"] == "nli") & curves["sampled"]
    curves.loc[own, "n"] += 1
    curves.to_parquet(path)
    stored.seal_run(Path(path).parent)
    with pytest.raises(UserError, match="31 rows in part nli/0, not as prepared; corrupt run"):
        compute(pair)


def test_statistics_take_each_set_with_the_metrics_that_count_it(pair):
    found = compute(pair).metrics
    judged = list(held_out_rows.judging_sets(found, sets()))
    assert [(item.name, len(item.labels), half) for item, half in judged] == [
        ("nli", 120, False), ("nli", 60, True), ("hans", 240, False),
    ]  # fmt: skip
    assert set(judged[1][0].rows["id"]) == set(half_ids())
    of_half, others = (held_out_rows.counted_by(found, half=half) for half in (True, False))
    assert len(of_half) + len(others) == len(found)
    assert set(of_half["selection"]) == {"held-out"} and set(of_half["domain"]) == {"in"}
    assert set(others.query("selection == 'held-out'")["domain"]) == {"out"}
    usual = found[found["selection"] != "held-out"]
    assert [half for _, half in held_out_rows.judging_sets(usual, sets())] == [False] * 2
    assert list(held_out_rows.judging_sets(found.iloc[:0], sets())) == []


def test_the_error_of_the_test_half_is_that_of_its_rows(pair):
    found = compute(pair)
    mine = overall(found.metrics, "ft", "nli")
    half = halves.half_for_test(sets()[0])
    outcomes = found.outcomes
    here = (outcomes["method"] == "ft") & (outcomes["evaluation_set"] == "nli")
    own = outcomes[here & (outcomes["n"] == len(half.labels))].set_index("seed")
    packed = [own[own["epoch"] == mine["epoch"][seed]]["correct"][seed] for seed in mine.index]
    right = unpack(np.array(packed, dtype=object), len(half.labels))
    error = stats.error_of(stats.parts(right, np.ones(len(half.labels))))
    assert mine["accuracy_error"].to_numpy() == pytest.approx([error.error] * len(mine), rel=1e-5)
    whole = overall(found.metrics, "ft", "nli", "last")["accuracy_error"]
    assert whole.notna().all() and (whole != mine["accuracy_error"]).all()


def test_the_gap_is_judged_by_the_test_half_where_the_study_says_so(pair):
    """Both domains at the epoch that the choice half has chosen, in domain on the test half."""
    found = compute(pair)
    catalog = simulate.CATALOG | {"main": {"k": 16, "selection": "held-out"}}
    made = contrasts(found.metrics, found.outcomes, sets(), catalog)
    (gap,) = made[made["question"] == questions.GAP].to_dict("records")
    means = {
        (method, name): overall(found.metrics, method, name)["accuracy"].mean()
        for method in ("ft", "icl")
        for name in ("nli", "hans")
    }
    differences = [means["ft", name] - means["icl", name] for name in ("hans", "nli")]
    assert gap["estimate"] == pytest.approx(differences[0] - differences[1])
    last = contrasts(found.metrics, found.outcomes, sets(), simulate.CATALOG)
    (other,) = last[last["question"] == questions.GAP].to_dict("records")
    assert other["estimate"] != gap["estimate"]
