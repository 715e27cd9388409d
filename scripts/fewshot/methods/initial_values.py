"""Initial values of added modules, drawn from a job's own generator."""

import math

import numpy as np
import torch
from torch import nn


def uniform(generator: np.random.Generator, shape: torch.Size, bound: float) -> torch.Tensor:
    """Return numbers that are uniform within ± bound, float32 of that shape."""
    return _tensor(generator.uniform(-bound, bound, tuple(shape)))


def normal(generator: np.random.Generator, shape: torch.Size, deviation: float) -> torch.Tensor:
    """Return normal numbers around 0, float32 of that shape."""
    return _tensor(generator.normal(0.0, deviation, tuple(shape)))


def truncated_normal(
    generator: np.random.Generator, shape: torch.Size, deviation: float
) -> torch.Tensor:
    """Return normal numbers around 0 that lie within two deviations, float32 of that shape."""
    within = math.erf(2 / math.sqrt(2)) / 2
    shares = torch.from_numpy(generator.uniform(0.5 - within, 0.5 + within, tuple(shape)))
    return (deviation * torch.special.ndtri(shares)).float()


@torch.no_grad()
def draw_as_torch(encoder: nn.Module, generator: np.random.Generator) -> None:
    """Give embeddings, linear layers and LSTMs the values that PyTorch draws for them itself.

    Embeddings are normal; a linear layer is uniform within ± 1/√inputs, an LSTM within ± 1/√units.
    """
    for module in encoder.modules():
        for parameter in module.parameters(recurse=False):
            if isinstance(module, nn.Embedding):
                values = normal(generator, parameter.shape, 1.0)
            else:
                units = module.hidden_size if isinstance(module, nn.LSTM) else module.in_features
                values = uniform(generator, parameter.shape, 1 / math.sqrt(units))
            parameter.copy_(values)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
