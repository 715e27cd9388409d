"""Predictions, counts and manifests, against numbers worked out by hand."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.adaptation import outputs
from fewshot.analysis.predictions import score_rows
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.errors import UserError
from fewshot.runtime.placement import Placement
from fewshot.runtime.resume import FinishedSeed
from fewshot.scoring.score import Scores
from tiny import tiny_model

CELL = {"protocol": "fair", "task": "nli", "model": "m", "method": "icl", "pattern": "minimal"}
CELL["k"] = 2
ROWS = pd.DataFrame(
    {
        "id": [7, 3, 9, 4],
        "label": np.array([0, 1, 1, 0], dtype=np.int16),
        "group": ["a", "a", None, "a"],
        "subset": ["s", "t", None, "s"],
    }
)
PROBABILITIES = np.array([[0.5, 0.2, 0.1], [0.6, 0.1, 0.2], [0.1, 0.1, 0.4], [0.1, 0.1, 0.3]])
SCORES = Scores(
    np.log(PROBABILITIES).astype(np.float32),
    np.array([1, 2, 3, 4], dtype=np.float32),
    np.array([True, True, False, True]),
    np.full((4, 3), 2, dtype=np.int16),
    "plain",
    40,
)
MERGE = (0, 1, 1)
NAMES = ("entailed", "not entailed")
HANS = EvaluationSet("hans", MERGE, ROWS, label_names=NAMES)
PER_ROW = ("logprobs", "logsumexp", "argmax_is_label", "tokens")


def with_nan(row: int) -> Scores:
    logprobs = SCORES.logprobs.copy()
    logprobs[row, 1] = np.nan
    return dataclasses.replace(SCORES, logprobs=logprobs)


def test_a_prediction_per_row_in_the_rows_order():
    frame = outputs.mark_epochs(outputs.prediction_frame(CELL, 3, 1, HANS, SCORES), 2, 1)
    assert set(frame.columns) == set(schemas.predictions_schema(3).names)
    assert frame["id"].tolist() == [7, 3, 9, 4] and frame["label"].tolist() == [0, 1, 1, 0]
    assert frame["logprob_2"].tolist() == SCORES.logprobs[:, 2].tolist()
    assert set(frame["seed"]) == {3} and set(frame["epoch"]) == {1} and set(frame["k"]) == {2}
    assert frame["argmax_is_label"].tolist() == [True, True, False, True]
    assert not frame["last"].any() and frame["best"].all()


def test_predictions_tell_labels_by_name_and_whether_they_are_right():
    """Words 1 and 2 both count as label 1: predictions are 0, 0, 1, 1 for gold 0, 1, 1, 0."""
    frame = outputs.prediction_frame(CELL, 3, 1, HANS, SCORES)
    yes, no = NAMES
    assert frame["gold"].tolist() == [yes, no, no, yes]
    assert frame["predicted"].tolist() == [yes, yes, no, no]
    assert frame["correct"].tolist() == [True, False, True, False]


def test_counts_with_merged_labels():
    """Words 1 and 2 both count as label 1; predictions are 0, 0, 1, 1 for gold 0, 1, 1, 0."""
    frame = outputs.curve_frame(CELL, 3, 1, HANS, SCORES)
    assert list(frame.columns) == schemas.CURVES.names
    found = {
        (row.group, row.subset, row.label): (row.n, row.correct, row.correct_vocabulary)
        for row in frame.fillna("").itertuples()
    }
    assert found == {("a", "s", 0): (2, 1, 1), ("a", "t", 1): (1, 0, 0), ("", "", 1): (1, 1, 0)}
    means = {row.subset: row.mean_logprob for row in frame.fillna("").itertuples()}
    assert means["s"] == pytest.approx((np.log(0.5) + np.log(0.1)) / 2, abs=1e-6)
    assert means["t"] == pytest.approx(np.log(0.1 + 0.2), abs=1e-6)
    assert means[""] == pytest.approx(np.log(0.1 + 0.4), abs=1e-6)


def test_counts_of_a_sample_say_so():
    rows, part = ROWS.iloc[[0, 2]], {name: getattr(SCORES, name)[[0, 2]] for name in PER_ROW}
    scores = dataclasses.replace(SCORES, **part)
    frame = outputs.curve_frame(
        CELL, 3, 1, dataclasses.replace(HANS, rows=rows), scores, sampled=True
    )
    assert frame["sampled"].all() and frame["n"].tolist() == [1, 1]
    whole = outputs.curve_frame(CELL, 3, 1, HANS, SCORES)
    assert not whole["sampled"].any()
    # Rows 7 and 9 are right, and only they are counted.
    assert frame["correct"].tolist() == [1, 1]


def test_ties_are_resolved_as_by_whoever_reads_the_predictions():
    tied = dataclasses.replace(SCORES, logprobs=np.log(np.full((4, 3), 0.25, dtype=np.float32)))
    frame = outputs.curve_frame(CELL, 0, 0, HANS, tied)
    stored = outputs.prediction_frame(CELL, 0, 0, HANS, tied)
    ranks = [stored[f"logprob_{i}"].to_numpy() for i in range(3)]
    block = {"id": stored["id"].to_numpy(), "label": stored["label"].to_numpy(), "ranks": ranks}
    assert frame["correct"].sum() == score_rows(block, HANS, "here").correct.sum()


@pytest.mark.parametrize("function", ["prediction_frame", "curve_frame"])
def test_a_score_that_is_no_number_is_named(function):
    with pytest.raises(
        UserError, match=r"fair/nli/m/icl/minimal/2: seed 3, set 'hans', row with id 9: "
    ):
        getattr(outputs, function)(CELL, 3, 1, HANS, with_nan(2))


def make_job(folder: Path, status: dict[int, str]) -> SimpleNamespace:
    names = ("predictions.parquet", "curves.parquet", "manifest.json")
    paths = {Path(name).stem: str(folder / name) for name in names}
    return SimpleNamespace(
        name="job", cell=CELL, seeds=tuple(status), status=status, labels=("a", "b", "c"),
        evaluation=(HANS,), settings={"family": "in_context"},
        batch_tokens=64, placement=Placement(), code="c", threads=1,
        processes=SimpleNamespace(size=1), predicted_gpu_mb=2000,
        pattern=SimpleNamespace(rank_by="mean", characters=()), model={"dtype": "float32"},
        checksums={"model": "x"}, output=SimpleNamespace(**paths), elsewhere=None,
    )  # fmt: skip


def make_seed(seed: int, epochs=(0,), rows=ROWS) -> FinishedSeed:
    n, item = len(rows), EvaluationSet("hans", MERGE, rows, label_names=NAMES)
    scores = Scores(*(getattr(SCORES, name)[:n] for name in PER_ROW), "plain", 40)
    frames = {
        "predictions": outputs.mark_epochs(
            pd.concat([outputs.prediction_frame(CELL, seed, e, item, scores) for e in epochs]),
            *(max(epochs), min(epochs)),
        ),
        "curves": pd.concat([outputs.curve_frame(CELL, seed, e, item, scores) for e in epochs]),
    }
    facts = {"device": "cpu: x", "parameters": {"total": 5}, "peak_memory_mib": 10.0 + seed}
    facts["route"] = {"hans": "plain"}
    return FinishedSeed(frames, {"facts": facts, "seconds": {"score": 1.5, "load": 0.25}}, {})


def test_a_run_is_written_with_its_manifest(tmp_path):
    job = make_job(tmp_path, {0: "ok", 1: "does not fit", 2: "ok"})
    outputs.write_run(job, {0: make_seed(0), 2: make_seed(2)})
    predictions = storage.read_table(job.output.predictions)
    assert predictions["seed"].tolist() == [0] * 4 + [2] * 4
    assert len(storage.read_table(job.output.curves)) == 6
    content = json.loads(Path(job.output.manifest).read_text())
    assert {seed: entry["status"] for seed, entry in content["seeds"].items()} == {
        "0": "ok", "1": "does not fit", "2": "ok",
    }  # fmt: skip
    assert content["seconds"] == {"score": 3.0, "load": 0.5}
    assert content["peak_memory_mib"] == 12.0 and content["k"] == 2
    assert content["seeds"]["0"]["route"] == {"hans": "plain"}
    assert "torch" in content["packages"] and content["parameters"] == {"total": 5}


@pytest.mark.parametrize("kind", ["missing", "twice"])
def test_every_row_has_exactly_one_prediction_or_nothing_is_written(tmp_path, kind):
    seed = make_seed(0, rows=ROWS.iloc[:3]) if kind == "missing" else make_seed(0, epochs=(1, 1))
    job = make_job(tmp_path, {0: "ok"})
    with pytest.raises(ValueError, match=r"job: seed 0, epoch ., set 'hans': . predictions for 4"):
        outputs.write_run(job, {0: seed})
    assert not list(tmp_path.iterdir())


def test_phases_add_up(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 13.0])
    monkeypatch.setattr(outputs.time, "perf_counter", lambda: next(clock))
    phases = outputs.Phases()
    for _ in range(2):
        with phases.measure("score"):
            pass
    assert phases.seconds == {"score": 5.0}


def test_a_model_is_described():
    model = tiny_model()
    name = "model.decoder.layers.0.fc1.bias"
    facts = outputs.process_facts(model, [name])
    assert facts["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert facts["parameters"]["trainable"] == 64
    assert facts["parameters"]["modules"] == ["model.decoder.layers.0.fc1"]
    assert facts["device"].startswith("cpu") and facts["peak_memory_mib"] > 50
