"""Prefix tuning through a smaller matrix: keys and values in front of every prompt come from an
embedding of each position and two linear layers with tanh between (Li and Liang 2021, section
4.3), which are trained in their place. The encoder is peft's `PrefixEncoder`."""

import numpy as np
import torch
from torch import nn

from ..models.widths import units_of
from . import prefix_tuning
from .freezing import train_only
from .initial_values import draw_as_torch


class EncodedPrefix(nn.Module):
    """Keys and values of positions in front of every prompt, made by `encoder`."""

    def __init__(self, encoder: nn.Module, tokens: int, layers: int, heads: int):
        super().__init__()
        self.encoder, self.tokens, self.layers, self.heads = encoder, tokens, layers, heads

    def forward(self) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Return (keys, values), each [1, heads, tokens, width], of every layer."""
        device = self.encoder.embedding.weight.device
        # peft's order: for a position, layer by layer the keys of all heads, then the values.
        table = self.encoder(torch.arange(self.tokens, device=device))
        table = table.reshape(self.tokens, self.layers, 2, 1, self.heads, -1)
        pairs = table.permute(1, 2, 3, 4, 0, 5)
        return tuple((keys, values) for keys, values in pairs)


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model keys and values of `virtual_tokens` positions, made by an encoder with
    `encoder_width` units (or a share of the keys' width) between; freeze all else.

    As in peft, a position's embedding is as wide as all heads' keys. Raises UserError where
    `prefix_tuning` does, and for keys and values of different shapes.
    """
    import peft

    prefix_tuning.adapt(model, settings)
    keys, values = model.learned_prefix.keys, model.learned_prefix.values
    del model.learned_prefix
    if keys.shape == values.shape:
        layers, heads, tokens, width = keys.shape
        config = peft.PrefixTuningConfig(
            num_virtual_tokens=tokens,
            token_dim=heads * width,
            num_layers=layers,
            encoder_hidden_size=units_of(settings["encoder_width"], heads * width),
            prefix_projection=True,
        )
        encoder = peft.PrefixEncoder(config).to(keys.device, keys.dtype)
        model.learned_prefix = EncodedPrefix(encoder, tokens, layers, heads)
    names = [name for name, _ in model.named_parameters() if name.startswith("learned_prefix.")]
    return train_only(model, names, "reparametrised_prefix", prefix_tuning.VALID)


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw the encoder's values as PyTorch does, and with it the published code.

    The model does not start as what it was: its prefix is of no words.
    """
    draw_as_torch(model.learned_prefix, generator)
