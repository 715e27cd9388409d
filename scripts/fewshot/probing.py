"""Compare the ways to score on a short row, before all rows are scored in the fastest."""

import logging
from dataclasses import replace

import torch
from torch import nn

from .attention import Unroutable, routed
from .errors import UserError
from .layout import Piece
from .models import unwrap
from .reading import PLAIN, Reader, Route
from .tokens import Prompts

log = logging.getLogger(__name__)

PROBE = 32
"""Tokens of the prefix on which two ways are compared, past any window."""
SPANS = ("sliding_window", "attention_chunk_size")
"""What configurations call the tokens that a layer attends to, where these are not all."""
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Largest difference of the two ways' hidden states, relative to the largest of them."""
HALF_TOLERANCE = 0.1


def usable_route(model: nn.Module, prompts: Prompts, route: Route) -> tuple[Route, str | None]:
    """Return the route on which the model can be read, and why not on the better one.

    That is `route`, or this without trimming, which is worth no mention, or the plain one.
    """
    inner = unwrap(model)
    if not getattr(inner, "_supports_attention_backend", False):
        return PLAIN, f"{type(inner).__name__} has no exchangeable attention"
    probe = _probe(prompts, _reach(inner, max(prompts.lengths)))
    reason = None
    for candidate in dict.fromkeys((route, replace(route, trims=False))):
        if not candidate.routed:
            return PLAIN, None
        reason = _why_not(model, probe, candidate)
        if reason is None:
            return candidate, None
        log.info("not read as %s: %s", candidate, reason)
    return PLAIN, reason


def _why_not(model: nn.Module, probe: Prompts, route: Route) -> str | None:
    own = len(probe.suffixes[0])
    plain = Reader(model, probe, PLAIN).hidden([Piece(((0, (0,)),), own)])[0]
    # The row twice, forking off from itself half way.
    twice = Prompts((0, 1), probe.prefix, 2 * probe.suffixes, 2 * probe.words)
    fork = Piece(((0, (0,)), (1, (0,))), own // 2 if route.forks else own)
    try:
        with routed(model):
            found = Reader(model, twice, route).hidden([fork])[0]
    except Unroutable as error:
        return str(error)
    except (RuntimeError, TypeError, ValueError) as error:
        if not route.trims:
            raise
        return f"its last layer cannot be trimmed ({error})"
    return None if _agree(found, plain) else "its attention is not plainly causal (probe differs)"


def check_readout(model: nn.Module, head: nn.Module, prompts: Prompts) -> None:
    """Compare the parts of the model with the whole; raises UserError where they differ."""
    probe = _probe(prompts)
    reader = Reader(model, probe, PLAIN)
    hidden, layout = reader.hidden([Piece(((0, (0,)),), len(probe.suffixes[0]))])
    ids = torch.from_numpy(layout.ids).to(reader.device)
    whole = unwrap(model)(input_ids=ids, use_cache=False).logits[:, -1]
    if not _agree(head(hidden), whole):
        name = type(unwrap(model)).__name__
        raise UserError(f"{name}: its logits are not its last hidden states times its head")


def _reach(model: nn.Module, longest: int) -> int:
    """Return the tokens that show all kinds of attention in prompts of up to `longest` tokens."""
    config = model.config.get_text_config()
    spans = [getattr(config, name, None) or 0 for name in SPANS]
    return max([span for span in spans if span < longest], default=0) + PROBE


def _probe(prompts: Prompts, prefix: int = PROBE) -> Prompts:
    """Return one short row of one short word behind so many tokens of the prefix."""
    row = min(range(len(prompts.ids)), key=lambda i: len(prompts.suffixes[i]))
    word = prompts.words[row][0][:1]
    return Prompts((0,), prompts.prefix[:prefix], [prompts.suffixes[row]], [(word,)])


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether results of one computation differ by rounding only (NaN passes)."""
    scale = expected.abs().max().float()
    difference = (found.float() - expected.float()).abs().max()
    return not difference > TOLERANCE.get(expected.dtype, HALF_TOLERANCE) * scale
