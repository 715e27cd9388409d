"""Mix-and-match adapter: a learned prefix in the attention of every layer and a scaled parallel
adapter beside every feed-forward block (He et al. 2022, "Towards a unified view of
parameter-efficient transfer learning"). The prefix is reparametrised, as in their code."""

import numpy as np
from torch import nn

from . import adapter, reparametrised_prefix
from .freezing import train_only


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Add both and freeze all else; raises UserError where one of the two does."""
    beside = {**settings, "form": "parallel", "sublayers": ["feed-forward"]}
    names = [*reparametrised_prefix.adapt(model, settings), *adapter.adapt(model, beside)]
    return train_only(model, names, "mix_and_match", adapter.VALID)


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw both as they are drawn alone."""
    reparametrised_prefix.draw(model, generator)
    adapter.draw(model, generator)
