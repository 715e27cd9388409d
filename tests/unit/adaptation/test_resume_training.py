"""A seed that is interrupted anywhere and started again ends in the same bytes."""

import json
import os
import signal

import pandas as pd
import pytest
from fewshot.adaptation import checkpoints, stack, training
from fewshot.adaptation.setup import Member, start_run
from fewshot.errors import UserError
from fewshot.runtime import processes
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.runtime.stop import Interrupted, Stop
from seed_runs import PLACEMENTS, StopAfter, a_job, outcome, set_up
from thinned import thinned
from tiny import TARGETS


@pytest.mark.parametrize("name", thinned(PLACEMENTS, ["plain"], ["stage 2, half", "stage 3"]))
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


ADDED = {
    "mix_and_match": (
        {"virtual_tokens": 4, "encoder_width": 8, "bottleneck": 4, "activation": "relu"}
        | {"scale": 2.0, "initialisation": "lora"},
        "plain",
    ),
    "p_tuning": ({"virtual_tokens": 4, "encoder": "lstm", "encoder_width": "1/2"}, "plain"),
    "adapter": (
        {"sublayers": ["attention", "feed-forward"], "form": "pfeiffer", "bottleneck": 4}
        | {"activation": "gelu", "scale": 1.0, "initialisation": "bert"},
        "recomputed",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", ADDED)
def test_what_a_method_adds_goes_on_from_a_checkpoint(tmp_path, family):
    settings, name = ADDED[family]
    place, dtype = PLACEMENTS[name]
    job = a_job(place, dtype=dtype, family=family, epochs=2, **settings)
    whole = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    made = set_up("opt", job)
    with pytest.raises(Interrupted):
        training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(4))
    assert [*(tmp_path / "parts").glob("seed0.step*")]
    assert outcome(training.train_seed(made, 0, tmp_path / "parts")) == whole


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
    assert (folder / "seed0" / "best.pt").exists()
    assert outcome(training.train_seed(made, 0, tmp_path / "parts")) == outcome(whole)


def test_only_the_newest_whole_checkpoint_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    monkeypatch.setattr(checkpoints, "WRITE_RATE", 1e15)
    monkeypatch.setattr(training, "_remaining", lambda run: 1e9)
    job = a_job(epochs=3)
    expected = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    folder, written = tmp_path / "parts", []
    save = stack.save_progress

    def failing(progress, *rest):
        if len(written) == 2:
            raise OSError("disk full")
        written.append(progress.step)
        save(progress, *rest)

    monkeypatch.setattr(stack, "save_progress", failing)
    with pytest.raises(OSError, match="disk full"):
        training.train_seed(set_up("opt", job), 0, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["seed0.step6", "seed0.step9.partial"] and written == [3, 6]
    monkeypatch.setattr(stack, "save_progress", save)
    result = training.train_seed(set_up("opt", job), 0, folder)
    assert result.facts["resumed_after_steps"] == [6]
    assert outcome(result) == expected


@pytest.mark.parametrize("name", ["plain.pt", "random0.pt", "progress.json"])
@pytest.mark.parametrize("damage", ["change", "cut"])
def test_a_damaged_checkpoint_is_dropped(tmp_path, caplog, name, damage):
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", a_job()), 0, tmp_path, stop=StopAfter(4))
    (path,) = tmp_path.glob(f"seed0.step*/seed0/{name}")
    whole = path.read_bytes()
    half = len(whole) // 2
    changed = whole[:half] + bytes(byte ^ 1 for byte in whole[half : half + 100])
    path.write_bytes(changed + whole[half + 100 :] if damage == "change" else whole[:half])
    result = training.train_seed(set_up("opt", a_job()), 0, tmp_path)
    assert f"{name} is damaged; the checkpoint is dropped" in caplog.text
    assert result.facts["resumed_after_steps"] == []
    expected = training.train_seed(set_up("opt", a_job()), 0, tmp_path / "whole")
    assert outcome(result) == outcome(expected)


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
    monkeypatch.setattr(checkpoints, "WRITE_RATE", 1.0)
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", a_job()), 0, tmp_path, stop=StopAfter(4))
    assert list(tmp_path.glob("seed0.*")) == []


def test_checkpoints_are_due_where_they_save_time(tmp_path, monkeypatch):
    kept = checkpoints.Checkpoints(tmp_path, (0,), ProcessGroup())
    kept.expect(4e9)
    assert kept.cost == pytest.approx(24.0)
    now = checkpoints.time.monotonic()
    cases = [(10, 1e6, False), (500, 15, False), (479, 1e6, False), (481, 25, True)]
    for since, remaining, due in cases:
        monkeypatch.setattr(checkpoints.time, "monotonic", lambda since=since: now + since)
        assert kept.due(remaining) == due


def test_a_checkpoint_is_not_written_to_a_state_that_was_lost(tmp_path):
    def lost():
        raise UserError("lost to another process")

    kept = checkpoints.Checkpoints(tmp_path, (0,), ProcessGroup(), lost)
    with pytest.raises(UserError, match="lost"), kept.writing(3) as folder:
        (folder / "progress.json").write_text(json.dumps({}))
    assert kept.latest() is None


def test_being_told_to_end_is_noted():
    stop = Stop()
    with stop.watched():
        stop.check(ProcessGroup())
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested and processes.TOLD == 143
    with pytest.raises(Interrupted):
        stop.check(ProcessGroup())


def test_told_to_end_twice_at_one_step(tmp_path):
    """Within the scoring that follows it: nothing was trained since the checkpoint."""
    job = a_job(epochs=2)
    expected = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    for looks in (4, 1, 2):
        with pytest.raises(Interrupted):
            training.train_seed(set_up("opt", job), 0, tmp_path / "parts", stop=StopAfter(looks))
        assert [path.name for path in (tmp_path / "parts").iterdir()] == ["seed0.step3"]
    assert outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "parts")) == expected


def test_counts_do_not_depend_on_interruptions(tmp_path):
    job = a_job(epochs=2)
    whole = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", job), 0, tmp_path, stop=StopAfter(5))
    result = training.train_seed(set_up("opt", job), 0, tmp_path)
    assert result.facts["scored_rows"] == whole.facts["scored_rows"] >= 2 * 35


def test_a_checkpoint_is_worth_while_before_all_rows_are_scored(tmp_path):
    setup = set_up("opt", a_job(epochs=2, curve_rows=8))
    run = start_run(Member(setup, 0), 0, training.outputs.Phases(), Stop())
    run.phases.seconds |= {"train": 30.0, "curve": 8.0}
    run.progress.epoch, run.progress.scored = 3, 16
    run.progress.best_state = {}
    assert training._remaining(run) == pytest.approx(8.0 / 16 * 35 * 2)
    run.progress.best_state, run.progress.epoch = None, 2
    assert training._remaining(run) == pytest.approx(38.0 + 8.0 / 16 * 35)
