"""The models of several seeds as one: frozen parts run once for the rows of all seeds, and each row
goes through what its own seed trains.

Rows come seed by seed, as many of each. Modules with trained parameters are replaced by one that
stacks the seeds' parameters and computes a product for each (`torch.vmap`); gradients flow back to
the seeds' own parameters, which remain where they are. Of peft's adapters in a mixed batch this is
the case of training, and of any method: peft itself has it for LoRA alone, for inference.
"""

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils._pytree import tree_map

from ..models.parts import trained_parameters
from .trainable_model import TrainableModel

CONTAINERS = (nn.ModuleDict, nn.ModuleList, nn.Sequential)
"""Modules that others reach into."""


class StackedModules(nn.Module):
    """The module of each seed that stands in one place of the model.

    Called with rows [seeds · rows, …], it gives each seed's module its own; called without any, as
    a learned prefix is, it returns what all of them make, one behind the other.
    """

    def __init__(self, modules: Sequence[nn.Module]):
        super().__init__()
        # In a tuple: they remain parts of the seeds' models alone.
        self.modules_of = tuple(modules)
        trained = [trained_parameters(module) for module in modules]
        self.trained = {name: [each[name] for each in trained] for name in trained[0]}
        # peft reads its type, and nothing may compute with it, as DoRA does: this has no values.
        first = next(iter(trained[0].values()))
        self.weight = torch.empty(0, dtype=first.dtype, device="meta")

    def forward(self, *rows: torch.Tensor) -> torch.Tensor | tuple:
        """Return what each seed's module makes of its part of the rows."""
        seeds, template = len(self.modules_of), self.modules_of[0]
        stacked = {name: torch.stack(each) for name, each in self.trained.items()}
        if type(template) is nn.Linear:
            return self._linear(template, stacked, *rows)

        def one(trained: dict[str, torch.Tensor], *own: torch.Tensor):
            return torch.func.functional_call(template, trained, own)

        made = torch.vmap(one)(stacked, *(each.unflatten(0, (seeds, -1)) for each in rows))
        return tree_map(lambda each: each.flatten(0, 1), made)

    def _linear(
        self, template: nn.Linear, stacked: dict[str, torch.Tensor], rows: torch.Tensor
    ) -> torch.Tensor:
        """Return the same, of most modules that are stacked, in a third of vmap's overhead."""
        own = rows.reshape(len(self.modules_of), -1, rows.shape[-1])
        if "weight" in stacked:
            made = own @ stacked["weight"].mT
        else:
            made = nn.functional.linear(own, template.weight)
        if "bias" in stacked:
            made = made + stacked["bias"].unsqueeze(1)
        elif template.bias is not None:
            made = made + template.bias
        return made.reshape(*rows.shape[:-1], -1)


def stacked(trainables: Sequence[TrainableModel]) -> TrainableModel:
    """Return the model of some seeds as one; of a single seed its own.

    Frozen weights must be the same tensors in all of them, and stay so.
    """
    if len(trainables) == 1:
        return trainables[0]
    places: dict[int, object] = {}
    _replace(trainables, places)
    first = trainables[0]
    # Everything else is copied around the weights, as they are.
    places |= {id(each): each for each in (*first.parameters(), *first.buffers())}
    return copy.deepcopy(first, places)


def _replace(modules: Sequence[nn.Module], places: dict[int, object]) -> None:
    """Enter what takes the place of the first seed's modules: for the outermost that are trained as
    a whole, and for those that own a trained parameter.

    Dropout, whose masks are of all rows, stays outside of them.
    """
    first = modules[0]
    trained = trained_parameters(first)
    if not trained:
        return
    whole = len(trained) == len(list(first.parameters())) and not isinstance(first, CONTAINERS)
    drops = any(isinstance(each, nn.Dropout) for each in first.modules())
    if any("." not in name for name in trained) or (whole and not drops):
        places[id(first)] = StackedModules(modules)
        return
    for name, _ in first.named_children():
        _replace([module.get_submodule(name) for module in modules], places)


def joined(
    reads: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return as one what several seeds read, as many sequences each: `ids` [sequences, tokens],
    padded to the longest, and `places` [reads, 2] (see `TrainableModel`), as many for each seed."""
    longest = max(ids.shape[1] for ids, _ in reads)
    most = max(len(places) for _, places in reads)
    ids = [nn.functional.pad(ids, (0, longest - ids.shape[1])) for ids, _ in reads]
    places = [
        # What is missing of them is read twice, and left out by `divided`.
        torch.cat([places, places[:1].expand(most - len(places), -1)])
        + torch.tensor([number * len(ids[0]), 0])
        for number, (_, places) in enumerate(reads)
    ]
    return torch.cat(ids), torch.cat(places)


def divided(
    logits: torch.Tensor, reads: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> list[torch.Tensor]:
    """Return each seed's logits [reads, classes] of those of all."""
    parts = logits.unflatten(0, (len(reads), -1))
    return [part[: len(places)] for part, (_, places) in zip(parts, reads, strict=True)]
