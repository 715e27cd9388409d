"""BitFit: only the bias terms are trained (Ben Zaken et al. 2022)."""

import numpy as np
from torch import nn

from .freezing import train_only


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Make all bias terms trainable, those of layer norms included, and return their names.

    Raises UserError for a model without bias terms.
    """
    names = [name for name, _ in model.named_parameters() if name.split(".")[-1] == "bias"]
    return train_only(model, names, "bitfit", "models with bias terms, such as opt and gpt_neox")


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Add nothing to the model: there is nothing to draw."""
