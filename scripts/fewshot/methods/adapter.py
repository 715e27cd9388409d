"""Bottleneck adapters: small networks inside of a frozen model's layers (Houlsby et al. 2019).

An adapter is A(x) = s (U f(D x + d) + u), with the matrix D from the model's width to the
bottleneck, U back, biases d and u, a non-linearity f and a constant scale s. Of a sub-layer
(attention, feed-forward block) let y be what it adds to the residual stream r. What is added with
an adapter is, by its form,

- houlsby: y + A(y);
- pfeiffer: y + A(r + y), the stream behind the sub-layer (Pfeiffer et al. 2021). Where a norm
  stands behind that sum (OPT-350m), A reads the normed sum;
- parallel: y + A(x). For attention x is what queries, keys and values are computed from; for the
  feed-forward block r, in front of its norm, as in the code of He et al. 2022 (mBART).

y is the output of the sub-layer's last projection or, where the layer norms that (Gemma 2 and 3,
OLMo 2), of its norm. Dropout of y (OPT) comes behind the adapter. Where both sub-layers read the
same stream (GPT-NeoX), r + y has no part of the other one.

peft has no such adapters. The package `adapters` has them, but for neither OPT nor GPT-NeoX; its
layers give the same for Llama.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..models.parts import backbone
from ..models.widths import units_of
from .freezing import train_only
from .initial_values import normal, truncated_normal, uniform

ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Sublayer:
    """Names, within a layer, of modules of a sub-layer.

    `stream` is the first that reads the residual stream, `inputs` the first that reads what a
    parallel adapter does, `last` gives what is added to the stream, `norm` stands behind that sum.
    """

    stream: str
    inputs: str
    last: str
    norm: str = ""


def _attention(stream: str, inputs: str, last: str, norm: str = "") -> dict[str, Sublayer]:
    return {"attention": Sublayer(stream, inputs, last, norm)}


def _feed_forward(stream: str, last: str, norm: str = "") -> dict[str, Sublayer]:
    return {"feed-forward": Sublayer(stream, stream, last, norm)}


OPT = _attention("self_attn_layer_norm", "self_attn.q_proj", "self_attn.out_proj") | _feed_forward(
    "final_layer_norm", "fc2"
)
OPT_POST_NORM = _attention(
    *("self_attn.q_proj", "self_attn.q_proj", "self_attn.out_proj", "self_attn_layer_norm")
) | _feed_forward("fc1", "fc2", "final_layer_norm")
GPT_NEOX = _attention(
    "input_layernorm", "attention.query_key_value", "attention.dense"
) | _feed_forward("post_attention_layernorm", "mlp.dense_4h_to_h")
GEMMA = _attention(
    "input_layernorm", "self_attn.q_proj", "post_attention_layernorm"
) | _feed_forward("pre_feedforward_layernorm", "post_feedforward_layernorm")
OLMO = _attention(
    "self_attn.q_proj", "self_attn.q_proj", "post_attention_layernorm"
) | _feed_forward("mlp.gate_proj", "post_feedforward_layernorm")
LLAMA = _attention("input_layernorm", "self_attn.q_proj", "self_attn.o_proj") | _feed_forward(
    "post_attention_layernorm", "mlp.down_proj"
)
KNOWN = (OPT, GPT_NEOX, GEMMA, OLMO, LLAMA)
"""Layers that are known, of which the first that fits counts: Gemma's have all names of Llama's."""
VALID = "models whose layers are named as those of OPT, GPT-NeoX, Llama, Qwen, Gemma or OLMo 2"


class Bottleneck(nn.Module):
    """An adapter: A(x) = s (U f(D x + d) + u) of states x [..., width]."""

    def __init__(self, width: int, settings: dict, like: torch.Tensor):
        super().__init__()
        units = units_of(settings["bottleneck"], width)
        made = {"dtype": like.dtype, "device": like.device}
        self.down, self.up = nn.Linear(width, units, **made), nn.Linear(units, width, **made)
        self.activation = ACTIVATIONS[settings["activation"]]
        self.scale, self.initialisation = settings["scale"], settings["initialisation"]

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return what the adapter makes of `states` [..., width], in the same shape."""
        return self.up(self.activation(self.down(states))) * self.scale

    @torch.no_grad()
    def draw(self, generator: np.random.Generator) -> None:
        """Draw both matrices as the adapter's initialisation says, and set biases to zero.

        houlsby: normal of deviation 0.01, cut at two deviations (Houlsby et al. 2019, section 3.6);
        bert: normal of 0.02; lora: D uniform within ± 1/√width, U zero (He et al. 2022).
        """
        for linear in (self.down, self.up):
            shape = linear.weight.shape
            if self.initialisation == "houlsby":
                linear.weight.copy_(truncated_normal(generator, shape, 0.01))
            elif self.initialisation == "bert":
                linear.weight.copy_(normal(generator, shape, 0.02))
            elif linear is self.down:
                linear.weight.copy_(uniform(generator, shape, shape[1] ** -0.5))
            else:
                linear.weight.zero_()
            linear.bias.zero_()


class Tap(nn.Module):
    """A module whose input is kept until the sub-layer's adapter reads it."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module, self.seen = module, None

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the module's output."""
        self.seen = states
        return self.module(states)

    def take(self) -> torch.Tensor:
        """Return the last input, and let go of it."""
        seen, self.seen = self.seen, None
        return seen


class Adapted(nn.Module):
    """The last module of a sub-layer with an adapter, of the form that `reads` tells: the module's
    output ("houlsby"), its sum with the tapped stream ("pfeiffer"), what is tapped ("parallel")."""

    def __init__(
        self, module: nn.Module, adapter: Bottleneck, reads: str, tap: Tap | None, norm: nn.Module
    ):
        super().__init__()
        self.module, self.adapter, self.reads = module, adapter, reads
        # In a tuple, so that they stay parts of their own places in the model alone.
        self.others = (tap, norm)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the module's output with what the adapter adds."""
        given, (tap, norm) = self.module(states), self.others
        if self.reads == "houlsby":
            return given + self.adapter(given)
        if self.reads == "parallel":
            return given + self.adapter(tap.take())
        return given + self.adapter(norm(tap.take() + given))


def adapt(model: nn.Module, settings: dict) -> list[str]:
    """Put an adapter into each of the `sublayers` of every layer and freeze all else.

    Raises UserError for a model whose layers are not known.
    """
    names, layers = [], _layers(model)
    known = _known(model, layers)
    width, like = model.config.get_text_config().hidden_size, next(model.parameters())
    for layer in layers if known else ():
        for name in settings["sublayers"]:
            adapter = Bottleneck(width, settings, like)
            _insert(layer, known[name], adapter, settings["form"])
    names = [name for name, _ in model.named_parameters() if ".adapter." in name]
    return train_only(model, names, "adapter", VALID)


def draw(model: nn.Module, generator: np.random.Generator) -> None:
    """Draw the initial values of all adapters, with which the model computes nearly (`lora`:
    exactly) what it did before."""
    for module in model.modules():
        if isinstance(module, Bottleneck):
            module.draw(generator)


def _insert(layer: nn.Module, place: Sublayer, adapter: Bottleneck, form: str) -> None:
    tap = None
    if form != "houlsby":
        name = place.inputs if form == "parallel" else place.stream
        tap = Tap(layer.get_submodule(name))
        layer.set_submodule(name, tap)
    norm = layer.get_submodule(place.norm) if place.norm else nn.Identity()
    last = layer.get_submodule(place.last)
    layer.set_submodule(place.last, Adapted(last, adapter, form, tap, norm))


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model; none where it is not clear what they are."""
    count = model.config.get_text_config().num_hidden_layers
    stacks = [part for part in backbone(model).modules() if isinstance(part, nn.ModuleList)]
    found = [stack for stack in stacks if len(stack) == count]
    return list(found[0]) if len(found) == 1 else []


def _known(model: nn.Module, layers: list[nn.Module]) -> dict[str, Sublayer] | None:
    """Return the sub-layers of all layers, None where they are not known."""
    for known in KNOWN:
        names = {
            name for place in known.values() for name in (place.stream, place.inputs, place.last)
        }
        if layers and all(names <= dict(layer.named_modules()).keys() for layer in layers):
            post_norm = known is OPT and not model.config.do_layer_norm_before
            return OPT_POST_NORM if post_norm else known
    return None
