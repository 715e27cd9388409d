"""Losses by the name that a method's `loss` gives; a family may bring its own instead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Answers:
    """What a model in training answers to some rows, and what would be right.

    It read `ids` [rows, tokens], padded on the right, up to position `last` [rows] of each, and
    answered there with `logits` [rows, classes] in float32. `labels` [rows] are gold; `targets`
    [labels] has the class of each label: its label word's token or, with a classification head,
    the label itself.
    """

    logits: torch.Tensor
    labels: torch.Tensor
    targets: torch.Tensor
    ids: torch.Tensor
    last: torch.Tensor


def vocabulary_loss(answers: Answers) -> torch.Tensor:
    """Return each row's cross-entropy over all classes: with a language model, its vocabulary."""
    return functional.cross_entropy(
        answers.logits, answers.targets[answers.labels], reduction="none"
    )


def label_word_loss(answers: Answers) -> torch.Tensor:
    """Return each row's cross-entropy over the classes of labels alone."""
    return functional.cross_entropy(
        answers.logits[:, answers.targets], answers.labels, reduction="none"
    )


LOSSES: dict[str, Callable[[Answers], torch.Tensor]] = {
    "vocabulary": vocabulary_loss,
    "label-words": label_word_loss,
}


def loss_of(method: ModuleType, settings: Mapping) -> Callable[[Answers], torch.Tensor]:
    """Return the loss that a method's settings name or, if they name none, its family's own."""
    return LOSSES[settings["loss"]] if "loss" in settings else method.loss
