"""Losses by name and by family."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from fewshot.adaptation import setup, training
from fewshot.methods.losses import DISTILLATION, LOSSES, Answers, loss_of
from fewshot.validation import read_schema
from seed_runs import a_job, reading
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
    labels = torch.tensor(LABELS)
    return Answers(logits, TOKENS, PLACES, torch.zeros(4, 5), labels, None, mean, mean)


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


# Probabilities of the tokens of each label word of each row, as in LOGITS.
BY_TOKEN = [[[0.5, 0.5], [0.2]], [[0.6, 0.2], [0.1]]]


def unlikelihood(probabilities: list[float]) -> float:
    """Return the mean of -log(1 - p + 0.01)."""
    return sum(-math.log(1.01 - p) for p in probabilities) / len(probabilities)


def test_the_unlikelihood_of_wrong_words_by_hand():
    """Gradients of a token are p / (1.01 - p) × (one-hot - probabilities), over its word count."""
    logits = LOGITS.clone().requires_grad_()
    losses = LOSSES["unlikelihood"](several(logits, mean=False))
    assert losses.tolist() == pytest.approx(
        [unlikelihood(BY_TOKEN[0][1]), unlikelihood(BY_TOKEN[1][0])]
    )
    losses.sum().backward()
    wrong = torch.tensor([0, 0, 1, 0.5, 0.5, 0])
    p = LOGITS.exp()[range(6), TOKENS]
    weight = wrong * p / (1.01 - p)
    expected = (torch.eye(3)[TOKENS] - LOGITS.exp()) * weight[:, None]
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("mean", [False, True])
def test_the_length_normalised_loss_by_hand(mean):
    """Means over tokens are compared, whatever words are ranked by."""
    means = torch.tensor(
        [[sum(map(math.log, word)) / len(word) for word in row] for row in BY_TOKEN]
    )
    logits = LOGITS.clone().requires_grad_()
    losses = LOSSES["length-normalised"](several(logits, mean))
    shares = means.softmax(dim=-1)
    torch.testing.assert_close(losses, -shares[[0, 1], LABELS].log())
    losses.sum().backward()
    pull = (shares - torch.eye(2)[LABELS])[[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 1]]
    pull = pull / torch.tensor([2, 2, 1, 2, 2, 1])
    expected = (torch.eye(3)[TOKENS] - LOGITS.exp()) * pull[:, None]
    torch.testing.assert_close(logits.grad, expected)


def test_losses_of_words_of_one_token_by_hand():
    """The scores of words 2 and 0, read at one place; with autograd for the gradient."""
    probabilities = torch.tensor([[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]])
    logits = (probabilities.log() + 3).requires_grad_()
    given = answers(logits)
    wrong = LOSSES["unlikelihood"](given)
    assert wrong.tolist() == pytest.approx([unlikelihood([0.5]), unlikelihood([0.3])])
    compared = LOSSES["length-normalised"](given)
    shares = [0.15 / (0.15 + 0.5), 0.1 / (0.1 + 0.3)]
    assert compared.tolist() == pytest.approx([-math.log(share) for share in shares])
    (grad,) = torch.autograd.grad(wrong.sum() + compared.sum(), logits)
    again = logits.detach().double().requires_grad_()
    p, labels = again.softmax(dim=-1), [0, 1]
    pairs = p[:, [2, 0]] / p[:, [2, 0]].sum(dim=1, keepdim=True)
    loss = -torch.log(1.01 - p[[0, 1], [0, 2]]) - pairs[[0, 1], labels].log()
    (expected,) = torch.autograd.grad(loss.sum(), again)
    torch.testing.assert_close(grad.double(), expected, rtol=0, atol=1e-6)


def published(logits, tokens, real, label: int) -> torch.Tensor:
    """Return T-Few's loss of one row, as its published code computes it over a micro-batch.

    `logits` [words, longest, classes], `tokens` [words, longest] padded where not `real`. Each sum
    is over all places; those of the gold word and of padding count with log-probability -100.
    """
    surprisals = -logits.log_softmax(dim=-1).gather(2, tokens[:, :, None])[:, :, 0] * real
    language_model = surprisals[label].sum() / real[label].sum()
    scores = -surprisals.sum(dim=1) / real.sum(dim=1)
    choice = -scores.log_softmax(dim=0)[label]
    counted = real.clone()
    counted[label] = 0
    likely = torch.where(counted > 0, -surprisals, -100.0)
    unlikely = -torch.log(1 - likely.exp() + 1e-2).sum() / counted.sum()
    return language_model + choice + unlikely


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 1], ids=["bare", "with end token"])
def test_the_sum_is_that_of_the_published_code_for_a_row(label, end):
    """Words of one, two and three tokens, with the same end token behind each or without: the
    gradient is the same, the value but for a constant of gold and padding places."""
    counts = [1 + end, 2 + end, 3 + end]
    draws = torch.Generator().manual_seed(3)
    padded = torch.randn(3, max(counts), 7, generator=draws).double().requires_grad_()
    tokens = torch.randint(6, (3, max(counts)), generator=draws)
    real = (torch.arange(max(counts)) < torch.tensor(counts)[:, None]).double()
    for word, count in enumerate(counts):
        tokens[word, count - 1] = 6 if end else tokens[word, count - 1]
    places = real.nonzero()
    read = padded[places[:, 0], places[:, 1]]
    words, gold = torch.zeros(3, max(counts)), torch.tensor([label])
    given = Answers(read, tokens[places[:, 0], places[:, 1]], places, words, gold)
    names = ["vocabulary", "unlikelihood", "length-normalised"]
    (found,) = loss_of(SimpleNamespace(), {"loss": names})(given)
    assert found.item() == pytest.approx(sum(LOSSES[name](given).item() for name in names))
    theirs = published(padded, tokens, real, label)
    wrong = sum(counts) - counts[label]
    constant = (3 * max(counts) - wrong) * math.log(1.01) / wrong
    assert found.item() == pytest.approx(theirs.item() + constant, abs=1e-6)
    ours = torch.autograd.grad(found, padded, retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(theirs, padded), rtol=0, atol=1e-9)


def test_a_wrong_word_that_is_certain_has_a_finite_loss():
    logits = torch.tensor([[-100.0, 0, 100.0, 0]], requires_grad=True)
    labels, words = torch.tensor([1]), torch.tensor([[2, 0]])
    given = Answers(logits, torch.tensor([0]), ENDS[:1], torch.zeros(1, 1), labels, words)
    loss = LOSSES["unlikelihood"](given)
    assert loss.item() == pytest.approx(-math.log(0.01), rel=1e-4)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


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


def test_the_schema_has_all_losses():
    parts = read_schema("methods")["additionalProperties"]["properties"]
    one, several = parts["loss"]["oneOf"]
    assert several["items"]["enum"] == [*LOSSES]
    assert one["enum"] == [*LOSSES, *DISTILLATION]


def test_a_family_whose_settings_name_no_loss_brings_its_own():
    own = SimpleNamespace(loss=lambda given: given.logits.sum(dim=1))
    assert loss_of(own, {}) is own.loss
    assert loss_of(own, {"loss": "vocabulary"}) is LOSSES["vocabulary"]


@pytest.mark.parametrize("name", LOSSES)
def test_a_named_loss_is_what_is_trained(name, tmp_path):
    """Two label words: a loss over them starts near log 2 or below, over 75 words near log 75."""
    torch.set_num_threads(1)
    made = setup.set_up(reading(a_job(loss=name), tiny_tokenizer("opt")), lambda: tiny_model("opt"))
    curves = training.train_seed(made, 0, tmp_path).curves
    losses = -curves[curves["evaluation_set"] == "train"]["mean_logprob"].to_numpy()
    assert (losses[0] < 1.5) == (name != "vocabulary") and losses[-1] < losses[0]
