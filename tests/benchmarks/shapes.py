"""Models of published shapes with random weights, and what a scoring pass costs in products."""

import torch
from fewshot.errors import unknown
from fewshot.models.parts import use_float32_head
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    OPTConfig,
    PreTrainedConfig,
)

SPREAD = 1.4
"""Standard deviation of a product of a normalised hidden state with one row of weights; large
enough that attention is far from uniform and predictions differ between rows."""


def _opt(width: int, layers: int, heads: int) -> PreTrainedConfig:
    return OPTConfig(
        vocab_size=50272,
        hidden_size=width,
        word_embed_proj_dim=width,
        ffn_dim=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2048,
        dropout=0.0,
    )


def _pythia(width: int, layers: int, heads: int) -> PreTrainedConfig:
    return GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2048,
    )


def _gemma3(width: int, layers: int, heads: int) -> PreTrainedConfig:
    """Return Gemma 3 of 270M but for its sizes: five layers of six slide over 512 tokens."""
    return Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=width,
        intermediate_size=16 * width // 5,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=512,
        max_position_embeddings=2**15,
    )


SHAPES = {
    "tiny-opt": (_opt, 32, 2, 4),
    "tiny-pythia": (_pythia, 32, 2, 4),
    "opt-125m": (_opt, 768, 12, 12),
    "pythia-160m": (_pythia, 768, 12, 12),
    "opt-1.3b": (_opt, 2048, 24, 32),
    "opt-6.7b": (_opt, 4096, 32, 32),
}
"""Configuration, width, layers and heads by name."""
SLIDING = {"tiny-gemma3": (_gemma3, 32, 6, 4), "gemma3-270m": (_gemma3, 640, 18, 4)}
"""The same for models with sliding windows, which have no tokenizer here."""


def family(name: str) -> str:
    """Return "opt" or "pythia", which says whose tokenizer a shape reads."""
    if name not in SHAPES:
        raise unknown("model", name, SHAPES, "--models")
    return SHAPES[name][0].__name__.strip("_")


def build(name: str, dtype: str = "float32", device: str = "cpu") -> nn.Module:
    """Return the model in evaluation mode; its weights depend on name and device type only.

    Matrices are normal with deviation `SPREAD / sqrt(width)`, drawn in float32 and then cast.
    """
    make, width, layers, heads = {**SHAPES, **SLIDING}[name]
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(make(width, layers, heads), dtype=torch.float32)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=SPREAD / width**0.5)
    model = model.to(getattr(torch, dtype)).eval()
    use_float32_head(model)
    return model


def linear_shapes(model: nn.Module) -> list[tuple[int, int]]:
    """Return (outputs, inputs) of every linear layer below the readout."""
    modules = model.base_model.modules()
    return [tuple(module.weight.shape) for module in modules if isinstance(module, nn.Linear)]


def scoring_flops(model: nn.Module, prefix: int, own: list[int], rows: int) -> float:
    """Count the floating-point operations of the scorer's way, padding left out.

    With P prefix tokens, encoded once, n_i own tokens of sequence i (rows that begin alike are
    packed), R rows, N weights of linear layers (embeddings and readout apart), L layers of width W
    and V words in the vocabulary:

        2 N P + 2 N sum n_i (L - 1 + 1/4) / L + 2 N R (3/4) / L    linear layers
        + 4 L W P (P + 1) / 2                                      the prefix among itself
        + 4 (L - 1) W sum (n_i P + n_i (n_i + 1) / 2)              own tokens
        + 2 V W R                                                  readout, one position per row

    In the last layer a row's last token alone is computed but for queries, keys and values (a
    quarter of its weights).
    """
    config = model.config
    layers, width = config.num_hidden_layers, config.hidden_size
    linear = sum(outputs * inputs for outputs, inputs in linear_shapes(model))
    weights = prefix + sum(own) * (layers - 0.75) / layers + rows * 0.75 / layers
    pairs = sum(n * prefix + n * (n + 1) / 2 for n in own)
    attention = 4 * width * (layers * prefix * (prefix + 1) / 2 + (layers - 1) * pairs)
    return 2 * linear * weights + attention + 2 * config.vocab_size * width * rows
