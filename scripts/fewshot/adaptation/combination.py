"""Several trained tensors of one name, from adapters of different tasks, made into one.

What a task has changed is its difference to the value that training began with, which is the same
for all tasks of a model and seed. Task arithmetic (Ilharco et al. 2023) adds these up, TIES (Yadav
et al. 2023) keeps the largest values and those that agree in sign, DARE (Yu et al. 2024) a random
share, scaled up. peft has the formulas; as there they look at one tensor at a time, not at all
together, and at LoRA's two factors, not at their product.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch


def combined(
    drawn: torch.Tensor,
    trained: Sequence[torch.Tensor],
    start: Mapping,
    generator: np.random.Generator,
) -> torch.Tensor:
    """Return one tensor of the tensors that tasks have `trained`, in float32, as the setting
    `start_from` says (`combine`, `weight`, `density`).

    `drawn`, of their shape, is what training began with. "mean", if nothing is said, is the mean of
    what was trained; all others are `drawn` plus what they make of the differences to it. Of TIES
    the differences that agree are averaged. DARE draws from `generator`.
    """
    how = start.get("combine", "mean")
    wide = [each.float() for each in trained]
    if how == "mean":
        return torch.stack(wide).mean(dim=0)
    drawn = drawn.float()
    changes = [each - drawn for each in wide]
    weights = torch.full((len(changes),), float(start.get("weight", 1.0)))
    return drawn + _merged(how, changes, weights, start.get("density"), generator)


def _merged(
    how: str,
    changes: list[torch.Tensor],
    weights: torch.Tensor,
    density: float | None,
    generator: np.random.Generator,
) -> torch.Tensor:
    from peft.utils import merge_utils

    if how == "linear":
        return merge_utils.task_arithmetic(changes, weights)
    if how == "ties":
        return merge_utils.ties(changes, weights, density)
    merge = {"dare-linear": merge_utils.dare_linear, "dare-ties": merge_utils.dare_ties}[how]
    # peft draws from PyTorch's own stream.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator.integers(2**63)))
        return merge(changes, weights, density)
