"""The hidden states that the readout reads at the answer, for classifiers fitted elsewhere."""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..models.parts import unwrap
from ..prompts.tokenize import Prompts
from ..runtime.processes import ProcessGroup
from .packing import Layout
from .passes import Pass
from .prefix_attention import routed
from .reader import Reader
from .routes import evaluating, plan_reading


@dataclass(frozen=True)
class States:
    """The last layer's hidden state at the last token of each prompt, behind the last norm:
    `values` float32 [rows, width], in the order of the prompts' ids. The rest is as in `Scores`.
    """

    values: np.ndarray
    route: str
    tokens_read: int
    splits: int = 0


def hidden_states(
    model: nn.Module,
    prompts: Prompts,
    *,
    batch_tokens: int,
    processes: ProcessGroup | None = None,
    sharded: bool = False,
) -> States:
    """Return what the model's readout reads at the end of each prompt, as `score` reads it.

    Arguments and errors are those of `scoring.score.score`. The states are compared with the
    model's own logits on one row first, so that they are the readout's input indeed. The width is
    that input's: OPT-350m projects its layers' states to it.
    """
    # One class for each row, so that it is read off at the last token and nowhere else.
    prompts = prompts.with_words((0,))
    plan = plan_reading(model, prompts)
    width = unwrap(model).get_output_embeddings().in_features
    found = _LastStates(len(prompts.ids), width)
    with evaluating(model), routed(model) if plan.route.routed else nullcontext():
        reader = Reader(model, prompts, plan.route)
        tokens, group = 1 if plan.alone else batch_tokens, processes or ProcessGroup()
        reading = Pass(reader, plan.sequences, found, tokens, group, sharded)
        (values,) = reading.run()
    return States(values, plan.told(), reading.tokens_read, reading.splits)


class _LastStates:
    """The hidden states of rows, float32 [rows, width], in an array that is filled."""

    def __init__(self, rows: int, width: int):
        self.values = np.zeros((rows, width), dtype=np.float32)
        self.arrays = (self.values,)

    def made(self, hidden: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, ...]:
        """Return a batch's hidden states in float32."""
        return (hidden.float(),)

    def enter(self, made: tuple[torch.Tensor, ...], layout: Layout) -> None:
        """Enter what `made` has computed."""
        read, row = layout.trunks.T
        self.values[row] = made[0].cpu().numpy()[read]
