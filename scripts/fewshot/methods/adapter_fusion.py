"""AdapterFusion: attention over the frozen adapters of several tasks (Pfeiffer et al. 2021).

Where one adapter reads x and adds A(x) to its sub-layer's output (see `adapter`), N of them add

    V Σ_n p_n A_n(x), with p = softmax over n of (Q x + q) · K A_n(x).

Trained are Q, q, K and V of every such place. Q and K are drawn from a normal of 0.02, q is zero; V
begins as the identity, with 1e-6 beside the diagonal, and the loss is increased by 0.01 ‖I - V‖².
This is the published code (package `adapters`), where K has a bias besides, which adds the same to
all scores and so nothing to p, and scores are dropped out as the model's attention is. With equal
weights its version 1.3.0 gives the same for Llama: logits within 2e-6, gradients within 1e-7. The
published experiments have the adapter of the very task among the N; here all are of other tasks.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from . import adapter
from .freezing import train_only
from .initial_values import normal

PENALTY = 0.01
"""What the squared distance of each V to the identity is multiplied with in the loss."""
BESIDE = 1e-6
"""Initial values of V off its diagonal."""
DEVIATION = 0.02
"""That of the initial values of Q and K."""


class Fusion(nn.Module):
    """Attention of states x [..., width] over the adapters of several tasks.

    Its matrices are parameters of its own, as ZeRO stage 3 gathers those of a module when it runs.
    """

    def __init__(self, width: int, settings: dict, like: torch.Tensor):
        super().__init__()
        made = {"dtype": like.dtype, "device": like.device}
        tasks = settings["start_from"]["tasks"]
        self.sources = nn.ModuleList(adapter.Bottleneck(width, settings, like) for _ in tasks)
        self.query, self.key, self.value = (
            nn.Parameter(torch.empty(width, width, **made)) for _ in range(3)
        )
        self.query_bias = nn.Parameter(torch.empty(width, **made))
        self.distance: torch.Tensor | None = None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return what the adapters together add to the sub-layer's output, in the same shape."""
        given = torch.stack([source(states) for source in self.sources], dim=-2)
        asked = functional.linear(states, self.query, self.query_bias) @ self.key
        scores = (given @ asked.unsqueeze(-1)).squeeze(-1)
        shares = scores.float().softmax(dim=-1).to(given.dtype)
        mixed = (shares.unsqueeze(-2) @ given).squeeze(-2)
        if self.training and torch.is_grad_enabled():
            identity = torch.eye(len(self.value), device=self.value.device)
            self.distance = (self.value.float() - identity).square().sum()
        return functional.linear(mixed, self.value)

    def take_distance(self) -> torch.Tensor:
        """Return ‖I - V‖² of the last forward pass in training, and let go of it."""
        distance, self.distance = self.distance, None
        return distance

    @torch.no_grad()
    def draw(self, generator: np.random.Generator) -> None:
        """Draw the initial values of what is trained."""
        for weight in (self.query, self.key):
            weight.copy_(normal(generator, weight.shape, DEVIATION))
        self.query_bias.zero_()
        self.value.fill_(BESIDE).fill_diagonal_(1.0)


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Put the adapters of `settings["start_from"]["tasks"]` into the `sublayers` of every layer, a
    fusion over them, and freeze all else; `place` gives the adapters their values.

    Raises UserError for a model whose layers are not known.
    """
    adapter.adapt(model, settings)
    width, like = model.config.get_text_config().hidden_size, next(model.parameters())
    for module in model.modules():
        if isinstance(module, adapter.Adapted):
            module.adapter = Fusion(width, settings, like)
    for weight in _of_sources(model).values():
        nn.init.constant_(weight, float("nan"))  # None can pass for having been placed.
    added = [name for name, _ in model.named_parameters() if ".adapter." in name]
    names = [name for name in added if ".sources." not in name]
    return train_only(model, names, "adapter_fusion", adapter.VALID)


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw the initial values of all fusions, which begin near the mean of the tasks' adapters."""
    for fusion in _fusions(model):
        fusion.draw(generator)


@torch.no_grad()
def place(model: nn.Module, sources: Sequence[Callable[[str], torch.Tensor]]) -> None:
    """Copy the adapters of each task into their places."""
    for name, weight in _of_sources(model).items():
        before, _, own = name.partition(".sources.")
        number, _, part = own.partition(".")
        weight.copy_(sources[int(number)](f"{before}.{part}"))


def penalty(model: nn.Module) -> torch.Tensor:
    """Return 0.01 Σ ‖I - V‖² over all fusions, after a forward pass in training."""
    return PENALTY * torch.stack([fusion.take_distance() for fusion in _fusions(model)]).sum()


def _fusions(model: nn.Module) -> list[Fusion]:
    return [module for module in model.modules() if isinstance(module, Fusion)]


def _of_sources(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in model.named_parameters() if ".adapter.sources." in name}
