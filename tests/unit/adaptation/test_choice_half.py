"""Jobs whose best epoch is chosen by one half of the in-domain rows, by what they store."""

from dataclasses import replace

import numpy as np
import pytest
from fewshot.adaptation import training
from fewshot.data import halves
from fewshot.runtime.stop import Interrupted
from seed_runs import StopAfter, a_job, outcome, set_up

pytestmark = pytest.mark.slow

SETTINGS = {"learning_rate": 0.012, "epochs": 6}


def trained(tmp_path, keeps_curve=False, **settings):
    """Return job and result of seed 0; with `keeps_curve`, predictions of every epoch are kept."""
    job = a_job(**{**SETTINGS, **settings})
    setup = replace(set_up("opt", job), keeps_curve=keeps_curve)
    return job, training.train_seed(setup, 0, tmp_path)


def right_rows(predictions, ids):
    """Return epoch → how many of these in-domain rows have the likelier word right."""
    own = predictions[(predictions["evaluation_set"] == "task") & predictions["id"].isin(ids)]
    right = (own["logprob_1"] > own["logprob_0"]) == (own["label"] == 1)
    return right.groupby(own["epoch"]).sum()


def test_the_epoch_is_that_with_most_rows_of_the_choice_half_right(tmp_path):
    job, every = trained(tmp_path / "every", keeps_curve=True)
    ids = halves.half_for_choice(job.evaluation[0]).rows["id"]
    by_half = right_rows(every.predictions, ids)
    by_all = right_rows(every.predictions, job.evaluation[0].rows["id"])
    # Else the test could not tell them apart: idxmax is the earliest of equals.
    assert len({int(by_half.idxmax()), int(by_all.idxmax()), 6}) == 3
    for setting, epoch in (({}, by_all.idxmax()), ({"best_epoch": "held-out"}, by_half.idxmax())):
        _, result = trained(tmp_path / f"{len(setting)}", **setting)
        assert sorted(result.predictions["epoch"].unique()) == [epoch, 6]
        assert set(result.predictions.query("best")["epoch"]) == {epoch}
        # All rows of both sets are predicted there, with the weights of that epoch.
        kept = result.predictions.query("epoch == @epoch").set_index(["evaluation_set", "id"])
        told = every.predictions.query("epoch == @epoch").set_index(["evaluation_set", "id"])
        assert kept.index.equals(told.index) and len(kept) == 24 + 11
        np.testing.assert_array_equal(kept["logprob_0"], told["logprob_0"])


@pytest.mark.parametrize("curve_rows", ["all", 8])
def test_the_curve_counts_the_choice_half(tmp_path, curve_rows):
    _, result = trained(tmp_path, best_epoch="held-out", curve_rows=curve_rows)
    kept = set(result.predictions["epoch"])
    counts = result.curves.groupby(["evaluation_set", "epoch", "sampled"])["n"].sum()
    own = counts["task"].unstack("epoch")
    assert own.loc[True].tolist() == [12 if curve_rows == "all" else 8] * 6
    # All rows besides, where an epoch was kept.
    assert own.loc[False].dropna().to_dict() == dict.fromkeys(kept, 24)
    others = counts["other"].unstack("epoch")
    assert others.loc[curve_rows == 8].tolist() == [11 if curve_rows == "all" else 8] * 6


def test_an_interrupted_choice_goes_on(tmp_path):
    """The checkpoint has the best weights so far and how many rows of the half they got right."""
    job = a_job(**SETTINGS, best_epoch="held-out")
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    (best,) = set(whole.predictions["epoch"]) - {6}
    made, folder = set_up("opt", job), tmp_path / "parts"
    with pytest.raises(Interrupted):
        training.train_seed(made, 0, folder, stop=StopAfter(29))
    (stored,) = folder.glob("seed0.step*")
    assert (stored / "seed0" / "best.pt").exists() and int(
        stored.name.rpartition("step")[2]
    ) > 3 * best
    assert outcome(training.train_seed(made, 0, folder)) == outcome(whole)


def test_another_choice_is_another_state():
    """Seeds that are finished under one choice are not taken for those of the other."""
    job = a_job(**SETTINGS)
    other = replace(job, settings={**job.settings, "best_epoch": "held-out"})
    assert job.fingerprint != other.fingerprint
