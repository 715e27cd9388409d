"""Losses by name and by family."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fewshot.adaptation import setup, training
from fewshot.methods.losses import LOSSES, Answers, loss_of, takes_mean
from fewshot.validation import read_schema
from seed_runs import a_job
from tiny import tiny_model, tiny_tokenizer

ENDS = torch.tensor([[0, 0], [1, 0]])


def answers(logits: torch.Tensor) -> Answers:
    """Return two rows of four classes, of which 2 and 0 stand for labels 0 and 1."""
    labels, words = torch.tensor([0, 1]), torch.tensor([[2, 0], [2, 0]])
    return Answers(logits, torch.tensor([2, 0]), ENDS, torch.zeros(2, 1), labels, words)


@pytest.mark.parametrize(("name", "classes"), [("vocabulary", 4), ("label-words", 2)])
def test_a_loss_counts_its_classes(name, classes):
    logits = torch.zeros(2, 4, requires_grad=True)
    losses = LOSSES[name](answers(logits))
    assert losses.tolist() == pytest.approx([math.log(classes)] * 2)
    losses.sum().backward()
    moved = (logits.grad != 0).sum(dim=1).tolist()
    assert moved == [classes] * 2 and (logits.grad[[0, 1], [2, 0]] < 0).all()


# Probabilities of three classes where the words (0, 1) and (2,) of one row are predicted, and the
# answers (1, 1) and (0,) of another.
LOGITS = torch.tensor(
    [
        [[0.5, 0.3, 0.2], [0.25, 0.5, 0.25], [0.5, 0.3, 0.2]],
        [[0.1, 0.6, 0.3], [0.4, 0.2, 0.4], [0.1, 0.6, 0.3]],
    ]
)
LOGITS = LOGITS.reshape(6, 3).log()
TOKENS = torch.tensor([0, 1, 2, 1, 1, 0])
PLACES = torch.tensor([[0, 3], [0, 4], [1, 3], [2, 3], [2, 4], [3, 3]])
PROBABILITIES = [[0.5 * 0.5, 0.2], [0.6 * 0.2, 0.1]]
COUNTS = [[2, 1], [2, 1]]
LABELS = [0, 1]


def several(logits: torch.Tensor, mean: bool) -> Answers:
    return Answers(logits, TOKENS, PLACES, torch.zeros(4, 5), torch.tensor(LABELS), None, mean)


@pytest.mark.parametrize("mean", [False, True])
def test_words_of_several_tokens_count_by_sum_or_mean(mean):
    """By hand; gradients are (probability - one-hot) × what the token counts."""
    scores = [
        [math.log(p) / (n if mean else 1) for p, n in zip(*pair, strict=True)]
        for pair in zip(PROBABILITIES, COUNTS, strict=True)
    ]
    logits = LOGITS.clone().requires_grad_()
    losses = LOSSES["vocabulary"](several(logits, mean))
    assert losses.tolist() == pytest.approx([-scores[0][0], -scores[1][1]])
    losses.sum().backward()
    weight = torch.tensor([0.5, 0.5, 0, 0, 0, 1] if mean else [1.0, 1.0, 0, 0, 0, 1])
    expected = (LOGITS.exp() - torch.eye(3)[TOKENS]) * weight[:, None]
    torch.testing.assert_close(logits.grad, expected)

    logits = LOGITS.clone().requires_grad_()
    given = several(logits, mean)
    assert given.ranked and given.scores().tolist() == [pytest.approx(row) for row in scores]
    losses = LOSSES["label-words"](given)
    shares = torch.tensor(scores).softmax(dim=-1)
    torch.testing.assert_close(losses, -shares[[0, 1], LABELS].log())
    losses.sum().backward()
    pull = (shares - torch.eye(2)[LABELS])[[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1]]
    counted = torch.tensor(COUNTS)[[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1]] if mean else 1
    token = torch.eye(3)[TOKENS] - LOGITS.exp()
    torch.testing.assert_close(logits.grad, token * (pull / counted)[:, None])


def test_words_may_count_by_their_characters():
    """By hand: log-probabilities of words of 4 and 2 characters, of several tokens and of one."""
    characters = torch.tensor([4, 2])
    given = replace(several(LOGITS, mean=False), characters=characters)
    expected = [
        [math.log(p) / n for p, n in zip(row, (4, 2), strict=True)] for row in PROBABILITIES
    ]
    assert given.scores().tolist() == [pytest.approx(row) for row in expected]
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4]]).log() + 3
    one_token = replace(answers(logits), characters=characters)
    expected = [
        [math.log(p) / n for p, n in zip(row, (4, 2), strict=True)]
        for row in [[0.125, 0.5], [0.3, 0.1]]
    ]
    assert one_token.scores().tolist() == [pytest.approx(row) for row in expected]


def test_gold_words_alone_rank_nothing():
    gold = [0, 1, 5]
    places = torch.tensor([[0, 3], [0, 4], [1, 3]])
    given = Answers(
        LOGITS[gold], TOKENS[gold], places, torch.zeros(2, 5), torch.tensor(LABELS), None, False
    )
    assert not given.ranked
    losses = LOSSES["vocabulary"](given)
    assert losses.tolist() == pytest.approx([-math.log(0.25), -math.log(0.1)])


def test_what_words_count_by():
    assert takes_mean({"loss": "vocabulary"}, "sum")
    assert not takes_mean({"loss": "vocabulary", "answer_loss": "sum"}, "mean")
    assert takes_mean({"loss": "label-words"}, "mean")
    assert not takes_mean({"loss": "label-words"}, "sum")


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
