"""What a run has trained, as peft's adapter_config.json and adapter_model.safetensors.

Parameters of modules that peft has itself (LoRA, DoRA, (IA)³) get its names. What an encoder makes
(p-tuning, prefixes through a smaller matrix) is stored as made: peft then needs no encoder, and
computes with the same embeddings or keys and values. A context that was trained itself, or one that
a cartridge stands for, is a prefix like any other.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from .. import storage
from ..adaptation.weights import write_weights
from ..methods.ia3 import LAST
from ..models.widths import units_of

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
State = Mapping[str, torch.Tensor]
"""Trained parameters by name, as `adaptation.weights` stores them."""
Form = tuple[object, dict[str, torch.Tensor]]
"""A `peft.PeftConfig`, and its tensors by name."""
COMMON = {"task_type": "CAUSAL_LM", "inference_mode": True}


class UnequalWidths(Exception):
    """Keys and values of a prefix differ in width, which peft's prefixes do not."""


def peft_form(settings: Mapping, state: State, config: object) -> Form:
    """Return peft's configuration and tensors of what a method with these settings has trained.

    `config` is the base model's configuration. Raises KeyError for a family that is none of FORMS,
    UnequalWidths for keys and values of different widths.
    """
    return FORMS[settings["family"]](settings, state, config)


def write_form(folder: Path, form: Form, base: str, revision: str | None, about: Mapping) -> None:
    """Write both files to a folder: the same bytes for the same adapter.

    `base` and `revision` say which model it belongs to, `about` which run it comes from.
    """
    config, tensors = form
    told = {**config.to_dict(), "base_model_name_or_path": base, "revision": revision}
    # A set has another order in each process.
    told = {key: sorted(value) if isinstance(value, set) else value for key, value in told.items()}
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_json(folder / CONFIG, told)
    write_weights(folder / WEIGHTS, tensors, dict(about))


def _lora(settings: Mapping, state: State, config: object) -> Form:
    import peft

    made = peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        use_dora=settings.get("dora", False),
        target_modules=list(settings["targets"]),
        bias="none",
        **COMMON,
    )
    # The trained model's own name, and that of the adapter in memory, are none of the file's.
    tensors = {
        f"base_model.{name.replace('.default.', '.')}": tensor for name, tensor in state.items()
    }
    suffix = ".lora_magnitude_vector.weight"
    return made, {
        name.removesuffix(".weight") if name.endswith(suffix) else name: tensor
        for name, tensor in tensors.items()
    }


def _ia3(settings: Mapping, state: State, config: object) -> Form:
    """Of a projection fused head by head, queries have factors of one."""
    import peft

    tensors, modules = {}, set()
    for name, vector in state.items():
        module, _, part = name.partition(".ia3.")
        kind = module.rpartition(".")[2]
        modules.add(kind)
        if part == "keys":
            values = state[f"{module}.ia3.values"]
            factors = torch.stack([torch.ones_like(vector), vector, values])
            heads = config.get_text_config().num_attention_heads
            vector = factors.reshape(3, heads, -1).transpose(0, 1).flatten()
        elif part == "values":
            continue
        shape = (1, -1) if kind in LAST else (-1, 1)
        tensors[f"base_model.{module}.ia3_l"] = vector.reshape(shape).contiguous()
    feedforward = sorted(modules & set(LAST))
    made = peft.IA3Config(target_modules=sorted(modules), feedforward_modules=feedforward, **COMMON)
    return made, tensors


def _prompt(settings: Mapping, state: State, config: object) -> Form:
    (table,) = state.values()
    return _prompt_of(table)


def _prompt_of(table: torch.Tensor) -> Form:
    """Return the form of embeddings [tokens, width] in front of every prompt."""
    import peft

    tokens, width = table.shape
    made = peft.PromptTuningConfig(
        num_virtual_tokens=tokens, token_dim=width, num_transformer_submodules=1, **COMMON
    )
    return made, {"prompt_embeddings": table.contiguous()}


@torch.no_grad()
def _encoded_prompt(settings: Mapping, state: State, config: object) -> Form:
    import peft

    weights = _of_encoder(state)
    tokens, width = weights["embedding.weight"].shape
    made = peft.PromptEncoderConfig(
        num_virtual_tokens=tokens,
        token_dim=width,
        num_transformer_submodules=1,
        encoder_reparameterization_type=settings["encoder"].upper(),
        encoder_hidden_size=units_of(settings["encoder_width"], width),
    )
    encoder = _loaded(peft.PromptEncoder(made), weights)
    return _prompt_of(encoder(torch.arange(tokens)[None])[0])


def _prefix(settings: Mapping, state: State, config: object) -> Form:
    keys, values = (state[f"model.learned_prefix.{part}"] for part in ("keys", "values"))
    if keys.shape != values.shape:
        raise UnequalWidths(f"keys {tuple(keys.shape)} and values {tuple(values.shape)}")
    layers, heads, tokens, width = keys.shape
    # peft's row of a position: layer by layer the keys of all heads, then the values.
    table = torch.stack([keys, values], dim=1).permute(3, 0, 1, 2, 4)
    return _prefix_of(table.reshape(tokens, -1), layers, heads, heads * width)


@torch.no_grad()
def _encoded_prefix(settings: Mapping, state: State, config: object) -> Form:
    import peft

    weights, text = _of_encoder(state), config.get_text_config()
    tokens, width = weights["embedding.weight"].shape
    made = peft.PrefixTuningConfig(
        num_virtual_tokens=tokens,
        token_dim=width,
        num_layers=text.num_hidden_layers,
        encoder_hidden_size=units_of(settings["encoder_width"], width),
        prefix_projection=True,
    )
    encoder = _loaded(peft.PrefixEncoder(made), weights)
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return _prefix_of(encoder(torch.arange(tokens)), text.num_hidden_layers, heads, width)


def _prefix_of(table: torch.Tensor, layers: int, heads: int, width: int) -> Form:
    """Return the form of keys and values [tokens, layers · 2 · width], of `heads` together."""
    import peft

    made = peft.PrefixTuningConfig(
        num_virtual_tokens=len(table),
        token_dim=width,
        num_layers=layers,
        num_attention_heads=heads,
        num_transformer_submodules=1,
        encoder_hidden_size=width,
        prefix_projection=False,
        **COMMON,
    )
    return made, {"prompt_embeddings": table.contiguous()}


def _of_encoder(state: State) -> dict[str, torch.Tensor]:
    """Return the parameters of peft's encoder by its own names."""
    return {name.rpartition(".encoder.")[2]: tensor for name, tensor in state.items()}


def _loaded(encoder: torch.nn.Module, weights: State) -> torch.nn.Module:
    encoder.load_state_dict(dict(weights))
    return encoder.to(next(iter(weights.values())).dtype).eval()


FORMS: dict[str, Callable[[Mapping, State, object], Form]] = {
    "lora": _lora,
    "qlora": _lora,
    "ia3": _ia3,
    "prompt_tuning": _prompt,
    "prompt_from_text": _prompt,
    "p_tuning": _encoded_prompt,
    "prefix_tuning": _prefix,
    "reparametrised_prefix": _encoded_prefix,
    "context_tuning": _prefix,
    "cartridge": _prefix,
}
"""Family → its form."""
FOUR_BIT = ("qlora",)
"""Families whose base model is in four bits."""
