"""Metrics against counts worked out by hand, and what broken runs say."""

from pathlib import Path
from types import SimpleNamespace

import compute_metrics
import numpy as np
import pandas as pd
import pytest
import simulate
import stored
from fewshot import schemas, storage
from fewshot.analysis import metrics, result_schemas, run_costs
from fewshot.analysis.curves import SELECTIONS
from fewshot.analysis.predictions import score_rows
from fewshot.data import evaluation_sets
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.errors import UserError

CELL = {"protocol": "fair", "task": "nli", "model": "opt-s"}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Return one pair of a study with one fine-tuned and one in-context run, written to disk."""
    monkeypatch.chdir(tmp_path)
    return simulate.write_pair(tmp_path)


def sets_of(pair):
    path = "results/data/{}/validation.parquet"
    return [
        evaluation_sets.read_set(item["set"], item["merge"], path.format(item["set"]))
        for item in pair["evaluation"]
    ]


def compute(pair, **options):
    cell = {name: pair[name] for name in ("protocol", "task", "model")}
    return metrics.compute_metrics(cell, pair["jobs"], sets_of(pair), **options).metrics


def folder(pair, method):
    return next(job["folder"] for job in pair["jobs"] if job["method"] == method)


def edit(path, change, schema):
    """Rewrite a Parquet file of a run with what `change` makes of its frame."""
    storage.write_table(path, change(storage.read_table(path)), schema)
    stored.seal_run(Path(path).parent)


def test_every_level_adds_up_to_the_whole(pair):
    frame = compute(pair)
    cell = frame[(frame["method"] == "ft") & (frame["seed"] == 1) & (frame["selection"] == "last")]
    hans = cell[cell["evaluation_set"] == "hans"]
    overall = hans[hans["group"].isna() & hans["label"].isna() & hans["subset"].isna()]
    assert overall["n"].tolist() == [240]
    for level, count in ((["label"], 2), (["group"], 3), (["group", "label"], 6)):
        part = hans[hans["subset"].isna()]
        for name in ("group", "label"):
            part = part[part[name].notna() if name in level else part[name].isna()]
        assert len(part) == count
        assert part["correct"].sum() == overall["correct"].item()
    subsets = hans[hans["subset"].notna() & hans["label"].isna()]
    assert len(subsets) == 30
    assert subsets["n"].eq(8).all()
    assert subsets["correct"].sum() == overall["correct"].item()


def test_in_context_runs_have_the_same_numbers_for_all_selections(pair):
    frame = compute(pair)
    frame = frame[frame["method"] == "icl"]
    last, best, oracle = (frame[frame["selection"] == name] for name in SELECTIONS)
    assert (frame["epoch"] == 0).all()
    assert last["correct"].tolist() == best["correct"].tolist() == oracle["correct"].tolist()


def test_every_epoch_has_its_training_loss(pair):
    frame = compute(pair)
    train = frame[(frame["domain"] == "train") & (frame["seed"] == 0)]
    assert train["epoch"].tolist() == [1, 2, 3]
    assert train["mean_logprob"].tolist() == [-1.5, -0.75, -0.375]
    assert train["accuracy"].isna().all()


def test_majority_is_the_share_of_the_most_frequent_label():
    rows = pd.DataFrame(
        {
            "id": [4, 2, 9, 7],
            "label": [1, 0, 1, 1],
            "group": ["a", "a", "b", None],
            "subset": None,
        }
    )
    item = EvaluationSet("set", (0, 1), rows)
    assert item.majority([])["majority"].item() == 0.75
    by_group = item.majority(["group"]).set_index("group")["majority"]
    assert by_group.to_dict() == {"": 1, "a": 0.5, "b": 1}


def test_three_labels_are_scored_on_a_set_with_two():
    rows = pd.DataFrame({"id": [1, 2, 3], "label": [1, 0, 1], "group": None, "subset": None})
    item = EvaluationSet("hans", (0, 1, 1), rows)
    words = [np.array([0, 5, 4.0]), np.array([1, 0, 0.0]), np.array([2, 0, 0.0])]
    block = {"id": np.array([1, 2, 3]), "label": np.array([1, 0, 1]), "ranks": words}
    scored = score_rows(block, item, "here")
    assert scored.predicted.tolist() == [1, 0, 0]
    assert scored.correct.tolist() == [True, True, False]


def test_a_log_probability_that_is_not_a_number_is_an_error():
    rows = pd.DataFrame({"id": [1], "label": [0], "group": None, "subset": None})
    words = [np.array([np.nan]), np.array([0.0])]
    block = {"id": np.array([1]), "label": np.array([0]), "ranks": words}
    with pytest.raises(UserError, match="here: a log-probability is not a number"):
        score_rows(block, EvaluationSet("nli", (0, 1), rows), "here")


def test_predictions_may_stand_in_any_order(pair):
    path = f"{folder(pair, 'ft')}/predictions.parquet"
    expected = compute(pair)
    edit(path, lambda frame: frame.iloc[::-1], schemas.predictions_schema(2))
    pd.testing.assert_frame_equal(compute(pair), expected)


def test_predictions_of_an_older_version_are_named(pair):
    path = f"{folder(pair, 'ft')}/predictions.parquet"
    storage.read_table(path).drop(columns="correct").to_parquet(path)
    stored.seal_run(Path(path).parent)
    with pytest.raises(UserError, match="no column 'correct'; written by another version"):
        compute(pair)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.iloc[1:], "119 predictions do not match the 120 prepared rows"),
        (lambda frame: pd.concat([frame, frame.iloc[[0]]]), "121 predictions do not match"),
        (lambda frame: frame.assign(id=frame["id"] + 1), "one to one"),
        (lambda frame: frame.assign(label=1 - frame["label"]), "gold labels differ"),
        (lambda frame: frame.assign(logprob_0=frame["logprob_1"] + 1), "differ from its curves"),
        (lambda frame: frame[frame["seed"] == 0], "seed 1, epoch 2, set 'hans' has no predictions"),
        (lambda frame: frame.assign(epoch=frame["epoch"] + 5), "is not in its curves"),
        (lambda frame: frame.assign(correct=~frame["correct"]), "column 'correct' differs from"),
        (lambda frame: frame.assign(last=True), "epoch 2, .*: column 'last' differs from"),
        (lambda frame: frame.assign(best=~frame["best"]), "column 'best' differs from"),
    ],
)
def test_broken_predictions_name_their_run(pair, change, message):
    path = f"{folder(pair, 'ft')}/predictions.parquet"
    edit(path, change, schemas.predictions_schema(2))
    with pytest.raises(UserError, match=message) as error:
        compute(pair)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame[frame["evaluation_set"] != "hans"], "lacks or repeats an evaluation"),
        (lambda frame: pd.concat([frame, frame.iloc[[0]]]), "lacks or repeats an evaluation"),
        (lambda frame: frame.assign(n=frame["n"] + 1), "not as prepared"),
        (lambda frame: frame[frame["seed"] == 0], "seeds \\[1\\] differ from its manifest"),
    ],
)
def test_broken_curves_name_their_run(pair, change, message):
    path = f"{folder(pair, 'ft')}/curves.parquet"
    edit(path, change, schemas.CURVES)
    with pytest.raises(UserError, match=message) as error:
        compute(pair)
    assert path in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predictions", "curves"])
def test_a_single_bit_that_changed_is_noticed(pair, name):
    path = Path(folder(pair, "ft"), f"{name}.parquet")
    whole = path.read_bytes()
    places = np.random.default_rng(0).integers(0, len(whole), 20)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(UserError, match=rf"{name}.parquet: it has changed since it was writ"):
            compute(pair)
    path.write_bytes(whole)
    compute(pair)


@pytest.mark.parametrize(("key", "value"), [("k", 32), ("task", "rte"), ("method", "lora")])
def test_the_run_of_another_cell_is_refused(pair, key, value):
    path = Path(folder(pair, "ft"), "manifest.json")
    storage.write_json(path, {**storage.read_json(path), key: value})
    with pytest.raises(UserError, match=f"{key} is {value}, not .*: the run of another cell"):
        compute(pair)


def test_a_manifest_without_checksums_is_refused(pair):
    path = Path(folder(pair, "ft"), "manifest.json")
    content = storage.read_json(path)
    del content["files"]
    storage.write_json(path, content)
    with pytest.raises(UserError, match="no checksums"):
        compute(pair)


def test_methods_are_compared_on_the_same_draws(pair):
    def draw(method, digest, kind="fair"):
        path = Path(folder(pair, method), "manifest.json")
        shots = {"0": "aa", "1": digest}
        content = storage.read_json(path)
        storage.write_json(path, {**content, "checksums": {"shots": shots, "draw": kind}})

    draw("ft", "bb")
    draw("icl", "bb")
    compute(pair)
    draw("icl", "cc")
    with pytest.raises(UserError, match="its shots of seed 1 are not those of"):
        compute(pair)
    # The published code draws otherwise for each of the two.
    draw("icl", "cc", "another kind")
    compute(pair)


def test_a_missing_run_is_an_error_unless_allowed(pair, tmp_path):
    (tmp_path / folder(pair, "ft") / "manifest.json").unlink()
    with pytest.raises(UserError, match="the run is incomplete"):
        compute(pair)
    frame = compute(pair, problems={})
    missing = frame[frame["method"] == "ft"]
    assert missing["status"].unique().tolist() == ["missing"]
    assert len(missing) == 2 * 3 * 2  # seeds, selections, evaluation sets
    assert missing["n"].eq(0).all()
    assert missing["accuracy"].isna().all()


def test_a_seed_that_is_not_in_the_manifest_is_an_error(pair):
    pair["jobs"][0]["seeds"] = [0, 1, 2]
    with pytest.raises(UserError, match="seed 2 is not in it"):
        compute(pair)


def test_cells_that_do_not_fit_have_no_rows_and_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate.write_prepared(tmp_path)
    task, model, method, k = simulate.UNFIT
    pair = next(p for p in simulate.pairs() if (p["task"], p["model"]) == (task, model))
    pair["jobs"] = [job for job in pair["jobs"] if (job["method"], job["k"]) == (method, k)]
    simulate.write_run(tmp_path, pair, pair["jobs"][0])
    frame = compute(pair)
    assert frame["status"].unique().tolist() == ["does not fit"]
    assert sorted(frame["seed"].unique()) == [0, 1, 2, 3, 4]
    # A run that was never made, of a cell that cannot fit, is not called missing.
    (tmp_path / pair["jobs"][0]["folder"] / "manifest.json").unlink()
    fit = pd.DataFrame([simulate.fit_row(pair, pair["jobs"][0], seed) for seed in range(5)])
    assert set(compute(pair, windows=fit, problems={})["status"]) == {"does not fit"}


def test_the_script_writes_the_schema(pair, tmp_path):
    fit = [simulate.fit_row(pair, job, seed) for job in pair["jobs"] for seed in job["seeds"]]
    storage.write_table("fit.parquet", pd.DataFrame(fit), schemas.WINDOWS)
    smk = SimpleNamespace(
        input=SimpleNamespace(
            evaluation=[
                f"results/data/{item['set']}/validation.parquet" for item in pair["evaluation"]
            ],
            windows="fit.parquet",
        ),
        output=SimpleNamespace(
            **{name: f"{name}.parquet" for name in ("metrics", "outcomes", "costs")}
        ),
        params=SimpleNamespace(**pair, best_epoch="in-domain"),
    )
    compute_metrics.main(smk)
    frame = storage.read_table("metrics.parquet")
    assert frame.columns.tolist() == result_schemas.METRICS.names
    assert set(frame["selection"]) == {*SELECTIONS, "each"}
    outcomes = storage.read_table("outcomes.parquet")
    assert outcomes.columns.tolist() == result_schemas.OUTCOMES.names
    # In context two seeds; fine-tuned two seeds with one or two kept epochs; two sets each.
    kept = frame[(frame["method"] == "ft") & frame["selection"].isin(SELECTIONS[:2])]
    epochs = len(kept.drop_duplicates(["seed", "epoch"]))
    assert len(outcomes) == 2 * (2 + epochs)
    costs = storage.read_table("costs.parquet")
    model = run_costs.flops_model(pair["size"], pair["evaluation"])
    expected = run_costs.compute_costs(CELL, pair["jobs"], model)
    assert len(costs) == 4 and costs["seed"].tolist() == expected["seed"].tolist()
    assert costs["flops_uncached"].tolist() == expected["flops_uncached"].tolist()
