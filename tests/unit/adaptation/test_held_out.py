"""Held-out scores of the shots, from a job's input files to its outputs."""

import json
from dataclasses import replace
from pathlib import Path

import cross_validate
import numpy as np
import pandas as pd
import pytest
import torch
from fewshot import schemas, storage
from fewshot.adaptation import held_out, held_out_in_context, training, weights
from fewshot.adaptation.job import read_job
from fewshot.adaptation.setup import load_setup, set_up_from
from fewshot.analysis.held_out import read_held_out
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.data.folds import folds_of
from fewshot.errors import UserError
from fewshot.models.parts import trained_parameters
from fewshot.prompts.patterns import best_words
from fewshot.runtime.stop import Stop
from job_files import PATTERN, some_rows, write_job
from seed_runs import StopAfter
from tiny import TARGETS, tiny_model, tiny_tokenizer

K = 8
LORA = {"family": "lora", "targets": TARGETS["opt"], "dropout": 0.1, "learning_rate": 0.05}


def a_job(folder, how=4, seeds=(0, 1), unfit=(), **settings):
    smk = write_job(folder, k=K, seeds=seeds, unfit=unfit, **settings)
    smk.params.cross_validation = how
    smk.params.trains = settings["family"] != "in_context"
    del smk.output.adapters
    return smk


def run(smk):
    cross_validate.main(smk)
    frames = [storage.read_table(path) for path in (smk.output.predictions, smk.output.curves)]
    return *frames, json.loads(Path(smk.output.manifest).read_text())


def shots_of(smk, seed):
    draw = storage.read_table(smk.input.shots[seed])
    return some_rows(60, "train").set_index("id", drop=False).loc[draw["id"]].reset_index(drop=True)


@pytest.mark.parametrize("how", [4, "prequential"])
def test_in_context_each_shot_is_scored_behind_the_others_of_its_fold(tmp_path, how):
    smk = a_job(tmp_path / "in", how, family="in_context")
    predictions, curves, manifest = run(smk)
    tokenizer, model = tiny_tokenizer(), tiny_model()
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    for seed in (0, 1):
        shots, expected, read = shots_of(smk, seed), {}, []
        for fold in folds_of(shots, how, 2, "task", seed):
            context = "".join(
                f"{row.text_a} {row.text_b} ?{PATTERN.words[row.label]}\n\n"
                for row in shots.iloc[fold.learned].itertuples()
            )
            whole = [f"{context}{text} {text} ?" for text in PATTERN.content_free()]
            read.append(sum(map(len, tokenizer(whole)["input_ids"])))
            for place in fold.held_out:
                row = shots.loc[place]
                ids = tokenizer(f"{context}{row.text_a} {row.text_b} ?", return_tensors="pt")
                with torch.no_grad():
                    logits = model(ids["input_ids"]).logits[0, -1]
                expected[place] = torch.log_softmax(logits, -1)[words].numpy()
        found = predictions[predictions["seed"] == seed]
        places = sorted(expected)
        assert found["id"].tolist() == shots["id"][places].tolist(), "in the draw's order"
        assert found["label"].tolist() == shots["label"][places].tolist()
        np.testing.assert_allclose(
            found[["logprob_0", "logprob_1"]], [expected[place] for place in places], atol=1e-5
        )
        folds = manifest["seeds"][str(seed)]["folds"]
        assert sum(fold["scoring"]["held out"]["rows"] for fold in folds) == len(places)
        assert all(set(fold["content_free"]) == {"0"} for fold in folds)
        without = [fold["content_free_scoring"]["0"] for fold in folds]
        assert [each["own_tokens"] + 3 * each["shared_tokens"] for each in without] == read
        assert sorted(place for fold in folds for place in fold["held_out"]) == places
        counted = curves[curves["seed"] == seed]
        assert counted["n"].sum() == len(places) and set(counted["epoch"]) == {0}
    assert set(predictions["evaluation_set"]) == {"held out"}
    assert manifest["settings"]["cross_validation"] == how


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "seeds", "stacks"),
    [
        (4, (1,), [[f"1.fold{number}" for number in range(4)]]),
        # The first folds learn from two rows, the second ones from four.
        pytest.param(
            *("prequential", (0, 1), [["0.fold0", "1.fold0"], ["0.fold1", "1.fold1"]]),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_trained_each_fold_is_a_training_of_its_own_on_the_other_rows(tmp_path, how, seeds, stacks):
    smk = a_job(tmp_path / "in", how, seeds, **LORA)
    predictions, curves, manifest = run(smk)
    job = replace(read_job(smk), evaluation=())
    setup = load_setup(job)
    for seed, facts in ((seed, manifest["seeds"][str(seed)]) for seed in job.seeds):
        shots, loss = job.shots[seed], dict.fromkeys((1, 2, 3), 0.0)
        folds = folds_of(shots, how, 2, "task", seed)
        for number, (fold, told) in enumerate(zip(folds, facts["folds"], strict=True)):
            assert told["together"] in stacks and f"{seed}.fold{number}" in told["together"]
            held, learned = (
                shots.iloc[places].reset_index(drop=True)
                for places in (fold.held_out, fold.learned)
            )
            own = EvaluationSet("task", (0, 1), held, label_names=job.labels)
            part = replace(job, shots={seed: learned}, evaluation=(own,))
            alone = training.train_seed(set_up_from(part, setup.origin), seed, tmp_path / "alone")
            last = alone.predictions[alone.predictions["epoch"] == 3]
            found = predictions[(predictions["epoch"] == 3) & (predictions["seed"] == seed)]
            found = found[found["id"].isin(held["id"])]
            columns = ["id", "label", "logprob_0", "logprob_1", "logsumexp"]
            pd.testing.assert_frame_equal(
                found[columns].reset_index(drop=True), last[columns].reset_index(drop=True),
                check_dtype=False, rtol=0, atol=1e-4,
            )  # fmt: skip
            assert found["predicted"].tolist() == last["predicted"].tolist()
            trained = alone.curves[alone.curves["evaluation_set"] == "train"]
            for row in trained.itertuples():
                loss[row.epoch] += row.mean_logprob * row.n
        own = curves[(curves["seed"] == seed) & (curves["evaluation_set"] == "train")]
        means = own.set_index("epoch")["mean_logprob"]
        rows = sum(len(fold.learned) for fold in folds)
        np.testing.assert_allclose(means, pd.Series(loss) / rows, rtol=0, atol=1e-5)
        sizes = [len(fold.learned) for fold in folds]
        assert [fold["training"]["rows"] for fold in facts["folds"]] == sizes
        without = [fold["content_free_scoring"] for fold in facts["folds"]]
        counts = [{epoch: each["rows"] for epoch, each in of_fold.items()} for of_fold in without]
        assert counts == [{"3": 3}] * len(folds)
        steps = [3 * -(-size // 4) for size in sizes]
        assert [fold["steps"] for fold in facts["folds"]] == steps, "3 epochs"
        assert facts["seconds"]["train"] > 0
    assert manifest["parameters"]["trainable"] > 0


@pytest.mark.slow
def test_every_epoch_of_the_curve_is_kept_and_counted_over_all_folds(tmp_path, monkeypatch):
    # No weights are taken, to which no one returns.
    monkeypatch.delattr(weights, "take_weights")
    predictions, curves, _ = run(a_job(tmp_path / "in", seeds=(0,), **LORA))
    assert predictions.groupby("epoch").size().to_dict() == {1: K, 2: K, 3: K}
    right = curves[curves["evaluation_set"] == "held out"].groupby("epoch")["correct"].sum()
    assert len(set(right)) > 1 and set(predictions.query("best")["epoch"]) == {right.idxmax()}
    assert set(predictions.query("last")["epoch"]) == {3}
    for epoch, part in predictions.groupby("epoch"):
        words = part[["logprob_0", "logprob_1"]].to_numpy(dtype=np.float64)
        gold, ids = part["label"].to_numpy(), part["id"].to_numpy()
        counted = curves[(curves["epoch"] == epoch) & (curves["evaluation_set"] == "held out")]
        for row in counted.itertuples():
            mine = gold == row.label
            right = best_words(list(words.T), ids) == gold
            assert (row.n, row.correct) == (mine.sum(), (right & mine).sum())
            assert row.mean_logprob == pytest.approx(words[mine, int(row.label)].mean())
        assert counted["n"].sum() == K
        train = curves[(curves["epoch"] == epoch) & (curves["evaluation_set"] == "train")]
        assert train["n"].tolist() == [4 * 6], "six rows in each of four folds"


def files(smk) -> list[bytes]:
    return [Path(path).read_bytes() for path in (smk.output.predictions, smk.output.curves)]


@pytest.mark.slow
def test_a_job_in_context_that_was_killed_ends_in_the_same_bytes(tmp_path, monkeypatch):
    """What is finished is not done again."""
    monkeypatch.chdir(tmp_path)
    whole, parts = (a_job(tmp_path / name, 2, family="in_context") for name in ("whole", "parts"))
    cross_validate.main(whole)
    begin, begun = held_out.seed_folds, []

    def once(job, seed):
        begun.append(seed)
        if begun.count(1) == 2:  # The first time they were checked.
            raise KeyboardInterrupt
        return begin(job, seed)

    monkeypatch.setattr(held_out, "seed_folds", once)
    with pytest.raises(KeyboardInterrupt):
        cross_validate.main(parts)
    assert list(Path("results/state").glob("*/seed0"))
    monkeypatch.setattr(held_out, "seed_folds", begin)
    cross_validate.main(parts)
    assert files(parts) == files(whole)
    assert not list(Path("results/state").iterdir())


def three_stacks(folder):
    """Return a job of two seeds and three folds of each, of which a pass holds whole batches of
    two: two learn from five rows, and the third, which is trained beside the other seed's, from
    six."""
    smk = a_job(folder, 3, **LORA)
    smk.params.batch_tokens = {"cpu": 2 * 4 * 9, "gpu": 2 * 4 * 9}
    return smk


STACKS = ["0.fold0", "0.fold1"], ["1.fold0", "1.fold1"], ["0.fold2", "1.fold2"]


@pytest.mark.slow
def test_an_interrupted_job_ends_in_the_same_bytes(tmp_path, monkeypatch):
    """Told to end in each stack: in training, in scoring, and once a fold is finished."""
    monkeypatch.chdir(tmp_path)
    whole, parts = three_stacks(tmp_path / "whole"), three_stacks(tmp_path / "parts")
    cross_validate.main(whole)
    state, agreed = Path("results/state"), Stop.agreed
    expected = [
        (6, [], "seeds0.fold0-0.fold1.step4"),
        (9, ["0.fold0"], "seeds0.fold0-0.fold1.step6"),
        (9, ["0.fold0", "0.fold1"], "seeds1.fold0-1.fold1.step4"),
        (21, ["0.fold0", "0.fold1", "1.fold0", "1.fold1"], "seeds0.fold2-1.fold2.step6"),
    ]
    for looks, finished, checkpoint in expected:
        monkeypatch.setattr(Stop, "agreed", StopAfter(looks).agreed)
        with pytest.raises(SystemExit):
            cross_validate.main(parts)
        left = {path.name for path in state.glob("*/seed*")}
        assert left == {checkpoint, *(f"seed{name}" for name in finished)}
        assert not Path(parts.output.manifest).exists()
    monkeypatch.setattr(Stop, "agreed", agreed)
    cross_validate.main(parts)
    assert files(parts) == files(whole)
    assert not list(state.iterdir())


def started(monkeypatch, until=None) -> list[list[str]]:
    """Return a list of the stacks that are started from now on, by the names of their members; one
    with the name `until` ends the process."""
    start, stacks = training.start_stack, []

    def noted(members, *given):
        names = [member.name for member in members]
        if until in names:
            raise KeyboardInterrupt
        stacks.append(names)
        return start(members, *given)

    monkeypatch.setattr(training, "start_stack", noted)
    return stacks


@pytest.mark.slow
def test_a_finished_fold_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, parts = three_stacks(tmp_path / "whole"), three_stacks(tmp_path / "parts")
    every = started(monkeypatch)
    cross_validate.main(whole)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    before = started(monkeypatch, "0.fold2")
    with pytest.raises(KeyboardInterrupt):
        cross_validate.main(parts)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    stored = {path.name for path in Path("results/state").glob("*/seed*")}
    assert stored == {f"seed{name}" for stack in STACKS[:2] for name in stack}
    after = started(monkeypatch)
    cross_validate.main(parts)
    assert (every, before, after) == ([*STACKS], [*STACKS[:2]], [*STACKS[2:]])
    assert files(parts) == files(whole)
    facts = [storage.read_json(smk.output.manifest)["seeds"]["1"] for smk in (whole, parts)]
    assert facts[0]["folds"] == facts[1]["folds"]


@pytest.mark.slow
def test_a_fold_whose_loss_is_not_finite_ends_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, parts = three_stacks(tmp_path / "whole"), three_stacks(tmp_path / "parts")
    cross_validate.main(whole)
    update = training._update

    def spoil(run, *given):
        update(run, *given)
        if run.name == "0.fold1" and run.progress.step == 1:
            with torch.no_grad():
                next(iter(trained_parameters(run.engine.trainable).values())).fill_(float("nan"))

    monkeypatch.setattr(training, "_update", spoil)
    with pytest.raises(UserError, match=r"seed 0\.fold1: the loss is nan at epoch 1, step 2"):
        cross_validate.main(parts)
    assert [path.name for path in Path("results/state").glob("*/seed*")] == ["seed0.fold0"]
    monkeypatch.setattr(training, "_update", update)
    cross_validate.main(parts)
    assert files(parts) == files(whole), "what was stored is what it is beside others that go on"


def test_a_seed_that_does_not_fit_has_no_scores(tmp_path):
    predictions, _, manifest = run(a_job(tmp_path / "in", unfit=(1,), family="in_context"))
    assert set(predictions["seed"]) == {0}
    assert manifest["seeds"]["1"] == {"status": "does not fit"}


@pytest.mark.slow
def test_a_seed_of_which_a_fold_does_not_fit_has_no_scores(tmp_path):
    """Contexts of two shots: with the second held out, the first stands beside the third."""
    settings = {"family": "ensemble", "shown": 2}
    smk = a_job(tmp_path / "in", "leave-one-out", **settings)
    draws = [storage.read_table(path)["id"] for path in smk.input.shots]
    long = draws[0].iloc[[0, 2]]
    assert not {*long} <= {*draws[1]}
    rows = storage.read_table(smk.input.train)
    rows.loc[rows["id"].isin(long), "text_a"] = "some " * 60
    storage.write_table(smk.input.train, rows, schemas.ROWS)
    smk.params.trains = False
    assert set(read_job(smk, uses_context=True).status.values()) == {"ok"}
    predictions, _, manifest = run(smk)
    assert set(predictions["seed"]) == {1}
    assert manifest["seeds"]["0"] == {"status": "does not fit"}
    assert read_held_out(Path(smk.output.manifest).parent).keys() == {1}


def test_a_lost_prediction_is_an_error(tmp_path):
    smk = a_job(tmp_path / "in", seeds=(0,), family="in_context")
    settings = {"cross_validation": 4, "family": "in_context"}
    job = replace(read_job(smk, uses_context=True), evaluation=(), settings=settings)
    folds, facts = held_out.seed_folds(job, 0), dict.fromkeys(held_out.OF_PROCESS, 1)
    whole = held_out_in_context.start_in_context(job)(0)
    less = replace(whole, predictions=whole.predictions.iloc[:1], facts=facts)
    with pytest.raises(ValueError, match="cell: 1 predictions for 2 held-out rows"):
        held_out.together([less] * 4, folds, "cell")
