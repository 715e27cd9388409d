"""Cartridges: fewer keys and values than a context has, trained by distillation to answer as the
model does behind all of it (Eyuboglu et al. 2025, arXiv 2506.06266).

They start as those of the context's first tokens. The very first stays as it is, as in peft: models
attend to it whatever it says.
"""

import numpy as np
import torch
from torch import nn

from . import prefix_tuning
from .freezing import train_only
from .prefix_tuning import VALID, LearnedPrefix, keys_and_values

FROZEN = 1
"""Tokens at the start that are not trained."""


class Cartridge(LearnedPrefix):
    """Keys and values [layers, heads, tokens, width] in front of every prompt, of which the first
    tokens' stay as they are: they have no gradient."""

    def forward(self) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Return (keys, values), each [1, heads, tokens, width], of every layer."""
        keys, values = (
            torch.cat([each[:, :, :FROZEN].detach(), each[:, :, FROZEN:]], dim=2)
            for each in (self.keys, self.values)
        )
        return tuple(zip(keys.split(1), values.split(1), strict=True))


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model keys and values of `virtual_tokens` positions, in whose place `begin` puts
    those of the shots; freeze all else. Raises UserError as `prefix_tuning.adapt` does."""
    prefix_tuning.adapt(model, settings)
    prefix = model.learned_prefix
    model.learned_prefix = Cartridge(prefix.keys.data, prefix.values.data)
    names = ["learned_prefix.keys", "learned_prefix.values"]
    return train_only(model, names, "cartridge", VALID)


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw nothing: the shots decide."""


@torch.no_grad()
def begin(model: nn.Module, tokens: tuple[int, ...], shot_of: np.ndarray | None) -> None:
    """Start from the keys and values of the first tokens of a context, which are `tokens`."""
    made = keys_and_values(model, list(tokens))
    keys, values = (torch.cat(tensors) for tensors in zip(*made, strict=True))
    model.learned_prefix = Cartridge(keys, values)
