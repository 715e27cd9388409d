"""rsLoRA: LoRA whose update is scaled by alpha / √rank, so that a larger rank does not slow it down
(Kalajdzievski 2023, arXiv 2312.03732)."""

import math

from torch import nn

from . import lora


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Do what `lora.adapt` does, with the update W + alpha / √rank · B A."""
    # alpha √rank / rank is alpha / √rank, which is what peft's use_rslora computes.
    return lora.adapt(model, {**settings, "alpha": settings["alpha"] * math.sqrt(settings["rank"])})


draw = lora.draw
