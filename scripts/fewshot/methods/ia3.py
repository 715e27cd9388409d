"""(IA)³: learned vectors that scale keys, values and feed-forward activations (Liu et al. 2022).

In each layer l_k scales the output of the key projection, l_v that of the value projection, bias
included, and l_ff the input of the feed-forward block's last projection: the activation behind the
nonlinearity (of gated blocks, the product). GPT-NeoX projects queries, keys and values at once,
head by head; there only the parts of keys and values are scaled. Where an architecture normalises
keys, l_k stands before that norm, as in peft. All vectors start at one.

peft's own targets differ from the paper for OPT (queries and keys, not values) and for GPT-NeoX
(the whole fused projection, queries too), so the layers are made here, alike for every model.
"""

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from .freezing import train_only

KEYS, VALUES, FUSED = "k_proj", "v_proj", "query_key_value"
LAST = ("fc2", "dense_4h_to_h", "down_proj")
"""Names of the feed-forward block's last projection in OPT, GPT-NeoX and Llama-like models."""
FUSED_BY_HEAD = ("gpt_neox",)
"""Model types whose fused projection is [heads, (query, key, value), width]."""
VALID = (
    f"models whose layers each have {KEYS} and {VALUES} ({', '.join(FUSED_BY_HEAD)}: {FUSED}) and "
    f"one of {', '.join(LAST)}"
)


class Vector(nn.Module):
    """A learned factor for each of the last dimension's entries."""

    def __init__(self, width: int, like: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, dtype=like.dtype, device=like.device))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return `states` [..., width], scaled."""
        return states * self.weight


class FusedVectors(nn.Module):
    """Learned factors for keys and values [heads · width] in a projection fused head by head.

    Vectors, as where each has a projection of its own: Adafactor treats matrices otherwise.
    """

    def __init__(self, heads: int, width: int, like: torch.Tensor):
        super().__init__()
        self.heads, size = heads, heads * width
        self.keys = nn.Parameter(torch.ones(size, dtype=like.dtype, device=like.device))
        self.values = nn.Parameter(torch.ones(size, dtype=like.dtype, device=like.device))

    def forward(self, fused: torch.Tensor) -> torch.Tensor:
        """Return `fused` [..., heads · 3 · width] with keys and values scaled, not queries."""
        factors = torch.stack([torch.ones_like(self.keys), self.keys, self.values])
        return fused * factors.reshape(3, self.heads, -1).transpose(0, 1).flatten()


class Scaled(nn.Module):
    """A linear module whose output, or else whose input, is scaled."""

    def __init__(self, linear: nn.Linear, ia3: nn.Module, output: bool):
        super().__init__()
        self.linear, self.ia3, self.output = linear, ia3, output

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the projection of `states`."""
        if self.output:
            return self.ia3(self.linear(states))
        return self.linear(self.ia3(states))


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Put vectors of ones on keys, values and feed-forward activations and freeze all else.

    The modules are found by their names. Raises UserError where a layer lacks one of the three.
    """
    linear = {
        name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    kinds = {name: name.rpartition(".")[2] for name in linear}
    _check_layers(model, list(kinds.values()))
    for name, module in linear.items():
        if kinds[name] in (KEYS, VALUES):
            scaled = Scaled(module, Vector(module.out_features, module.weight), output=True)
        elif kinds[name] == FUSED:
            scaled = Scaled(module, _fused_vectors(model, module), output=True)
        elif kinds[name] in LAST:
            scaled = Scaled(module, Vector(module.in_features, module.weight), output=False)
        else:
            continue
        model.set_submodule(name, scaled)
    names = [name for name, _ in model.named_parameters() if ".ia3." in name]
    return train_only(model, names, "ia3", VALID)


@torch.no_grad()
def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Set all factors to one, with which the model computes what it did before."""
    for name, parameter in model.named_parameters():
        if ".ia3." in name:
            parameter.fill_(1.0)


def _check_layers(model: nn.Module, kinds: list[str]) -> None:
    config = model.config.get_text_config()
    fused = kinds.count(FUSED) if config.model_type in FUSED_BY_HEAD else 0
    counts = {
        "keys": kinds.count(KEYS) + fused,
        "values": kinds.count(VALUES) + fused,
        "feed-forward activations": sum(kinds.count(kind) for kind in LAST),
    }
    layers = config.num_hidden_layers
    for part, count in counts.items():
        if count != layers:
            raise UserError(
                f"methods.yaml: family 'ia3' finds {count} modules for the {part} of "
                f"{layers} layers in a model of type '{config.model_type}', among "
                f"{', '.join(sorted(set(kinds)))}; valid: {VALID}"
            )


def _fused_vectors(model: nn.Module, module: nn.Linear) -> FusedVectors:
    heads = model.config.get_text_config().num_attention_heads
    return FusedVectors(heads, module.out_features // (3 * heads), module.weight)
