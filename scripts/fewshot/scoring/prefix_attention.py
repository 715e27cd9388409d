"""Attention over a prefix that all rows of a batch share, without a copy of it per row.

Softmax attention over the union of two sets of keys is the mean of the attentions over either,
weighted by their normalisers: with (o1, l1) and (o2, l2) the outputs and log-sum-exps of prefix
and own tokens, the whole is o2 + sigmoid(l1 - l2) (o1 - o2). So the queries of all rows meet the
prefix in one large product, and each row meets its own tokens causally.

Where a layer attends to a sliding window, or where rows and label words fork off what they share,
the fused kernel of CPUs takes the very mask; on a GPU, and where scores are soft-capped, ordinary
products take its place.

A long prefix is encoded in chunks, each of which attends to those before in the same way. Of a
sliding layer, only the keys in reach of later tokens are read, and kept.

The function is entered into transformers' registry of attention functions, which serves every
architecture that supports it; no model class is copied. Cascade inference in FlashInfer and
Hydragen (Juravsky et al. 2024) decompose attention in the same way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .kernels import attend, attend_near, attend_within

NAME = "fairshot_prefix"
# What architectures pass along that changes nothing about causal attention.
_HARMLESS = {
    "cache_position",
    "cu_seq_lens_k",
    "cu_seq_lens_q",
    "is_causal",
    "max_length_k",
    "max_length_q",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "use_cache",
}


class Unroutable(Exception):
    """The architecture's attention is more than what `prefix_attention` computes."""


class _Enough(Exception):
    """Queries, keys and values of the last layer are known; its first call ends here."""


@dataclass
class SharedPrefix:
    """What all rows share, and how the tokens of the batch at hand see each other.

    `layers` holds keys and values [1, heads, tokens, width] of each layer; filled while `encoding`,
    chunk by chunk. `length` is the tokens of the prefix, of which `read` are encoded so far.
    `positions` [rows or 1, tokens] are those of the batch's tokens in their prompts. `branches`
    [2, rows, tokens] are the number of each token's branch and of that which it forked off from,
    0 for the stem, which all see; None where nothing forks. `asked` [rows, some] are the tokens
    whose last hidden states matter; None: all. `used` tells that attention came here.
    """

    encoding: bool = True
    length: int = 0
    read: int = 0
    layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    positions: torch.Tensor | None = None
    branches: torch.Tensor | None = None
    asked: torch.Tensor | None = None
    last_layer: int = -1
    used: bool = False
    _forks: torch.Tensor | None = field(default=None, init=False)
    _last: tuple[torch.Tensor, ...] | None = field(default=None, init=False)

    def place(
        self,
        positions: torch.Tensor,
        branches: torch.Tensor | None = None,
        asked: torch.Tensor | None = None,
    ) -> None:
        """Say where the tokens of the next batch stand and which of them are asked for."""
        self.positions, self.branches, self.asked, self._forks = positions, branches, asked, None

    def own_mask(self, window: int | None) -> torch.Tensor | None:
        """Return which own tokens see which, [rows or 1, 1, tokens, tokens]; None: all earlier.

        In the last layer, only those that are asked for see: [rows, 1, some, tokens].
        """
        if self.branches is None and window is None and self._last is None:
            return None
        if self._forks is None:
            count = self.positions.shape[1]
            seen = torch.ones(count, count, dtype=torch.bool, device=self.positions.device).tril()
            self._forks = seen[None, None]
            if self.branches is not None:
                branch, before = self.branches[:, :, None, :, None]
                other = self.branches[0][:, None, None, :]
                visible = (other == 0) | (other == branch) | (other == before)
                self._forks = self._forks & visible
        mask = self._forks
        if window is not None:
            near = self.positions[:, None, :, None] - self.positions[:, None, None, :] < window
            mask = mask & near
        if self._last is None:
            return mask
        rows, some = self.asked.shape
        index = self.asked[:, None, :, None].expand(rows, 1, some, mask.shape[-1])
        return mask.expand(rows, -1, -1, -1).gather(2, index)

    def held(self, layer: int) -> list[torch.Tensor] | None:
        """Return keys and values of what is encoded of the prefix; None: nothing yet."""
        if not self.read or layer not in self.layers:
            return None
        return [tensor[:, :, : self.read] for tensor in self.layers[layer]]

    def keep(
        self, layer: int, new: Sequence[torch.Tensor], window: int | None
    ) -> Sequence[torch.Tensor]:
        """Let a layer hold a chunk's keys and values; return them behind those before.

        Of a layer with a `window`, only those stay that a token after the chunk can reach.
        """
        reach = self.length if window is None else min(self.length, window - 1)
        if reach < self.length:
            before = self.held(layer)
            seen = (
                new
                if before is None
                else [torch.cat(p, dim=2) for p in zip(before, new, strict=True)]
            )
            last = slice(max(0, seen[0].shape[2] - reach), None)
            copied = {"memory_format": torch.contiguous_format}
            self.layers[layer] = tuple(tensor[:, :, last].clone(**copied) for tensor in seen)
            return seen
        end = self.read + new[0].shape[2]
        if not self.read:
            sizes = [(*tensor.shape[:2], self.length, tensor.shape[3]) for tensor in new]
            self.layers[layer] = tuple(t.new_empty(s) for t, s in zip(new, sizes, strict=True))
        for whole, part in zip(self.layers[layer], new, strict=True):
            whole[:, :, self.read : end] = part
        return [whole[:, :, :end] for whole in self.layers[layer]]

    @contextmanager
    def trimmed(self, layer: nn.Module) -> Iterator[None]:
        """Let the last `layer` compute what is asked for only.

        Its keys and values are those of all tokens, so it is called twice: with all tokens up to
        its attention, then with those asked for, whose queries are kept from the first call.
        """
        forward, own = layer.forward, layer.__dict__.get("forward")

        def trimmed(hidden: torch.Tensor, *given: object, **named: object) -> object:
            if self.asked is None:
                return forward(hidden, *given, **named)
            tokens, some = hidden.shape[1], self.asked.shape[1]
            try:
                forward(hidden, *given, **named)
            except _Enough:
                index = self.asked[:, :, None].expand(-1, -1, hidden.shape[2])
                given = _cut(given, tokens, some)
                named = {name: _cut(value, tokens, some) for name, value in named.items()}
                return forward(hidden.gather(1, index), *given, **named)
            finally:
                self._last = None
            raise Unroutable("its last layer does not call its attention")

        layer.forward = trimmed
        try:
            yield
        finally:
            del layer.forward
            if own is not None:
                layer.forward = own

    def keep_asked(self, query, key, value, layer: int) -> tuple[torch.Tensor, ...]:
        """Return queries, keys and values of a layer; in the last, the queries asked for."""
        if self.asked is None or layer != self.last_layer:
            return query, key, value
        if self._last is None:
            self._last = (query, key, value)
            raise _Enough
        query, key, value = self._last
        index = self.asked[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3])
        return query.gather(2, index), key, value

    def query_positions(self) -> torch.Tensor:
        """Return the positions [rows or 1, tokens] of the queries at hand."""
        if self._last is None:
            return self.positions
        rows = self.asked.shape[0]
        return self.positions.expand(rows, -1).gather(1, self.asked)


def _cut(value: object, tokens: int, some: int) -> object:
    """Cut what a layer is given for `tokens` tokens (such as rotary angles) to fit `some`.

    Or repeat it: the last token of what many rows begin with is asked for by each of them.

    Only its shape matters: queries and keys have their positions already.
    """
    if isinstance(value, tuple | list):
        return type(value)(_cut(part, tokens, some) for part in value)
    if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[1] == tokens:
        if some <= tokens:
            return value[:, :some]
        return value[:, torch.arange(some, device=value.device) % tokens]
    return value


@contextmanager
def routed(model: nn.Module) -> Iterator[None]:
    """Let the model's attention go through `prefix_attention`, and undo that at the end.

    Inside, call the backbone with `shared_prefix=SharedPrefix()`.
    """
    ALL_ATTENTION_FUNCTIONS.register(NAME, prefix_attention)
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    configs = {
        key: config for key, config in configs.items() if hasattr(config, "_attn_implementation")
    }
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        # A name that the registry of masks does not know means that the model builds none.
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def prefix_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    shared_prefix: SharedPrefix | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **extra: object,
) -> tuple[torch.Tensor, None]:
    """Attend to `shared_prefix` and, causally, to own tokens; the signature is transformers'.

    Shapes: query [rows, heads, tokens, width], key and value with as many heads or fewer; the
    output is [rows, tokens, heads, width]. A token sees those less than `sliding_window` before
    it; scores s become softcap · tanh(s / softcap). Raises Unroutable for what else is asked.
    """
    if shared_prefix is None or attention_mask is not None or dropout:
        raise Unroutable("its attention is called with a mask, dropout or without its prefix")
    for name, given in extra.items():
        if given is not None and name not in _HARMLESS:
            raise Unroutable(f"its attention takes '{name}'")
    if getattr(module, "layer_idx", None) is None:
        raise Unroutable("its attention layers have no numbers")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    shared_prefix.used = True
    query, key, value = shared_prefix.keep_asked(query, key, value, module.layer_idx)
    prefix, held = shared_prefix.held(module.layer_idx), shared_prefix.read
    slides = sliding_window is not None and sliding_window < held + key.shape[2]
    if shared_prefix.encoding:
        seen = shared_prefix.keep(module.layer_idx, (key, value), sliding_window)
        if slides and shared_prefix.length > key.shape[2]:
            seen = _repeat(query, *seen)
            output = attend_within(query, *seen, sliding_window, scale, softcap)
            return output.transpose(1, 2).contiguous(), None
    sliding_window = sliding_window if slides else None
    mask = shared_prefix.own_mask(sliding_window)
    output, own = attend(query, *_repeat(query, key, value), mask is None, scale, mask, softcap)
    if prefix is not None:
        folded = _fold(query, prefix[0].shape[1])
        if sliding_window is None:
            far_output, far = attend(folded, *prefix, False, scale, softcap=softcap)
        else:
            places = _fold_positions(shared_prefix.query_positions(), query, prefix[0])
            near = places, sliding_window, scale, softcap
            far_output, far = attend_near(folded, *prefix, held, *near)
        far_output = _unfold(far_output, (*query.shape[:3], far_output.shape[-1]))
        far = _unfold(far[..., None], (*query.shape[:3], 1))
        weight = torch.sigmoid(far - own[..., None])
        output = torch.lerp(output.float(), far_output.float(), weight).to(query.dtype)
    return output.transpose(1, 2).contiguous(), None


def _repeat(query: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """Repeat the heads of grouped-query attention; these are a row's own few tokens."""
    groups = query.shape[1] // tensors[0].shape[1]
    return [t if groups == 1 else t.repeat_interleave(groups, dim=1) for t in tensors]


def _fold(query: torch.Tensor, heads: int) -> torch.Tensor:
    """Turn queries of all rows (and of a group's heads) into one row: [1, heads, many, width]."""
    rows, all_heads, tokens, width = query.shape
    query = query.reshape(rows, heads, all_heads // heads, tokens, width)
    return query.permute(1, 2, 0, 3, 4).reshape(1, heads, -1, width)


def _unfold(output: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Undo `_fold`, given the shape of its input."""
    rows, all_heads, tokens, width = shape
    output = output.reshape(output.shape[1], -1, rows, tokens, width)
    return output.permute(2, 0, 1, 3, 4).reshape(rows, all_heads, tokens, width)


def _fold_positions(
    positions: torch.Tensor, query: torch.Tensor, key: torch.Tensor
) -> torch.Tensor:
    """Return the positions [many] of folded queries."""
    rows, heads, tokens, _ = query.shape
    return positions.expand(rows, tokens).reshape(-1).repeat(heads // key.shape[1])
