"""Head only: the model stays as it is and the head on top of it is trained (linear probing)."""

import numpy as np
from torch import nn

from ..models.deepspeed_zero import whole
from .freezing import train_only


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Freeze the model and return the parameters of its own readout that are trained.

    With head: classification these are none: the new head alone is trained. With head:
    language-model they are the readout over the vocabulary; where it is tied to the embeddings it
    becomes a copy first, so that the embeddings stay as they are.
    """
    if settings["head"] == "classification":
        model.requires_grad_(False)
        return []
    readout = model.get_output_embeddings()
    _untie(model, readout)
    trained = {id(parameter) for parameter in readout.parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in trained]
    return train_only(model, names, "head_only", "models with a readout over the vocabulary")


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Add nothing to the model: its readout starts as it was."""


def _untie(model: nn.Module, readout: nn.Module) -> None:
    weight = readout.weight
    if weight is model.get_input_embeddings().weight:
        with whole([weight]):
            readout.weight = nn.Parameter(weight.detach().clone())
        model.config.tie_word_embeddings = False
