"""A seed that is interrupted anywhere and started again ends in the same bytes."""

import gc
import json
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fewshot import checkpoints, interrupts, placement, preparation, records, training
from fewshot.errors import UserError
from fewshot.interrupts import Interrupted, Stop
from fewshot.placement import Placement, easier
from fewshot.world import World
from test_training import a_job
from tiny import TARGETS, tiny_model, tiny_tokenizer

PLACEMENTS = {
    "plain": (Placement(), "float32"),
    "pieces": (Placement(micro_tokens=16), "float32"),
    "recomputed": (Placement(checkpointing=True), "float32"),
    "stage 1": (Placement(1), "float32"),
    "stage 2, half": (Placement(2), "bfloat16"),
    "stage 3": (Placement(3), "float32"),
    "optimizer on the host": (Placement(2, "optimizer"), "float32"),
    "all on the host": (Placement(3, "parameters", checkpointing=True), "float32"),
}


class StopAfter(Stop):
    """A process that is told to end at its n-th look, between steps and within scoring."""

    def __init__(self, looks: int):
        super().__init__()
        self.looks = looks

    def agreed(self, world: World) -> bool:
        self.looks -= 1
        return self.looks < 0


def set_up(kind: str, job, dropout: float = 0.1):
    def source():
        return tiny_model(kind, dropout).to(getattr(torch, job.model["dtype"]))

    torch.set_num_threads(1)
    return preparation.set_up(job, source, tiny_tokenizer(kind))


def outcome(result) -> list[bytes]:
    """Return the bytes of what a job stores of a seed: curves, predictions, weights."""
    for number, write in enumerate(result.files.values()):
        write(Path(f"weights{number}"))
    records.write_table("curves", result.curves, records.CURVES)
    records.write_table("predictions", result.predictions, records.predictions_schema(2))
    assert result.files
    return [Path(name).read_bytes() for name in ("curves", "predictions", "weights0")]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_an_interrupted_seed_ends_in_the_same_bytes(tmp_path, name):
    """Stopped between steps, after an epoch, within scoring, and in the end: with dropout."""
    place, dtype = PLACEMENTS[name]
    job = a_job(place, dtype=dtype, family="lora", targets=TARGETS["opt"], epochs=4)
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    expected = outcome(whole)
    assert whole.facts["resumed_after_steps"] == []
    made, resumed = set_up("opt", job), []
    for looks in (2, 4, 9, 5):
        with pytest.raises(Interrupted):
            training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(looks))
        (folder,) = (tmp_path / "parts").glob("seed0.step*")
        resumed.append(int(folder.name.rpartition("step")[2]))
    assert resumed == sorted(resumed) and 0 < resumed[0] < resumed[-1] <= 12
    result = training.train_seed(made, 0, tmp_path / "parts")
    assert result.facts["resumed_after_steps"] == sorted(set(resumed))
    assert outcome(result) == expected


def test_the_best_epoch_survives_an_interruption(tmp_path):
    """Its weights are part of the checkpoint; here the last epochs ruin the model."""
    settings = {"curve_rows": 8, "learning_rate": 0.05, "epochs": 6}
    job = a_job(**settings)
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    best = set(whole.predictions["epoch"]) - {6}
    assert len(best) == 1
    made = set_up("opt", job)
    with pytest.raises(Interrupted):
        training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(27))
    (folder,) = (tmp_path / "parts").glob("seed0.step*")
    assert (folder / "best.pt").exists()
    assert outcome(training.train_seed(made, 0, tmp_path / "parts")) == outcome(whole)


def test_only_the_newest_whole_checkpoint_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    monkeypatch.setattr(checkpoints, "RATE", 1e15)
    monkeypatch.setattr(training, "_remaining", lambda run: 1e9)
    job = a_job(epochs=3)
    expected = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    folder, written = tmp_path / "parts", []
    save = training.progress.save

    def failing(progress, *rest):
        if len(written) == 2:
            raise OSError("disk full")
        written.append(progress.step)
        save(progress, *rest)

    monkeypatch.setattr(training.progress, "save", failing)
    with pytest.raises(OSError, match="disk full"):
        training.train_seed(set_up("opt", job), 0, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["seed0.step6", "seed0.step9.partial"] and written == [3, 6]
    monkeypatch.setattr(training.progress, "save", save)
    result = training.train_seed(set_up("opt", job), 0, folder)
    assert result.facts["resumed_after_steps"] == [6]
    assert outcome(result) == expected


def test_another_placement_starts_the_seed_again(tmp_path):
    """It rounds otherwise, so that the result would belong to neither."""
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", a_job()), 0, tmp_path, stop=StopAfter(4))
    pieces = a_job(Placement(micro_tokens=16))
    result = training.train_seed(set_up("opt", pieces), 0, tmp_path)
    assert result.facts["resumed_after_steps"] == []
    alone = training.train_seed(set_up("opt", pieces), 0, tmp_path / "alone")
    pd.testing.assert_frame_equal(result.curves, alone.curves)


def test_what_takes_longer_to_write_than_to_repeat_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "RATE", 1.0)
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", a_job()), 0, tmp_path, stop=StopAfter(4))
    assert list(tmp_path.glob("seed0.*")) == []


def test_checkpoints_are_due_where_they_save_time(tmp_path, monkeypatch):
    kept = checkpoints.Checkpoints(tmp_path, 0, World(), lambda: None)
    kept.expect(4e9)
    assert kept.cost == pytest.approx(20.0)
    now = checkpoints.time.monotonic()
    cases = [(10, 1e6, False), (500, 15, False), (399, 1e6, False), (401, 21, True)]
    for since, remaining, due in cases:
        monkeypatch.setattr(checkpoints.time, "monotonic", lambda since=since: now + since)
        assert kept.due(remaining) == due


def test_a_checkpoint_is_not_written_to_a_state_that_was_lost(tmp_path):
    def lost():
        raise UserError("lost to another process")

    kept = checkpoints.Checkpoints(tmp_path, 0, World(), lost)
    with pytest.raises(UserError, match="lost"), kept.writing(3) as folder:
        (folder / "progress.json").write_text(json.dumps({}))
    assert kept.latest() is None


def run_out(monkeypatch, limit: int) -> None:
    """Let memory run out where more than `limit` tokens are trained at once."""
    losses = training._losses

    def scarce(run, piece):
        longest = int(run.rows.lengths[piece.rows].max())
        if len(piece.rows) * longest > limit and not run.placement.checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return losses(run, piece)

    monkeypatch.setattr(training, "_losses", scarce)


def test_a_seed_that_runs_out_of_memory_starts_again_with_less(tmp_path, monkeypatch, caplog):
    job = a_job(Placement(micro_tokens=256))
    expected = training.train_seed(set_up("opt", job, 0.0), 0, tmp_path / "whole")
    run_out(monkeypatch, 20)
    result = training.train_seed(set_up("opt", job, 0.0), 0, tmp_path)
    assert result.facts["shortages"] == 1 and result.facts["placement"]["micro_tokens"] == 18
    assert "seed 0: memory ran out; it starts again with what needs less" in caplog.text
    found, wanted = (
        each.curves.loc[each.curves["evaluation_set"] == "train", "mean_logprob"]
        for each in (result, expected)
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    run_out(monkeypatch, 2)
    result = training.train_seed(set_up("opt", job, 0.0), 0, tmp_path)
    assert result.facts["placement"]["checkpointing"] and result.facts["shortages"] == 3


def test_memory_that_cannot_be_helped_ends_the_job_with_what_was_tried(tmp_path, monkeypatch):
    def none(run, piece):
        raise MemoryError

    monkeypatch.setattr(training, "_losses", none)
    told = "memory ran out on a row of 9 tokens with ZeRO stage 0, 9 tokens at once, activations re"
    with pytest.raises(UserError, match=told):
        training.train_seed(set_up("opt", a_job()), 0, tmp_path)


def test_of_several_processes_all_start_anew(tmp_path, monkeypatch):
    """They wait for each other: the launcher starts them again, told how often this was."""
    setup = set_up("opt", a_job(world=World(1, 2)))

    def scarce(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "begin", scarce)
    monkeypatch.setattr(training, "_shortages_before", lambda _: 0)
    monkeypatch.setenv(placement.MARK, str(tmp_path / "mark"))
    with pytest.raises(SystemExit) as ended:
        training.train_seed(setup, 0, tmp_path)
    assert ended.value.code == placement.SHORT and (tmp_path / "mark").exists()
    monkeypatch.undo()
    monkeypatch.setenv(placement.SHORTAGES, "2")
    again = training.train_seed(set_up("opt", a_job()), 0, tmp_path)
    assert again.facts["shortages"] == 2 and again.facts["placement"]["micro_tokens"] == 9


def test_each_shortage_gives_up_what_costs_least():
    place, steps = Placement(micro_tokens=1000), []
    while (place := easier(place, 300, 1, gpu=True)) is not None:
        steps.append(place)
    assert steps == [
        Placement(micro_tokens=500),
        Placement(micro_tokens=300),
        Placement(micro_tokens=300, checkpointing=True),
        Placement(2, "optimizer", 300, True),
        Placement(3, "parameters", 300, True),
    ]
    shared = easier(Placement(1, "none", 300, True), 300, 4, gpu=True)
    assert shared == Placement(2, "none", 300, True)
    assert easier(Placement(3, "none", 300, True), 300, 4, gpu=True).offload == "optimizer"
    assert easier(Placement(micro_tokens=300), 300, 1, gpu=False, recomputes=False) is None


def test_being_told_to_end_is_noted():
    stop = Stop()
    with stop.watched():
        stop.check(World())
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested and interrupts.STATUS == 143
    with pytest.raises(Interrupted):
        stop.check(World())


def test_told_to_end_twice_at_one_step(tmp_path):
    """Within the scoring that follows it: nothing was trained since the checkpoint."""
    job = a_job(epochs=2)
    expected = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    for looks in (4, 1, 2):
        with pytest.raises(Interrupted):
            training.train_seed(set_up("opt", job), 0, tmp_path / "parts", stop=StopAfter(looks))
        assert [path.name for path in (tmp_path / "parts").iterdir()] == ["seed0.step3"]
    assert outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "parts")) == expected


def test_a_checkpoint_made_after_a_shortage_is_gone_on_from(tmp_path, monkeypatch):
    run_out(monkeypatch, 20)
    job = a_job(Placement(micro_tokens=256))
    expected = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", job), 0, tmp_path / "parts", stop=StopAfter(4))
    result = training.train_seed(set_up("opt", job), 0, tmp_path / "parts")
    assert result.facts["resumed_after_steps"] == [3] and result.facts["shortages"] == 1
    assert outcome(result) == outcome(expected)


def test_counts_do_not_depend_on_interruptions(tmp_path):
    job = a_job(epochs=2)
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", job), 0, tmp_path, stop=StopAfter(5))
    result = training.train_seed(set_up("opt", job), 0, tmp_path)
    assert result.facts["scored_rows"] == whole.facts["scored_rows"] >= 2 * 35


def test_a_checkpoint_is_worth_while_before_all_rows_are_scored(tmp_path):
    setup = set_up("opt", a_job(epochs=2, curve_rows=8))
    run = preparation.begin(
        setup, 0, 0, training.outputs.Phases(), Stop(), checkpoints.Checkpoints(
            tmp_path, 0, World(), lambda: None
        )
    )  # fmt: skip
    run.phases.seconds |= {"train": 30.0, "curve": 8.0}
    run.progress.epoch, run.progress.scored = 3, 16
    run.progress.best_state = {}
    assert training._remaining(run) == pytest.approx(8.0 / 16 * 35 * 2)
    run.progress.best_state, run.progress.epoch = None, 2
    assert training._remaining(run) == pytest.approx(38.0 + 8.0 / 16 * 35)


def live_bytes() -> int:
    """Return the bytes of all tensors that somebody holds."""
    gc.collect()
    found = {}
    for each in gc.get_objects():
        if issubclass(type(each), torch.Tensor):
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


@pytest.mark.parametrize("name", ["plain", "stage 1", "stage 3", "all on the host"])
def test_a_finished_seed_leaves_nothing_in_memory(tmp_path, name):
    place, dtype = PLACEMENTS[name]
    job = a_job(place, dtype=dtype, seeds=(0, 1, 2, 3), epochs=2)
    made, held = set_up("opt", job), []
    for seed in job.seeds:
        result = training.train_seed(made, seed, tmp_path)
        del result
        held.append(live_bytes())
    weights = 4 * sum(each.numel() for each in tiny_model("opt").parameters())
    assert held[-1] - held[1] < 0.1 * weights


@pytest.mark.parametrize("kind", ["opt", "gpt_neox"])
def test_a_head_is_scored_without_dropout(tmp_path, kind):
    """And scoring draws no random numbers: what is trained does not depend on the curve."""
    settings = {"head": "classification", "family": "full"}
    weights = []
    for number, epochs in enumerate(("each", "last")):
        job = a_job(epochs=2, curve_epochs=epochs, **settings)
        made = set_up(kind, job, dropout=0.3)
        result = training.train_seed(made, 0, tmp_path / str(number))
        own = result.curves.query("evaluation_set == 'task' and epoch == 2")
        rows = result.predictions.query("evaluation_set == 'task' and epoch == 2")
        logprobs = rows[["logprob_0", "logprob_1"]].to_numpy()
        gold = logprobs[np.arange(len(rows)), rows["label"].to_numpy()]
        assert (own["mean_logprob"] * own["n"]).sum() == pytest.approx(gold.sum(), abs=1e-4)
        weights.append(outcome(result)[2])
    assert weights[0] == weights[1]


def test_seeds_share_frozen_weights_on_a_device_and_start_from_the_same():
    """The device is a stand-in without values; the origin stays whole on the CPU."""
    job = a_job(seeds=(0, 1), family="prefix_tuning", virtual_tokens=3)
    origin, device = set_up("opt", job).origin, torch.device("meta")
    first, second = (origin.start(seed, Placement(), device) for seed in (0, 1))
    for one, two in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert one[1].device.type == two[1].device.type == "meta"
        assert (one[1] is two[1]) == (not one[1].requires_grad)
    again = origin.start(0, Placement(), torch.device("cpu"))
    alone = set_up("opt", job).origin.start(0, Placement(), torch.device("cpu"))
    for one, two in zip(again.parameters(), alone.parameters(), strict=True):
        assert one.device.type == "cpu" and torch.equal(one, two)
