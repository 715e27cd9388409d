"""Losses by the name that a method's `loss` gives; a family may bring its own instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Teacher:
    """What rows' answers should be in context distillation.

    `logprobs` [rows, choices] rank the label words or, if `tokens` [rows, choices] are there, are
    those of these tokens of the vocabulary at `temperature`.
    """

    logprobs: torch.Tensor
    temperature: float
    tokens: torch.Tensor | None = None

    def of(self, rows: torch.Tensor) -> "Teacher":
        """Return what it says of some rows."""
        tokens = None if self.tokens is None else self.tokens[rows]
        return Teacher(self.logprobs[rows], self.temperature, tokens)


@dataclass(frozen=True)
class Answers:
    """What a model in training answers to some rows, and what would be right.

    It read `ids` [sequences, tokens], padded on the right: of each row a sequence that ends in its
    gold label word or, row by row, one for each of its words. At `places` [reads, 2], (sequence,
    token), a token of the word comes next: `tokens` [reads]; the model answered with `logits`
    [reads, classes] in float32. `labels` [rows] are gold. Where all words are one token, `words`
    [rows, labels] has those of each row and is None elsewhere; with a classification head labels
    are the classes. In the loss over the vocabulary a word counts by the mean over its tokens if
    `mean`, else by their sum; words are ranked by the mean if `ranked_by_mean`, else by the sum or,
    with `characters` [labels], by what a character has of it. `teacher` says what the answers
    should be where that is no gold label.
    """

    logits: torch.Tensor
    tokens: torch.Tensor
    places: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    words: torch.Tensor | None = None
    mean: bool = True
    ranked_by_mean: bool = False
    characters: torch.Tensor | None = None
    teacher: Teacher | None = None

    def by_word(self, values: torch.Tensor, mean: bool = False) -> torch.Tensor:
        """Return the sum, or the mean, of `values` over each word [rows, words].

        These are one for each token that was read [reads], or of `word_tokens`.
        """
        if len(values) == len(self.ids) or self.words is not None:
            return values.reshape(len(self.labels), -1)  # One token each: a kernel or two fewer.
        sequence, none = self.places[:, 0], values.new_zeros(len(self.ids))
        sums = none.index_add(0, sequence, values)
        if mean:
            sums = sums / none.index_add(0, sequence, torch.ones_like(values))
        return sums.reshape(len(self.labels), -1)

    def of_gold(self, values: torch.Tensor, mean: bool = False) -> torch.Tensor:
        """Return the sum, or the mean, of `values` [reads] over each row's gold word [rows]."""
        words = self.by_word(values, mean)
        return words[:, 0] if words.shape[1] == 1 else words.gather(1, self.labels[:, None])[:, 0]

    def word_tokens(self) -> torch.Tensor:
        """Return the log-probability of each token of all label words, row by row (`ranked`)."""
        if self.words is None:
            return -_surprisals(self)
        return functional.log_softmax(self.logits, dim=-1).gather(1, self.words).flatten()

    @property
    def ranked(self) -> bool:
        """Return whether all label words were read, so that there are `scores`."""
        return self.words is not None or len(self.ids) > len(self.labels)

    def scores(self) -> torch.Tensor:
        """Return what ranks a row's label words [rows, labels]: log-probabilities, or logits."""
        if self.words is None:
            found = -self.by_word(_surprisals(self), self.ranked_by_mean)
        elif self.characters is None:
            return self.logits.gather(1, self.words)
        else:
            found = functional.log_softmax(self.logits, dim=-1).gather(1, self.words)
        return found if self.characters is None else found / self.characters


def _surprisals(answers: Answers) -> torch.Tensor:
    """Return minus the log-probability of each token that was asked for [reads]."""
    return functional.cross_entropy(answers.logits, answers.tokens, reduction="none")


def vocabulary_loss(answers: Answers) -> torch.Tensor:
    """Return each row's cross-entropy over all classes (with a language model, its vocabulary) at
    the tokens of its gold label word."""
    return answers.of_gold(_surprisals(answers), answers.mean)


def label_word_loss(answers: Answers) -> torch.Tensor:
    """Return each row's cross-entropy over its label words alone."""
    return functional.cross_entropy(answers.scores(), answers.labels, reduction="none")


FLOOR = 0.01
"""What the unlikelihood loss adds in its logarithm, so that it stays finite: in T-Few's published
code, not in the paper."""


def unlikelihood_loss(answers: Answers) -> torch.Tensor:
    """Return each row's mean of -log(1 - p + FLOOR) over all tokens of its wrong label words, of
    probabilities p (L_UL of Liu et al. 2022, equation 2).

    It is below zero by log(1 + FLOOR) where all are improbable. The published code divides by the
    tokens of a micro-batch: for one row alone the gradient is the same. Its value is lower by
    log(1 + FLOOR) for each token of the gold word and of padding, which are in its sum.
    """
    values = answers.word_tokens()
    counts = answers.by_word(torch.ones_like(values))
    sums = answers.by_word(-torch.log(1 + FLOOR - values.exp()))
    wrong = functional.one_hot(answers.labels, counts.shape[1]) == 0
    return (sums * wrong).sum(dim=1) / (counts * wrong).sum(dim=1)


def length_normalised_loss(answers: Answers) -> torch.Tensor:
    """Return each row's cross-entropy over its label words, whose scores are the means of their
    tokens' log-probabilities, whatever the pattern ranks by (L_LN of Liu et al. 2022, equation 3).
    """
    return functional.cross_entropy(
        answers.by_word(answers.word_tokens(), mean=True), answers.labels, reduction="none"
    )


LABEL_WORDS, VOCABULARY = "distil-label-words", "distil-vocabulary"
"""The losses of context distillation, by which answers are compared."""


def distil_label_words(answers: Answers) -> torch.Tensor:
    """Return each row's τ² KL(teacher || student) over its label words at temperature τ (Hinton et
    al. 2015, whose factor keeps gradients alike at all temperatures)."""
    teacher, tau = answers.teacher, answers.teacher.temperature
    target = functional.log_softmax(teacher.logprobs / tau, dim=-1)
    own = functional.log_softmax(answers.scores() / tau, dim=-1)
    return tau**2 * (target.exp() * (target - own)).sum(dim=1)


def distil_vocabulary(answers: Answers) -> torch.Tensor:
    """Return each row's τ² KL(teacher || student) over the teacher's most probable tokens and all
    others together, where the answer begins.

    That is at most the divergence over the whole vocabulary, and equal to it where the others are
    as probable as each other by teacher and student.
    """
    teacher, tau = answers.teacher, answers.teacher.temperature
    own = functional.log_softmax(answers.logits / tau, dim=-1).gather(1, teacher.tokens)
    target, own = _with_rest(teacher.logprobs), _with_rest(own)
    return tau**2 * (target.exp() * (target - own)).sum(dim=1)


def _with_rest(logprobs: torch.Tensor) -> torch.Tensor:
    """Append the log-probability of everything else; rounding leaves no less than 1e-9 for it."""
    rest = (1 - logprobs.exp().sum(dim=1, keepdim=True)).clamp(min=1e-9)
    return torch.cat([logprobs, rest.log()], dim=1)


LOSSES: dict[str, Callable[[Answers], torch.Tensor]] = {
    "vocabulary": vocabulary_loss,
    "label-words": label_word_loss,
    "unlikelihood": unlikelihood_loss,
    "length-normalised": length_normalised_loss,
}
DISTILLATION: dict[str, Callable[[Answers], torch.Tensor]] = {
    LABEL_WORDS: distil_label_words,
    VOCABULARY: distil_vocabulary,
}
"""Losses that ask a teacher, not a gold label."""


def loss_of(method: ModuleType, settings: Mapping) -> Callable[[Answers], torch.Tensor]:
    """Return the loss that a method's settings name, the sum of those in a list or, if they name
    none, its family's own."""
    if "loss" not in settings:
        return method.loss
    if isinstance(settings["loss"], str):
        return {**LOSSES, **DISTILLATION}[settings["loss"]]
    parts = [LOSSES[name] for name in settings["loss"]]
    return lambda answers: torch.stack([part(answers) for part in parts]).sum(dim=0)


def reads_all_words(settings: Mapping) -> bool:
    """Return whether a method's loss asks for all label words of a row: any but `vocabulary`."""
    return settings.get("loss") != "vocabulary"
