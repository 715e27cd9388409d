"""Losses by the name that a method's `loss` gives; a family may bring its own instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Answers:
    """What a model in training answers to some rows, and what would be right.

    It read `ids` [sequences, tokens], padded on the right: of each row a sequence that ends in its
    gold label word or, row by row, one for each of its words. At `places` [reads, 2], (sequence,
    token), a token of the word comes next: `tokens` [reads]; the model answered with `logits`
    [reads, classes] in float32. `labels` [rows] are gold. Where all words are one token, `words`
    [rows, labels] has those of each row and is None elsewhere; with a classification head labels
    are the classes. If `mean`, a word counts by the mean over its tokens, else by their sum. Where
    words are ranked by what a character has of this, `characters` [labels] are theirs.
    """

    logits: torch.Tensor
    tokens: torch.Tensor
    places: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    words: torch.Tensor | None = None
    mean: bool = True
    characters: torch.Tensor | None = None

    def by_word(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum or mean of `values` [reads] over each word that was read [rows, words]."""
        if len(values) == len(self.ids):  # One token each: a kernel or two fewer.
            return values.reshape(len(self.labels), -1)
        sequence, none = self.places[:, 0], values.new_zeros(len(self.ids))
        sums = none.index_add(0, sequence, values)
        if self.mean:
            sums = sums / none.index_add(0, sequence, torch.ones_like(values))
        return sums.reshape(len(self.labels), -1)

    def of_gold(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum or mean of `values` [reads] over each row's gold word [rows]."""
        words = self.by_word(values)
        return words[:, 0] if words.shape[1] == 1 else words.gather(1, self.labels[:, None])[:, 0]

    @property
    def ranked(self) -> bool:
        """Return whether all label words were read, so that there are `scores`."""
        return self.words is not None or len(self.ids) > len(self.labels)

    def scores(self) -> torch.Tensor:
        """Return what ranks a row's label words [rows, labels]: log-probabilities, or logits."""
        if self.words is None:
            found = -self.by_word(_surprisals(self))
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
    return answers.of_gold(_surprisals(answers))


def label_word_loss(answers: Answers) -> torch.Tensor:
    """Return each row's cross-entropy over its label words alone."""
    return functional.cross_entropy(answers.scores(), answers.labels, reduction="none")


LOSSES: dict[str, Callable[[Answers], torch.Tensor]] = {
    "vocabulary": vocabulary_loss,
    "label-words": label_word_loss,
}


def loss_of(method: ModuleType, settings: Mapping) -> Callable[[Answers], torch.Tensor]:
    """Return the loss that a method's settings name or, if they name none, its family's own."""
    return LOSSES[settings["loss"]] if "loss" in settings else method.loss


def reads_all_words(settings: Mapping) -> bool:
    """Return whether a method's loss asks for all label words of a row: any but `vocabulary`."""
    return settings.get("loss") != "vocabulary"


def takes_mean(settings: Mapping, rank_by: str) -> bool:
    """Return whether a word counts by the mean over its tokens: as words are ranked where a loss
    compares them, else by `answer_loss`."""
    if settings.get("loss") == "label-words":
        return rank_by == "mean"
    return settings.get("answer_loss", "mean") == "mean"
