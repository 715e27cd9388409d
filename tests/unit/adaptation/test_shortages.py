"""What happens where memory runs out: the seed starts again in a way that takes less."""

import numpy as np
import pytest
import torch
from fewshot.adaptation import training
from fewshot.adaptation.forward_pass import ForwardPass
from fewshot.errors import UserError
from fewshot.runtime import processes
from fewshot.runtime.placement import Placement, easier
from fewshot.runtime.processes import ProcessGroup
from fewshot.runtime.stop import Interrupted
from seed_runs import StopAfter, a_job, outcome, set_up


def run_out(monkeypatch, limit: int) -> None:
    """Let memory run out where more than `limit` tokens are trained at once."""
    answers = ForwardPass.answers

    def scarce(passed, rows):
        together = list(zip(passed.runs, rows, strict=True))
        longest = max(int(run.rows.lengths[own].max()) for run, own in together)
        count, recomputed = sum(map(len, rows)), passed.runs[0].placement.checkpointing
        if count * longest > limit and not recomputed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answers(passed, rows)

    monkeypatch.setattr(ForwardPass, "answers", scarce)


@pytest.mark.slow
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


@pytest.mark.weekly
def test_memory_that_cannot_be_helped_ends_the_job_with_what_was_tried(tmp_path, monkeypatch):
    def none(*_):
        raise MemoryError

    monkeypatch.setattr(ForwardPass, "answers", none)
    told = "memory ran out on a row of 9 tokens with ZeRO stage 0, 9 tokens at once, activations re"
    with pytest.raises(UserError, match=told):
        training.train_seed(set_up("opt", a_job()), 0, tmp_path)


def test_of_several_processes_all_start_anew(tmp_path, monkeypatch):
    """They wait for each other: the launcher starts them again, told how often this was."""
    setup = set_up("opt", a_job(processes=ProcessGroup(1, 2)))

    def scarce(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(training, "start_stack", scarce)
    monkeypatch.setattr(training, "shortages_before", lambda _: 0)
    monkeypatch.setenv(processes.MARK, str(tmp_path / "mark"))
    with pytest.raises(SystemExit) as ended:
        training.train_seed(setup, 0, tmp_path)
    assert ended.value.code == 1 and (tmp_path / "mark").exists()
    monkeypatch.undo()
    monkeypatch.setenv(processes.SHORTAGES, "2")
    again = training.train_seed(set_up("opt", a_job()), 0, tmp_path)
    assert again.facts["shortages"] == 2 and again.facts["placement"]["micro_tokens"] == 9


def test_each_shortage_gives_up_what_costs_least():
    place, steps = Placement(micro_tokens=1000), []
    while (place := easier(place, 300, 1, shares=True)) is not None:
        steps.append(place)
    assert steps == [
        Placement(micro_tokens=500),
        Placement(micro_tokens=300),
        Placement(micro_tokens=300, checkpointing=True),
        Placement(2, "optimizer", 300, True),
        Placement(3, "parameters", 300, True),
    ]
    shared = easier(Placement(1, "none", 300, True), 300, 4, shares=True)
    assert shared == Placement(2, "none", 300, True)
    assert easier(Placement(3, "none", 300, True), 300, 4, shares=True).offload == "optimizer"
    assert easier(Placement(micro_tokens=300), 300, 1, shares=False, recomputes=False) is None


@pytest.mark.weekly
def test_a_checkpoint_made_after_a_shortage_is_gone_on_from(tmp_path, monkeypatch):
    run_out(monkeypatch, 20)
    job = a_job(Placement(micro_tokens=256))
    expected = training.train_seed(set_up("opt", job), 0, tmp_path / "whole")
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", job), 0, tmp_path / "parts", stop=StopAfter(4))
    result = training.train_seed(set_up("opt", job), 0, tmp_path / "parts")
    assert result.facts["resumed_after_steps"] == [3] and result.facts["shortages"] == 1
    assert outcome(result) == outcome(expected)
