"""The classification heads of vanilla fine-tuning and of probes."""

import numpy as np
import torch
from torch import nn

from ..errors import unknown
from .parts import Float32Linear

CLASSIFIERS = ("linear", "dense-relu-linear")
DROPOUT_KEYS = ("dropout", "hidden_dropout", "resid_pdrop")
"""Names under which configurations of model types keep the dropout of hidden states."""


class ClassificationHead(nn.Module):
    """Dense layer, ReLU, dropout, linear layer (Mosbach et al. 2023); or the last two alone.

    Maps the hidden state of the last real position [n, width] to logits [n, labels].
    """

    def __init__(
        self, width: int, labels: int, dropout: float, dtype: torch.dtype, dense: bool = True
    ):
        super().__init__()
        self.dense = Float32Linear(width, width, dtype=dtype) if dense else None
        self.dropout = nn.Dropout(dropout)
        self.out = Float32Linear(width, labels, dtype=dtype)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logits of the labels, in float32 whatever the type of the weights."""
        hidden = hidden.float()
        if self.dense is not None:
            hidden = torch.relu(self.dense(hidden))
        return self.out(self.dropout(hidden))

    @torch.no_grad()
    def draw(self, std: float, generator: np.random.Generator) -> None:
        """Draw the weights from a normal distribution, in float32, and set the biases to zero."""
        for layer in filter(None, (self.dense, self.out)):
            values = generator.normal(0.0, std, layer.weight.shape).astype(np.float32)
            layer.weight.copy_(torch.from_numpy(values))
            layer.bias.zero_()


def new_head(model: nn.Module, labels: int, classifier: str) -> ClassificationHead:
    """Return a head for `model`, with its width of word embeddings, dropout and dtype.

    `classifier` is "linear" or "dense-relu-linear"; raises UserError for another. The width is that
    of the readout's input: OPT-350m projects its hidden states to it.
    """
    if classifier not in CLASSIFIERS:
        raise unknown("classifier", classifier, CLASSIFIERS, "methods.yaml: classifier")
    readout = model.get_output_embeddings()
    rates = [getattr(model.config, key) for key in DROPOUT_KEYS if hasattr(model.config, key)]
    dropout = rates[0] if rates else 0.0
    dense = classifier == "dense-relu-linear"
    return ClassificationHead(readout.in_features, labels, dropout, readout.weight.dtype, dense)


def initial_std(model: nn.Module) -> float:
    """Return the standard deviation of the model's own initial weights."""
    config = model.config
    return getattr(config, "init_std", None) or getattr(config, "initializer_range", 0.02)
