"""Prefix tuning: learned keys and values in front of every prompt, in each layer (Li and Liang
2021); they are trained themselves, not through a smaller matrix (reparametrisation)."""

import numpy as np
import torch
from torch import nn

from ..models.deepspeed_zero import callable_whole
from ..models.parts import backbone
from .freezing import train_only

COMMON = 5000
"""Initial keys and values are those of tokens with an id below this: in byte-pair vocabularies, the
most frequent."""
VALID = (
    "models that keep keys and values of one shape in each layer, such as opt and gpt_neox, and "
    "virtual_tokens that their sliding windows hold"
)


class LearnedPrefix(nn.Module):
    """Keys and values [layers, heads, tokens, width] of positions in front of every prompt."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        super().__init__()
        self.keys, self.values = nn.Parameter(keys), nn.Parameter(values)
        self.tokens = keys.shape[2]

    def forward(self) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Return (keys, values), each [1, heads, tokens, width], of every layer."""
        return tuple(zip(self.keys.split(1), self.values.split(1), strict=True))


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Give the model keys and values of `settings["virtual_tokens"]` positions; freeze all else.

    They are `parts.learned_prefix(model)`; positions of real tokens start behind them. Their shape
    is that of the keys and values which the model makes of as many tokens. Raises UserError where
    it does not keep all of these, or of other shapes in other layers.
    """
    tokens = settings["virtual_tokens"]
    made = keys_and_values(model, [0] * tokens)
    shapes = {(keys.shape, values.shape) for keys, values in made}
    if len(shapes) == 1:
        keys, values = (torch.cat(tensors) for tensors in zip(*made, strict=True))
        if keys.shape[2] == tokens:
            model.learned_prefix = LearnedPrefix(keys, values)
    names = [name for name, _ in model.named_parameters() if name.startswith("learned_prefix.")]
    return train_only(model, names, "prefix_tuning", VALID)


@torch.no_grad()
def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Set keys and values to those that the model makes of randomly drawn tokens.

    Li and Liang found activations of real words better than random numbers where data are few
    (section 7.4). The model starts as what it is behind a text of these tokens.
    """
    prefix = model.learned_prefix
    common = min(COMMON, model.get_input_embeddings().num_embeddings)
    made = keys_and_values(model, generator.integers(common, size=prefix.tokens).tolist())
    for parameter, tensors in zip(
        (prefix.keys, prefix.values), zip(*made, strict=True), strict=True
    ):
        parameter.copy_(torch.cat(tensors))


@torch.no_grad()
def keys_and_values(model: nn.Module, ids: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each layer's keys and values [1, heads, tokens, width] of a text; [] if not kept."""
    device = next(model.parameters()).device
    with callable_whole(model):
        output = backbone(model.eval())(
            input_ids=torch.tensor([ids], device=device), use_cache=True
        )
    layers = getattr(getattr(output, "past_key_values", None), "layers", [])
    pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    kept = all(
        isinstance(tensor, torch.Tensor) and tensor.ndim == 4 for pair in pairs for tensor in pair
    )
    return pairs if kept else []
