"""Losses by name and by family."""

import math
from types import SimpleNamespace

import pytest
import torch
from fewshot.adaptation import setup, training
from fewshot.methods.losses import LOSSES, Answers, loss_of
from fewshot.validation import read_schema
from seed_runs import a_job
from tiny import tiny_model, tiny_tokenizer


def answers(logits: torch.Tensor) -> Answers:
    """Return two rows of four classes, of which 2 and 0 stand for labels 0 and 1."""
    labels, none = torch.tensor([0, 1]), torch.empty(0)
    return Answers(logits, labels, torch.tensor([2, 0]), none, none)


@pytest.mark.parametrize(("name", "classes"), [("vocabulary", 4), ("label-words", 2)])
def test_a_loss_counts_its_classes(name, classes):
    logits = torch.zeros(2, 4, requires_grad=True)
    losses = LOSSES[name](answers(logits))
    assert losses.tolist() == pytest.approx([math.log(classes)] * 2)
    losses.sum().backward()
    moved = (logits.grad != 0).sum(dim=1).tolist()
    assert moved == [classes] * 2 and (logits.grad[[0, 1], [2, 0]] < 0).all()


def test_the_schema_has_all_losses():
    parts = read_schema("methods")["additionalProperties"]["properties"]
    assert parts["loss"]["enum"] == list(LOSSES)


def test_a_family_whose_settings_name_no_loss_brings_its_own():
    own = SimpleNamespace(loss=lambda given: given.logits.sum(dim=1))
    assert loss_of(own, {}) is own.loss
    assert loss_of(own, {"loss": "vocabulary"}) is LOSSES["vocabulary"]


@pytest.mark.parametrize("name", LOSSES)
def test_a_named_loss_is_what_is_trained(name, tmp_path):
    """Two label words: the loss over them starts near log 2, over 75 words near log 75."""
    torch.set_num_threads(1)
    made = setup.set_up(a_job(loss=name), lambda: tiny_model("opt"), tiny_tokenizer("opt"))
    curves = training.train_seed(made, 0, tmp_path).curves
    losses = -curves[curves["evaluation_set"] == "train"]["mean_logprob"].to_numpy()
    assert (losses[0] < 1.5) == (name == "label-words") and losses[-1] < losses[0]
