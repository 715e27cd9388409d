"""Seeds of one job start alike, disturb each other in nothing, and leave nothing behind."""

import gc

import numpy as np
import pytest
import torch
from fewshot.adaptation import training, weights
from fewshot.errors import UserError
from fewshot.runtime.placement import Placement
from seed_runs import PLACEMENTS, a_job, outcome, set_up
from thinned import thinned
from tiny import TARGETS, tiny_model


def test_seeds_start_from_the_same_base_weights(tmp_path):
    job = a_job(seeds=(0, 1), family="lora", head="classification", targets=TARGETS["opt"])
    made = set_up("opt", job)
    training.train_seed(made, 1, tmp_path)
    after_another = outcome(training.train_seed(made, 0, tmp_path))
    alone = training.train_seed(set_up("opt", job), 0, tmp_path / "alone")
    assert after_another == outcome(alone)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_weights_that_are_not_stored_as_they_were_trained_end_the_job(tmp_path, monkeypatch, stage):
    """What was written must give the logits of what was trained before it counts as written."""
    write = weights.write_weights

    def careless(path, state, about):
        name = next(iter(state))
        write(path, state | {name: state[name] * 1.001}, about)

    job = a_job(stage, family="lora", targets=TARGETS["opt"])
    monkeypatch.setattr(weights, "write_weights", careless)
    with pytest.raises(OSError, match="does not give the logits of what was trained"):
        training.train_seed(set_up("opt", job), 0, tmp_path)


def live_bytes() -> int:
    """Return the bytes of all tensors that somebody holds."""
    gc.collect()
    found = {}
    for each in gc.get_objects():
        if issubclass(type(each), torch.Tensor):
            storage = each.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


@pytest.mark.parametrize(
    "name", thinned(["plain", "stage 1", "stage 3", "all on the host"], ["plain"], ["stage 3"])
)
def test_a_finished_seed_leaves_nothing_in_memory(tmp_path, name):
    place, dtype = PLACEMENTS[name]
    job = a_job(place, dtype=dtype, seeds=(0, 1, 2), epochs=1)
    made, held = set_up("opt", job), []
    for seed in job.seeds:
        result = training.train_seed(made, seed, tmp_path)
        del result
        if seed:  # The first one loads libraries and fills caches.
            held.append(live_bytes())
    weights = 4 * sum(each.numel() for each in tiny_model("opt").parameters())
    assert held[1] - held[0] < 0.1 * weights


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


def test_a_state_that_does_not_fit_the_disk_is_one_line(tmp_path, monkeypatch):
    """What torch.save raised on a full file system."""

    def refuse(*_):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "save", refuse)
    said = "[enforce fail at inline_container.cc:672] . unexpected pos 768 vs 662"
    with pytest.raises(UserError, match=f"^{tmp_path}: not written in full; is the disk full"):
        weights.store_weights({}, tmp_path)
    said = "another"
    with pytest.raises(RuntimeError, match="another"):
        weights.store_weights({}, tmp_path)


def test_weights_that_cannot_be_written_are_one_line(tmp_path):
    path = tmp_path / "nowhere" / "seed0.safetensors"
    with pytest.raises(UserError, match=f"^{path}: .*No such file or directory"):
        weights.write_weights(path, {"a": torch.zeros(1)}, {})
