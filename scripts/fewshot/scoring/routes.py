"""Which way of reading a set of prompts is right for a model, and the fastest.

It depends on the model's architecture and on the tokens, not on what its weights come to be, so
that training finds it once for all epochs.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..errors import UserError
from ..models.deepspeed_zero import fetching
from ..models.parts import learned_cache, readout, tokens_ahead, unwrap, wide_products
from ..prompts.tokenize import Prompts
from .packing import PackedSequence, pack_rows
from .prefix_attention import Unroutable, routed
from .reader import PLAIN, Reader, Route, best_route, out_of_memory

log = logging.getLogger(__name__)

PROBE = 32
"""Tokens of the prefix on which two ways are compared, past any window."""
SPANS = ("sliding_window", "attention_chunk_size")
"""What configurations call the tokens that a layer attends to, where these are not all."""
LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layers that `prefix_attention.py` computes."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}
"""Largest norm of the difference of two ways' hidden states, relative to their norm."""
HALF_TOLERANCE = 0.03


def usable_route(model: nn.Module, prompts: Prompts, route: Route) -> tuple[Route, str | None]:
    """Return the route on which the model can be read, and why not on the better one.

    That is `route`, or this without trimming, which is worth no mention, or the plain one. Raises
    UserError where memory runs out on a single row.
    """
    inner = unwrap(model)
    config = inner.config.get_text_config()
    if not getattr(inner, "_supports_attention_backend", False):
        return PLAIN, f"{type(inner).__name__} has no exchangeable attention"
    other = set(getattr(config, "layer_types", None) or ()) - LAYERS
    if other:
        return PLAIN, f"it has layers of {', '.join(sorted(other))}"
    if reads_alone(model, prompts):
        return PLAIN, "its rotary frequencies depend on the length of a prompt (longrope)"
    ahead = tokens_ahead(model)
    probe, reason = _probe(prompts, _reach(config, ahead + max(prompts.lengths))), None
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
    plain = Reader(model, probe, PLAIN).hidden([PackedSequence(((0, (0,)),), own)])[0]
    # The row twice, forking off from itself half way.
    twice = Prompts((0, 1), probe.prefix, 2 * probe.suffixes, 2 * probe.words)
    fork = PackedSequence(((0, (0,)), (1, (0,))), own // 2 if route.forks else own)
    try:
        with routed(model):
            hidden = Reader(model, twice, route).hidden([fork])[0]
    except Unroutable as error:
        return str(error)
    except (RuntimeError, MemoryError, TypeError, ValueError) as error:
        # Free memory must not decide how rows are read.
        if out_of_memory(error):
            raise
        return f"it cannot be read so ({type(error).__name__}: {str(error).splitlines()[0]})"
    return (
        None
        if _agree(hidden, plain, plain.dtype)
        else "its attention is not plainly causal (probe differs)"
    )


def reads_alone(model: nn.Module, prompts: Prompts) -> bool:
    """Return whether a row must not be read with others, which would change its positions' angles.

    transformers chooses longrope's frequencies for a whole batch, by its longest row.
    """
    config = unwrap(model).config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    kind = rope.get("rope_type", rope.get("type"))
    original = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    return kind == "longrope" and tokens_ahead(model) + max(prompts.lengths) > (original or 0)


def check_readout(model: nn.Module, head: nn.Module, prompts: Prompts) -> None:
    """Compare the parts of the model with the whole; raises UserError where they differ."""
    probe = _probe(prompts)
    reader = Reader(model, probe, PLAIN)
    hidden, layout = reader.hidden([PackedSequence(((0, (0,)),), len(probe.suffixes[0]))])
    ids = torch.from_numpy(layout.ids).to(reader.device)
    cache = learned_cache(model, len(ids))
    whole = unwrap(model)(input_ids=ids, use_cache=False, **cache).logits[:, -1]
    if not _agree(head(hidden), whole, hidden.dtype):
        name = type(unwrap(model)).__name__
        raise UserError(f"{name}: its logits are not its last hidden states times its head")


def _reach(config, longest: int) -> int:
    """Return the tokens of a prefix that show all kinds of attention to a prompt's last tokens.

    0 where prompts of up to `longest` tokens are shorter than any window.
    """
    spans = [getattr(config, name, None) or 0 for name in SPANS]
    return max([span for span in spans if span < longest], default=0)


def _probe(prompts: Prompts, reach: int = 0) -> Prompts:
    """Return one row of one short word behind at most `reach` and `PROBE` tokens of the prefix.

    The longest row if something reaches less far than that, else the shortest.
    """
    choose = max if reach else min
    row = choose(range(len(prompts.ids)), key=lambda i: len(prompts.suffixes[i]))
    word, prefix = prompts.words[row][0][:1], prompts.prefix[: reach + PROBE]
    return Prompts((0,), prefix, [prompts.suffixes[row]], [(word,)])


def _agree(actual: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Return whether results of a computation in `dtype` differ by rounding only (NaN passes)."""
    difference = torch.linalg.vector_norm((actual - expected).float(), dim=-1).max()
    scale = torch.linalg.vector_norm(expected.float(), dim=-1).max()
    return not difference > TOLERANCE.get(dtype, HALF_TOLERANCE) * scale


@dataclass(frozen=True)
class ReadingPlan:
    """The route of some prompts and their sequences; `reason` says why it is not a better one.

    `alone` tells whether a sequence must not be read with others.
    """

    route: Route
    sequences: list[PackedSequence]
    reason: str | None
    alone: bool

    def told(self) -> str:
        """Return what a manifest says of the route; log why every row is read whole, if it is."""
        if not self.reason:
            return self.route.name
        log.warning("every row is read whole and by itself, since %s", self.reason)
        return f"plain: {self.reason}"


def plan_reading(model: nn.Module, prompts: Prompts, head: nn.Module | None = None) -> ReadingPlan:
    """Return the way to read `prompts` that reads the fewest tokens and is right for the model.

    Without a `head`, the model's readout is checked too. Raises UserError for prompts longer than
    the model's window, and where memory runs out on a single row.
    """
    _check_window(model, prompts)
    best, sequences = best_route(prompts, learned=tokens_ahead(model) > 0)
    with evaluating(model), _room():
        if head is None:
            check_readout(model, readout(model), prompts)
        route, reason = usable_route(model, prompts, best)
    if best.forks and not route.forks:
        sequences = pack_rows(prompts, forks=False)
    return ReadingPlan(route, sequences, reason, reads_alone(model, prompts))


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
        with torch.no_grad(), wide_products(*given), fetching(*given):
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
            f"row with id {prompts.ids[longest]}: its prompt has {length} tokens, the model reads "
            f"{window}"
        )
