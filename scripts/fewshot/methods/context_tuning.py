"""Context tuning: the keys and values of the shots themselves are trained, in front of every prompt
(CT-KV of Lu et al. 2025, arXiv 2507.04221).

Before training the model answers as in-context learning does with the same shots. In training a
shot does not see itself in the context (leave-one-out mask), nor a few of the other tokens, drawn
anew for each row and step (token dropout).
"""

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from . import prefix_tuning
from .freezing import train_only
from .prefix_tuning import LearnedPrefix, keys_and_values

VALID = (
    "models that keep keys and values of one shape in each layer, such as opt and gpt_neox, and "
    "contexts that their sliding windows hold"
)


class LearnedContext(LearnedPrefix):
    """Keys and values [layers, heads, tokens, width] of a context, and the shot that each of its
    tokens is of, `shot_of` [tokens], -1 for none. In training a token is not seen with the
    probability `dropout`."""

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, shot_of: torch.Tensor, dropout: float
    ):
        super().__init__(keys, values)
        self.register_buffer("shot_of", shot_of, persistent=False)
        self.dropout = dropout

    def seen_by(self, shots: torch.Tensor, own: int) -> dict[str, torch.Tensor]:
        """Return what a forward pass of `shots` [rows], of `own` tokens each, is given besides: a
        mask [rows, tokens + own] of what they see, and the positions of their own tokens."""
        seen = self.shot_of[None] != shots[:, None]
        if self.dropout:
            seen &= torch.rand(seen.shape, device=seen.device) >= self.dropout
        mask = torch.cat([seen, seen.new_ones(len(shots), own)], dim=1)
        places = self.tokens + torch.arange(own, device=seen.device)
        return {"attention_mask": mask.long(), "position_ids": places.expand(len(shots), -1)}


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model keys and values of one position, in whose place `begin` puts those of the
    shots; freeze all else. Raises UserError as `prefix_tuning.adapt` does."""
    prefix_tuning.adapt(model, {"virtual_tokens": 1})
    prefix = model.learned_prefix
    shot_of = torch.full((1,), -1, device=prefix.keys.device)
    dropout = settings["token_dropout"]
    model.learned_prefix = LearnedContext(prefix.keys.data, prefix.values.data, shot_of, dropout)
    names = ["learned_prefix.keys", "learned_prefix.values"]
    return train_only(model, names, "context_tuning", VALID)


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw nothing: the shots decide."""


@torch.no_grad()
def begin(model: nn.Module, tokens: tuple[int, ...], shot_of: np.ndarray) -> None:
    """Start from the keys and values of a context of these `tokens`, each of a shot of the draw.

    Raises UserError where the model does not keep all of these.
    """
    made = keys_and_values(model, list(tokens))
    if {keys.shape[2] for keys, _ in made} != {len(tokens)}:
        raise UserError(
            f"methods.yaml: family 'context_tuning' needs keys and values of all {len(tokens)} "
            f"tokens of the context in each layer; valid: {VALID}"
        )
    keys, values = (torch.cat(tensors) for tensors in zip(*made, strict=True))
    before = model.learned_prefix
    model.learned_prefix = LearnedContext(
        keys, values, torch.from_numpy(shot_of).to(keys.device), before.dropout
    )
