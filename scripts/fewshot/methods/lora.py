"""LoRA: a low-rank update of chosen linear modules (Hu et al. 2022), through peft.

DoRA (Liu et al. 2024) trains the norm of each output's weights apart from their direction.
"""

import math

import numpy as np
import torch
from torch import nn

from ..errors import UserError, unknown
from .freezing import train_only


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Add the update W + alpha / rank · B A to the target modules and freeze all else.

    `settings["targets"]` lists module names. With `settings["dora"]` the sum's rows are scaled to
    learned magnitudes, which start as the norms of W's. Raises UserError for a name that no module
    has, and for rows of zeros, which have no direction.
    """
    import peft

    targets = list(settings["targets"])
    linear = sorted(
        {
            name.split(".")[-1]
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear)
        }
    )
    for target in targets or ["none"]:
        if target not in linear:
            kind = f"module of model type {model.config.model_type}"
            raise unknown(kind, target, linear, "methods.yaml: targets")
    config = peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        use_dora=settings["dora"],
        target_modules=targets,
        bias="none",
    )
    peft.inject_adapter_in_model(config, model)
    if settings["dora"]:
        _check_directions(model)
    names = [name for name, _ in model.named_parameters() if _is_added(name)]
    return train_only(model, names, "lora", "targets that are linear modules")


@torch.no_grad()
def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw A as peft does, uniformly within ±1/sqrt(inputs), and set B to zero.

    DoRA's magnitudes stay: they are those of the weights.
    """
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            bound = 1.0 / math.sqrt(parameter.shape[1])
            values = generator.uniform(-bound, bound, parameter.shape).astype(np.float32)
            parameter.copy_(torch.from_numpy(values))
        elif ".lora_B." in name:
            parameter.zero_()


def _check_directions(model: nn.Module) -> None:
    for name, magnitudes in model.named_parameters():
        zeros = int((magnitudes == 0).sum()) if ".lora_magnitude_vector." in name else 0
        if zeros:
            module = name.partition(".lora_magnitude_vector.")[0]
            raise UserError(
                f"methods.yaml: dora: {zeros} rows of the weights of '{module}' are zero, so that "
                "they have no direction to keep; valid: dora: false, or other targets"
            )


def _is_added(name: str) -> bool:
    return any(part in name for part in (".lora_A.", ".lora_B.", ".lora_magnitude_vector."))
