"""Full fine-tuning: every weight that the prediction depends on is trained."""

import numpy as np
from torch import nn

from .freezing import train_only


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Make the parameters trainable and return their names.

    With a classification head, a readout of its own (not tied to the embeddings) is unused and
    stays frozen.
    """
    unused = set()
    if settings["head"] == "classification":
        tied = {id(parameter) for parameter in model.base_model.parameters()}
        readout = model.get_output_embeddings().parameters()
        unused = {id(parameter) for parameter in readout} - tied
    names = [name for name, parameter in model.named_parameters() if id(parameter) not in unused]
    return train_only(model, names, "full", "any model with parameters")


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Add nothing to the model: there is nothing to draw."""
