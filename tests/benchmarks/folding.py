"""LoRA and (IA)³ folded into a model's weights for a while, which are put back as they were.

Here and not in the pipeline: scores in 16 bits would change, and folding holds a second copy of the
adapted weights, for the little that the benchmark shows.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fewshot.methods.ia3 import Scaled
from peft.tuners.lora import LoraLayer
from torch import nn


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Let the model's adapted modules compute with weights and adapters as one in this context.

    What is subtracted from a sum is not what it was: the weights themselves are set aside.
    """
    places = [each for each in model.modules() if isinstance(each, LoraLayer | Scaled)]
    linear = [each.linear if isinstance(each, Scaled) else each.get_base_layer() for each in places]
    kept = [weight for module in linear for weight in module.parameters()]
    data, factors = [weight.data for weight in kept], {}
    try:
        for place in places:
            if isinstance(place, Scaled):
                factors[place] = _fold(place)
            else:
                place.merge(safe_merge=True)  # Into a copy.
        yield
    finally:
        for place in places:
            if place in factors:
                place.ia3 = factors[place]
            else:
                place.unmerge()
        for weight, before in zip(kept, data, strict=True):
            weight.data = before


@torch.no_grad()
def _fold(place: Scaled) -> nn.Module:
    """Multiply a module's weights by its factors, and return these, which it has no longer."""
    ia3, weight, bias = place.ia3, place.linear.weight, place.linear.bias
    size = place.linear.out_features if place.output else place.linear.in_features
    # A module of factors returns these for ones.
    ones = torch.ones(size, dtype=weight.dtype, device=weight.device)
    factor = ia3(ones)
    weight.data = weight.data * (factor[:, None] if place.output else factor)
    if place.output and bias is not None:
        bias.data = bias.data * factor
    place.ia3 = nn.Identity()
    return ia3
