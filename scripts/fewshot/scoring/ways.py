"""How a model reads a set of prompts: what is found out before the first batch.

It depends on the model's architecture and on the tokens, not on what its weights come to be, so
that training finds it once for all epochs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import UserError
from ..models.models import readout, tokens_ahead, unwrap
from ..models.shards import fetching
from ..prompts.tokens import Prompts
from .layout import Piece, pieces_of
from .probing import check_readout, reads_alone, usable_route
from .reading import Route, best_route, out_of_memory


@dataclass(frozen=True)
class Way:
    """The route of some prompts and their sequences; `reason` says why it is not a better one.

    `alone` tells whether a sequence must not be read with others.
    """

    route: Route
    pieces: list[Piece]
    reason: str | None
    alone: bool


def find_way(model: nn.Module, prompts: Prompts, head: nn.Module | None = None) -> Way:
    """Return the way to read `prompts` that reads the fewest tokens and is right for the model.

    Without a `head`, the model's readout is checked too. Raises UserError for prompts longer than
    the model's window, and where memory runs out on a single row.
    """
    _check_window(model, prompts)
    best, pieces = best_route(prompts, learned=tokens_ahead(model) > 0)
    with evaluating(model), _room():
        if head is None:
            check_readout(model, readout(model), prompts)
        route, reason = usable_route(model, prompts, best)
    if best.forks and not route.forks:
        pieces = pieces_of(prompts, forks=False)
    return Way(route, pieces, reason, reads_alone(model, prompts))


@contextmanager
def evaluating(*parts: nn.Module | None) -> Iterator[None]:
    """Use modules without dropout or gradients and leave them as they were.

    Not in inference mode, whose tensors (a rotary embedding's, a gathered shard's) could not take
    part in the training that follows.
    """
    given = [part for part in parts if part is not None]
    training = [module for part in given for module in part.modules() if module.training]
    for part in given:
        part.eval()
    try:
        with torch.no_grad(), fetching(*given):
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _room() -> Iterator[None]:
    """Raise UserError where not even the checks before the first batch find room."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            "memory ran out on a single row, before the first batch; use a larger machine or a "
            "smaller model"
        ) from None


def _check_window(model: nn.Module, prompts: Prompts) -> None:
    window = getattr(unwrap(model).config.get_text_config(), "max_position_embeddings", None)
    lengths = prompts.lengths
    longest = lengths.index(max(lengths))
    length = lengths[longest] + tokens_ahead(model)
    if window is not None and length > window:
        raise UserError(
            f"row {prompts.ids[longest]}: its prompt has {length} tokens, the model reads {window}"
        )
