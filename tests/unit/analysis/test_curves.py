"""Curves that are counted over samples: what metrics make of them, and what broken ones say."""

from pathlib import Path

import pandas as pd
import pytest
import simulate
import stored
from fewshot import schemas, storage
from fewshot.analysis import metrics
from fewshot.analysis.curves import kept_epochs, rows_on_curve
from fewshot.data import evaluation_sets
from fewshot.errors import UserError

ROWS = 60
CELL = {"protocol": "fair", "task": "nli", "model": "opt-s"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Return a fine-tuned job of two seeds and three epochs, whose curves are sampled."""
    monkeypatch.chdir(tmp_path)
    simulate.write_prepared(tmp_path)
    pair = simulate.pairs([0, 1])[0]
    job = next(job for job in pair["jobs"] if (job["method"], job["k"]) == ("ft", 16))
    simulate.write_run(tmp_path, pair, job, epochs=3, curve_rows=ROWS)
    return job


def compute(job, names=("nli", "hans")):
    sets = [
        evaluation_sets.read_set(name, (0, 1), f"results/data/{name}/validation.parquet")
        for name in names
    ]
    return metrics.compute_metrics(CELL, [job], sets).metrics


def curves_of(job):
    return storage.read_table(f"{job['folder']}/curves.parquet")


def edit(job, change):
    storage.write_table(f"{job['folder']}/curves.parquet", change(curves_of(job)), schemas.CURVES)
    stored.seal_run(Path(job["folder"]))


def settle(job, **settings):
    """Change the settings that the run's manifest names."""
    path = Path(job["folder"], "manifest.json")
    content = storage.read_json(path)
    storage.write_json(path, {**content, "settings": {**content["settings"], **settings}})


def overall(frame, selection, name):
    chosen = frame[(frame["selection"] == selection) & (frame["evaluation_set"] == name)]
    return chosen[chosen[["group", "subset", "label"]].isna().all(axis=1)].set_index("seed")


def test_the_curve_is_the_sample_and_kept_epochs_are_whole(job):
    frame = compute(job)
    for name, size in (("nli", 120), ("hans", 240)):
        assert overall(frame, "each", name)["n"].tolist() == [ROWS] * 6
        for selection in ("last", "best-in-domain"):
            assert overall(frame, selection, name)["n"].tolist() == [size] * 2


def test_accuracies_are_those_of_the_row_predictions(job):
    """The sample's counts too: its rows are drawn from the predictions of the last epoch."""
    frame = compute(job)
    rows = storage.read_table(f"{job['folder']}/predictions.parquet")
    rows = rows[(rows["evaluation_set"] == "hans") & (rows["epoch"] == 3)]
    right = (rows["logprob_1"] > rows["logprob_0"]).astype(int) == rows["label"]
    whole = right.groupby(rows["seed"]).sum()
    last = overall(frame, "last", "hans")
    assert last["correct"].to_dict() == whole.to_dict()
    assert last["accuracy"].to_dict() == (whole / 240).to_dict()
    assert set(last["domain"]) == {"out"} and last["majority"].eq(0.5).all()
    ids = set(simulate.prepared("hans")["id"].iloc[simulate.chosen_rows("hans", ROWS)])
    part = right[rows["id"].isin(ids)].groupby(rows["seed"]).sum()
    curve = overall(frame, "each", "hans")
    assert curve.loc[curve["epoch"] == 3, "correct"].to_dict() == part.to_dict()


def test_the_best_epoch_is_that_of_the_sample(job):
    frame, curve = compute(job), rows_on_curve(curves_of(job).query("evaluation_set == 'nli'"))
    best = kept_epochs(curve)["best"]
    assert overall(frame, "best-in-domain", "nli")["epoch"].to_dict() == best.to_dict()
    oracle = overall(frame, "best-out-of-domain", "hans")
    each = overall(frame, "each", "hans").reset_index()
    top = each.sort_values(["correct", "epoch"], ascending=[False, True]).groupby("seed").first()
    assert oracle["epoch"].to_dict() == top["epoch"].to_dict()


def test_breakdowns_of_a_kept_epoch_add_up_to_all_rows(job):
    frame = compute(job)
    rows = frame[(frame["selection"] == "last") & (frame["evaluation_set"] == "hans")]
    parts = rows[rows["subset"].notna() & rows["label"].notna()]
    assert parts.groupby("seed")["n"].sum().tolist() == [240, 240]
    assert len(parts) == 60


def is_part(frame, sampled=True):
    """Mark one stratum of one epoch of HANS."""
    first = frame[(frame["evaluation_set"] == "hans") & (frame["sampled"] == sampled)].index[:1]
    return frame.index.isin(first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[~is_part(f)], "lacks or repeats an evaluation set"),
        (lambda f: f[~is_part(f, sampled=False)], "lacks or repeats an evaluation set"),
        (lambda f: pd.concat([f, f[is_part(f)]]), "lacks or repeats an evaluation set"),
        (lambda f: f.assign(n=f["n"] + is_part(f)), "3 rows in part hans/constituent/ce_case_0/0"),
        (lambda f: f[(f["epoch"] != 2) | ~f["sampled"]], "lacks or repeats an evaluation set"),
        (lambda f: f[(f["seed"] == 0) | (f["evaluation_set"] != "nli")], "lacks or repeats"),
        (lambda f: f[f["sampled"] | (f["epoch"] != 3)], "is not in its curves"),
        (lambda f: f.assign(epoch=f["epoch"] + 1), "lacks or repeats an evaluation set"),
        (
            lambda f: f.assign(evaluation_set=f["evaluation_set"].astype(str).replace("hans", "x")),
            "x is no evaluation set of it",
        ),
    ],
)
def test_broken_samples_name_their_run(job, change, message):
    edit(job, change)
    with pytest.raises(UserError, match=message) as error:
        compute(job)
    assert job["folder"] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"curve_rows": 90}, "rows in part nli/0, not as prepared"),
        ({"curve_rows": "all"}, "'nli' is sampled against its settings; corrupt run"),
        ({"epochs": 4}, "lacks or repeats an evaluation set"),
        ({"curve_epochs": "last"}, "lacks or repeats an evaluation set"),
    ],
)
def test_the_curve_is_that_of_the_settings(job, settings, message):
    settle(job, **settings)
    with pytest.raises(UserError, match=message):
        compute(job)


def test_a_curve_of_some_epochs_is_one(job):
    """Epoch 1 is left out, unless it was kept: then another is tried."""
    kept = kept_epochs(rows_on_curve(curves_of(job).query("evaluation_set == 'nli'")))
    spare = ({1, 2} - set(kept["best"])).pop()
    edit(job, lambda f: f[(f["epoch"] != spare) | (f["evaluation_set"] == "train")])
    settle(job, curve_epochs=[3 - spare])
    found = overall(compute(job), "each", "hans")["epoch"]
    assert sorted(set(found)) == [3 - spare, 3]


def test_a_whole_curve_is_accepted_where_a_sample_would_do(tmp_path, job):
    pair = simulate.pairs([0, 1])[0]
    simulate.write_run(tmp_path, pair, job, epochs=3)
    settle(job, curve_rows=ROWS)
    assert overall(compute(job), "each", "hans")["n"].eq(240).all()


def test_curves_of_an_older_version_are_named(job):
    path = f"{job['folder']}/curves.parquet"
    curves_of(job).drop(columns="sampled").to_parquet(path)
    stored.seal_run(Path(job["folder"]))
    with pytest.raises(UserError, match="no column 'sampled'; written by another version"):
        compute(job)


def test_without_sets_out_of_domain_there_is_no_oracle(job):
    for name in ("curves", "predictions"):
        path, schema = f"{job['folder']}/{name}.parquet", schemas.CURVES
        frame = storage.read_table(path)
        if name == "predictions":
            schema = schemas.predictions_schema(2)
        storage.write_table(path, frame[frame["evaluation_set"] != "hans"], schema)
    stored.seal_run(Path(job["folder"]))
    frame = compute(job, names=("nli",))
    assert set(frame["selection"]) == {"last", "best-in-domain", "each"}
    Path(job["folder"], "manifest.json").unlink()
    blank = metrics.without_results(CELL, [job], ["nli"], None).metrics
    assert set(blank["selection"]) == {"last", "best-in-domain"}
