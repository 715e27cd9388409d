"""The parts of a causal language model: backbone, readout, learned prefix, virtual tokens."""

import torch
from torch import nn
from transformers import DynamicCache


def element_count(parameter: nn.Parameter) -> int:
    """Return the elements of a parameter, of which this process may hold a shard only."""
    return getattr(parameter, "ds_numel", parameter.numel())


def unwrap(model: nn.Module) -> nn.Module:
    """Return the transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone(model: nn.Module) -> nn.Module:
    """Return the transformer without its language-model head.

    Its output's `last_hidden_state` [rows, tokens, width] is what `readout` takes.
    """
    inner = unwrap(model)
    # Some architectures name a base that is not there; their decoder is what is meant.
    return inner.get_decoder() if inner.base_model is inner else inner.base_model


def virtual_ids(model: nn.Module) -> tuple[int, ...]:
    """Return the ids, beyond the vocabulary, of the learned embeddings in front of every prompt."""
    return getattr(unwrap(model).get_input_embeddings(), "virtual_ids", ())


def learned_prefix(model: nn.Module) -> nn.Module | None:
    """Return the learned keys and values that every prompt stands behind, where there are any.

    Called without arguments, the module returns (keys, values) [1, heads, tokens, width] of every
    layer; its attribute `tokens` says how many positions they take.
    """
    return getattr(unwrap(model), "learned_prefix", None)


def tokens_ahead(model: nn.Module) -> int:
    """Return the positions that a learned prefix takes in front of every prompt's tokens."""
    prefix = learned_prefix(model)
    return 0 if prefix is None else prefix.tokens


def learned_cache(model: nn.Module, rows: int) -> dict[str, DynamicCache]:
    """Return what a forward pass of `rows` rows is given besides: the learned prefix as a cache.

    Nothing where there is none. The positions of the rows' own tokens follow from the cache.
    """
    prefix = learned_prefix(model)
    if prefix is None:
        return {}
    cache = DynamicCache(config=unwrap(model).config)
    for layer, tensors in enumerate(prefix()):
        cache.update(*(each.expand(rows, -1, -1, -1) for each in tensors), layer)
    return {"past_key_values": cache}


def readout(model: nn.Module) -> nn.Module:
    """Return the module from hidden states [n, width] to logits [n, vocabulary]."""
    model = unwrap(model)
    head, config = model.get_output_embeddings(), model.config
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    return head if scale == 1.0 and cap is None else _Readout(head, scale, cap)


class _Readout(nn.Module):
    """A head with scaled (Cohere, Granite) or soft-capped (Gemma) logits."""

    def __init__(self, head: nn.Module, scale: float, cap: float | None):
        super().__init__()
        self.head, self.scale, self.cap = head, scale, cap

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.head(hidden) * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap
