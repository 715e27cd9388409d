"""LoRA and (IA)³ folded into the weights that they stand beside, for good.

A model so folded takes the operations of its base model, and is a whole model of its own to keep.
In 16 bits its answers are others, since the sum is rounded: runs score with adapters beside the
weights.
"""

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from ..methods.ia3 import Scaled


def fold(model: nn.Module) -> bool:
    """Put adapters into the weights of the linear layers that they change, and take them out.

    Returns whether there was any. A model that has one beside other weights than a linear layer's
    own, such as those in 4 bits, is left as it is.
    """
    places = {
        name: module for name, module in model.named_modules()
        if isinstance(module, LoraLayer | Scaled)
    }  # fmt: skip
    if not places or any(type(_linear(place)) is not nn.Linear for place in places.values()):
        return False
    for name, place in places.items():
        if isinstance(place, Scaled):
            _scale(place)
        else:
            place.merge(safe_merge=True)
        model.set_submodule(name, _linear(place))
    return True


def _linear(place: LoraLayer | Scaled) -> nn.Module:
    return place.linear if isinstance(place, Scaled) else place.get_base_layer()


@torch.no_grad()
def _scale(place: Scaled) -> None:
    """Multiply a module's weights by its factors."""
    weight, bias = place.linear.weight, place.linear.bias
    size = place.linear.out_features if place.output else place.linear.in_features
    # A module of factors returns these for ones.
    factor = place.ia3(torch.ones(size, dtype=weight.dtype, device=weight.device))
    weight.data = weight.data * (factor[:, None] if place.output else factor)
    if place.output and bias is not None:
        bias.data = bias.data * factor
