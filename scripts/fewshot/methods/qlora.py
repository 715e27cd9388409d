"""QLoRA (Dettmers et al. 2023): LoRA beside weights that are kept in 4 bits.

The update is in float32 whatever the model's precision; norms, embeddings and readout stay as they
are.
"""

from torch import nn

from ..models.four_bit import quantise
from . import lora

draw = lora.draw


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Put all linear layers into 4 bits, add LoRA's update to the targets, freeze all else.

    Raises UserError for a target that is no linear module.
    """
    quantise(model)
    return lora.adapt(model, {**settings, "dora": False})
