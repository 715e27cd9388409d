"""Softmax attention with its log-sum-exp: PyTorch's fused kernels, or ordinary products.

The log-sum-exp is what lets attentions over two sets of keys be merged (`prefix_attention.py`).
"""

import torch
from torch.nn import functional

from ..models.shapes import CHUNK, QUERIES

SPAN = 512
"""Queries of a sliding layer that meet the keys within their reach in one product."""


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    causal: bool,
    scale: float,
    mask: torch.Tensor | None = None,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention [rows, heads, tokens, width] and its log-sum-exp [rows, heads, tokens].

    All three have equally many heads; `causal` wants as many queries as keys; `mask` (bool, as
    broadcast to [rows, heads, queries, keys]) says what is seen. Fused kernels serve where they
    exist, since they do not hold the scores.
    """
    width, half = query.shape[-1], query.element_size() == 2
    if softcap is not None or value.shape[-1] != width:
        return attend_plainly(query, key, value, causal, scale, mask, softcap)
    if query.device.type == "cpu":
        added = None if mask is None else _added(mask, query.dtype)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=added, scale=scale
        )
    if mask is not None:
        return attend_plainly(query, key, value, causal, scale, mask)
    cuda = query.device.type == "cuda"
    # The flash kernel needs Ampere or newer.
    if cuda and half and width % 8 == 0 and width <= 256 and _has_flash(query.device):
        return torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, 0.0, causal, False, scale=scale
        )[:2]
    if cuda and width % (8 if half else 4) == 0:
        output, total = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, causal, scale=scale
        )[:2]
        return output, total[..., : query.shape[2]]
    return attend_plainly(query, key, value, causal, scale)


def _added(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what is added to scores, in float32 at least, for what a mask (bool) hides.

    Not minus infinity: a query that sees nothing must give a number, of no weight.
    """
    kind = torch.promote_types(dtype, torch.float32)
    added = torch.zeros(mask.shape, dtype=kind, device=mask.device)
    return added.masked_fill_(~mask, torch.finfo(kind).min)


def _has_flash(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def attend_plainly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    causal: bool,
    scale: float,
    mask: torch.Tensor | None = None,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `attend` does with ordinary products, in pieces of `at_once` queries."""
    rows, step = query.shape[0], max(1, QUERIES // query.shape[2])
    if step < rows:
        parts = []
        for chunk in (slice(start, start + step) for start in range(0, rows, step)):
            seen = mask if mask is None or mask.shape[0] == 1 else mask[chunk]
            tensors = (tensor[chunk] for tensor in (query, key, value))
            parts.append(attend_plainly(*tensors, causal, scale, seen, softcap))
        outputs, totals = zip(*parts, strict=True)
        return torch.cat(outputs), torch.cat(totals)
    outputs, totals, step = [], [], at_once(key)
    for start in range(0, query.shape[2], step):
        piece = query[:, :, start : start + step]
        scores = (piece @ key.transpose(-1, -2)).float() * scale
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if causal:
            row = torch.arange(start, start + piece.shape[2], device=query.device)
            seen = torch.arange(key.shape[2], device=query.device) <= row[:, None]
        else:
            seen = mask[:, :, start : start + step] if mask is not None else None
        if seen is not None:
            # Not minus infinity: a query that sees nothing must give a number, of no weight.
            scores.masked_fill_(~seen, torch.finfo(scores.dtype).min)
        totals.append(torch.logsumexp(scores, dim=-1))
        outputs.append(functional.softmax(scores, dim=-1).to(value.dtype) @ value)
    return torch.cat(outputs, dim=2), torch.cat(totals, dim=2)


def at_once(key: torch.Tensor) -> int:
    """Return how many queries meet the keys in one product whose result is held."""
    return max(1, QUERIES * CHUNK // max(key.shape[2], CHUNK))


def attend_near(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    end: int,
    positions: torch.Tensor,
    window: int,
    scale: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what `attend` does for a prefix of which queries at `positions` see the last tokens.

    The keys are those of the positions before `end`. A query that sees none gets no weight in the
    end. The mask is made in pieces: as a whole it would be as large as batch times prefix.
    """
    first = max(0, key.shape[2] + 1 - window)
    keys = torch.arange(first, key.shape[2], device=positions.device) + (end - key.shape[2])
    key, value = key[:, :, first:], value[:, :, first:]
    outputs, totals, step = [], [], at_once(key)
    for start in range(0, query.shape[2], step):
        piece = slice(start, start + step)
        mask = (positions[piece, None] - keys < window)[None, None]
        part = attend(query[:, :, piece], key, value, False, scale, mask, softcap)
        outputs.append(part[0])
        totals.append(part[1])
    return torch.cat(outputs, dim=2), torch.cat(totals, dim=2)


def attend_within(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    window: int,
    scale: float,
    softcap: float | None,
) -> torch.Tensor:
    """Return causal attention of which a query sees the `window` keys up to its own.

    The queries are those of the last keys. Each piece of `SPAN` of them reads the keys in its reach
    only.
    """
    ahead, outputs = key.shape[2] - query.shape[2], []
    for start in range(0, query.shape[2], SPAN):
        piece = query[:, :, start : start + SPAN]
        first, end = ahead + start, ahead + start + piece.shape[2]
        reach = slice(max(0, first + 1 - window), end)
        places = torch.arange(end, device=query.device)
        before = places[first:, None] - places[reach]
        mask = (before >= 0) & (before < window)
        near = piece, key[:, :, reach], value[:, :, reach]
        if softcap is None:
            attended = functional.scaled_dot_product_attention(*near, mask, scale=scale)
        else:
            attended = attend_plainly(*near, False, scale, mask[None, None], softcap)[0]
        outputs.append(attended)
    return torch.cat(outputs, dim=2)
