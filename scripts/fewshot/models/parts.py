"""The parts of a causal language model: backbone, readout, learned prefix, virtual tokens."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache

from ..errors import UserError


def element_count(parameter: nn.Parameter) -> int:
    """Return the elements of a parameter, of which this process may hold a shard only."""
    return getattr(parameter, "ds_numel", parameter.numel())


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name, in the model's order."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


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


@contextmanager
def without_prefix(model: nn.Module) -> Iterator[None]:
    """Take the learned prefix out of the model for the time being, if there is one."""
    inner, prefix = unwrap(model), learned_prefix(model)
    if prefix is not None:
        del inner.learned_prefix
    try:
        yield
    finally:
        if prefix is not None:
            inner.learned_prefix = prefix


def learned_cache(model: nn.Module, rows: int) -> dict[str, DynamicCache]:
    """Return what a forward pass of `rows` rows is given besides: the learned prefix as a cache.

    Of several prefixes [prefixes, heads, tokens, width] each stands before as many rows, in their
    order. Nothing where there is none. The positions of the rows' own tokens follow from the cache.
    """
    prefix = learned_prefix(model)
    if prefix is None:
        return {}
    cache = DynamicCache(config=unwrap(model).config)
    for layer, tensors in enumerate(prefix()):
        each = (tensor.unsqueeze(1) for tensor in tensors)
        own = (one.expand(-1, rows // len(one), -1, -1, -1).flatten(0, 1) for one in each)
        cache.update(*own, layer)
    return {"past_key_values": cache}


BLOCKS = {"cpu": 1 << 20, "cuda": 1 << 24}
"""Elements of a 16-bit weight that `linear_in_float32` holds in float32 at a time, by device type:
4 MiB, which stay in a CPU's caches, or 64 MiB, since small products leave a GPU waiting."""


def linear_in_float32(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """Return `hidden @ weight.T + bias` in float32, from tensors of any floating type.

    hidden: [n, width]; weight: [outputs, width]; bias: [outputs]. Products and sums are those of
    float32 inputs. Gradients come back in the type of what they are for. Only as many elements of
    the weight as `BLOCKS` says are held in float32 at a time.
    """
    if hidden.dtype == weight.dtype == torch.float32:
        return functional.linear(hidden, weight, bias)
    logits = _LinearInFloat32.apply(hidden, weight)
    return logits if bias is None else logits + bias.float()


class _LinearInFloat32(torch.autograd.Function):
    """The product of `linear_in_float32`: PyTorch would keep the whole weight in float32."""

    @staticmethod
    def forward(ctx, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(hidden, weight)
        wide = hidden.float()
        logits = wide.new_empty(len(hidden), len(weight))
        for rows in _blocks(weight):
            logits[:, rows] = wide @ weight[rows].float().T
        return logits

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        hidden, weight = ctx.saved_tensors
        of_hidden = of_weight = None
        if ctx.needs_input_grad[0]:
            of_hidden = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device)
            for rows in _blocks(weight):
                of_hidden.addmm_(gradient[:, rows], weight[rows].float())
            of_hidden = of_hidden.to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(weight)
            for rows in _blocks(weight):
                of_weight[rows] = (gradient[:, rows].T @ hidden.float()).to(weight.dtype)
        return of_hidden, of_weight


def _blocks(weight: torch.Tensor) -> Iterator[slice]:
    """Cut the rows of a weight into blocks of at most as many elements as `BLOCKS` says."""
    rows = max(1, BLOCKS[weight.device.type] // weight.shape[1])
    for start in range(0, len(weight), rows):
        yield slice(start, start + rows)


class Float32Linear(nn.Linear):
    """A linear layer that answers in float32 whatever the type of its weight: the readout's.

    Logits of 16 bits tie exactly in about 1 of 100 rows. A module, since ZeRO stage 3 gathers the
    weights of a module when it is called.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return float32 [..., outputs] of `hidden` [..., width] of any floating type."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = linear_in_float32(flat, self.weight, self.bias)
        return logits.reshape(*hidden.shape[:-1], -1)


INSTRUCTIONS = {
    torch.bfloat16: ("avx512_bf16", "amx_bf16", "bf16"),
    torch.float16: ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
"""What PyTorch calls the instructions by which a CPU multiplies numbers of a type (x86, Arm)."""


class WideLinear(nn.Linear):
    """A linear layer that multiplies its 16-bit weights as float32 and rounds its answers once.

    Numbers of 16 bits have exact products in float32, and kernels for them add in float32 too, so
    the answers are theirs but for the order of the sum.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return [..., outputs] of `hidden` [..., width], in its type."""
        bias = None if self.bias is None else self.bias.float()
        return functional.linear(hidden.float(), self.weight.float(), bias).to(hidden.dtype)


@contextmanager
def wide_products(*parts: nn.Module) -> Iterator[None]:
    """Let 16-bit linear layers be `WideLinear` where the CPU would emulate their products.

    Without gradients only, which would keep their weights in float32.
    """
    known = torch.cpu.get_capabilities()
    emulated = {kind for kind, names in INSTRUCTIONS.items() if not any(map(known.get, names))}
    layers = [
        module
        for part in parts
        for module in part.modules()
        if type(module) is nn.Linear
        and module.weight.device.type == "cpu"
        and module.weight.dtype in emulated
    ]
    for layer in layers:
        layer.__class__ = WideLinear
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Linear


def use_float32_head(model: nn.Module) -> None:
    """Let a 16-bit causal language model compute its logits in float32; weights stay as they are.

    A head that is no plain linear layer is left alone where its weights are float32 already;
    raises UserError where they are not.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise UserError(f"{type(model).__name__}: it has no readout over its vocabulary")
    if isinstance(head, Float32Linear) or next(head.parameters()).dtype == torch.float32:
        return
    if type(head) is not nn.Linear:
        raise UserError(
            f"{type(model).__name__}: its head is a {type(head).__name__}, whose logits would be "
            "rounded to 16 bits; valid here: dtype float32 in models.yaml"
        )
    # The same module with another forward: its place in the model and tied weights stay.
    head.__class__ = Float32Linear


def readout(model: nn.Module) -> nn.Module:
    """Return the module from hidden states [n, width] to float32 logits [n, vocabulary]."""
    model = unwrap(model)
    head, config = model.get_output_embeddings(), model.config.get_text_config()
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
