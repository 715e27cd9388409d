"""Batches of sequences read by a model, behind a shared prefix, packed, or plainly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from ..models.parts import backbone, learned_cache, learned_prefix, tokens_ahead
from ..models.shapes import CHUNK
from ..prompts.tokenize import Prompts
from .packing import Layout, PackedSequence, lay_out, pack_rows
from .prefix_attention import SharedPrefix, Unroutable

SHORT_PREFIX = 16
"""A prefix below this many tokens is read with every row: sharing it would save nothing."""


@dataclass(frozen=True)
class Route:
    """How prompts are read: whether their prefix is shared, whether sequences may fork, and whether
    the last layer is trimmed to the tokens that predict one of a label word.

    Each takes attention that is `routed`.
    """

    shared: bool = False
    forks: bool = False
    trims: bool = False

    @property
    def name(self) -> str:
        """Return the route as manifests name it."""
        return "shared prefix" if self.shared else "packed" if self.forks else "plain"

    @property
    def routed(self) -> bool:
        """Return whether the model's attention has to be exchanged."""
        return self.shared or self.forks or self.trims


PLAIN = Route()


def best_route(prompts: Prompts, learned: bool = False) -> tuple[Route, list[PackedSequence]]:
    """Return the route that reads the fewest tokens, and its sequences.

    A `learned` prefix is shared whatever its length: it is there already.
    """
    sequences = pack_rows(prompts, forks=True)
    forked = any(
        len(sequence.rows) > 1 or any(len(word) > 1 for word in prompts.words[sequence.rows[0][0]])
        for sequence in sequences
    )
    return Route(learned or len(prompts.prefix) >= SHORT_PREFIX, forked, trims=True), sequences


class Reader:
    """Turns sequences into the hidden states that predict tokens of label words.

    Where the route shares the prefix, that is encoded first. Learned keys and values take the
    place of an encoded prefix, and the prompts' own is then read with every row. Where the route is
    `routed`, the model's attention must be so as long as this is used; raises Unroutable where it
    does not go that way.
    """

    def __init__(self, model: nn.Module, prompts: Prompts, route: Route):
        self.model, self.backbone = model, backbone(model)
        self.prompts, self.route = prompts, route
        self.device = next(model.parameters()).device
        learned = learned_prefix(model)
        encodes = route.shared and learned is None
        self.prefix = SharedPrefix(encodes, len(prompts.prefix))
        self.start = () if encodes else prompts.prefix
        self.ahead = tokens_ahead(model) + len(prompts.prefix) - len(self.start)
        if route.trims:
            self.prefix.last_layer, self.layer = _last_layer(model)
        if encodes:
            self._encode()
        elif route.shared:
            self.prefix.layers = dict(enumerate(learned()))
            self.prefix.read = tokens_ahead(model)

    def _encode(self) -> None:
        ids = np.array([self.prompts.prefix])
        try:
            for start in range(0, ids.shape[1], CHUNK):
                chunk = ids[:, start : start + CHUNK]
                self._call(chunk, start + np.arange(chunk.shape[1])[None])
                self.prefix.read += chunk.shape[1]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                f"the context of {ids.shape[1]} tokens alone does not fit in memory"
            ) from None
        self.prefix.encoding = False

    def hidden(self, batch: Sequence[PackedSequence]) -> tuple[torch.Tensor, Layout]:
        """Return hidden states [reads, width] of a batch, and its layout."""
        layout = lay_out(self.prompts, batch, self.start)
        reads = layout.reads
        if self.route.trims:
            asked, reads = _by_sequence(reads, len(batch))
            with self.prefix.trimmed(self.layer):
                states = self._routed(layout, asked)
        elif self.route.routed:
            states = self._routed(layout, None)
        else:
            ids = self._on_device(layout.ids)
            cache = learned_cache(self.model, len(ids))
            states = self.backbone(input_ids=ids, use_cache=False, **cache).last_hidden_state
        reads = self._on_device(reads)
        return states[reads[:, 0], reads[:, 1]], layout

    def _routed(self, layout: Layout, asked: np.ndarray | None) -> torch.Tensor:
        return self._call(layout.ids, layout.positions + self.ahead, layout.branches, asked)

    def _call(self, ids, positions, branches=None, asked=None) -> torch.Tensor:
        places = self._on_device(positions)
        self.prefix.place(places, self._on_device(branches), self._on_device(asked))
        states = self.backbone(
            input_ids=self._on_device(ids),
            position_ids=places,
            use_cache=False,
            shared_prefix=self.prefix,
        ).last_hidden_state
        if not self.prefix.used:
            raise Unroutable("its attention is not exchangeable")
        return states

    def _on_device(self, array: np.ndarray | None) -> torch.Tensor | None:
        if array is None:
            return None
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def _last_layer(model: nn.Module) -> tuple[int, nn.Module]:
    """Return number and module of the last layer; raises Unroutable where that is not clear."""
    count = model.config.get_text_config().num_hidden_layers
    stacks = [m for m in backbone(model).modules() if isinstance(m, nn.ModuleList)]
    layers = [stack[-1] for stack in stacks if len(stack) == count]
    if len(layers) != 1:
        raise Unroutable(f"{len(layers)} of its parts could be its layers")
    return count - 1, layers[0]


def _by_sequence(reads: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn reads [reads, 2] of (sequence, token) into the tokens of each sequence [count, some]
    and (sequence, place among these); what is missing of `some` is its first token."""
    places = np.zeros(len(reads), dtype=np.int64)
    seen = np.zeros(count, dtype=np.int64)
    for i, (sequence, _) in enumerate(reads):
        places[i] = seen[sequence]
        seen[sequence] += 1
    asked = np.zeros((count, seen.max()), dtype=np.int64)
    asked[reads[:, 0], places] = reads[:, 1]
    return asked, np.stack([reads[:, 0], places], axis=1)


def out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed, on the GPU or on the host."""
    signs = (
        "can't allocate memory",
        "not enough memory",
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
    )
    by_type = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return by_type or any(sign in str(error) for sign in signs)
