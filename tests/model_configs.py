"""Configurations of every architecture that is known, small ones and those of the registry."""

from pathlib import Path

import torch
from fewshot.models.shapes import TYPES
from fewshot.study.model_sizes import with_sizes
from fewshot.study.registries import load_registries
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

REGISTRY = load_registries(Path(__file__).parents[1] / "config")["models"]


def published(kind: str, sizes: str, **rest: object) -> dict:
    """Return what a published config.json says of a shape; `sizes` are in the order of `keys`."""
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    keys += ("num_key_value_heads", "vocab_size", "max_position_embeddings")
    numbers = zip(keys, map(int, sizes.split()), strict=True)
    return {"model_type": kind, **dict(numbers), **rest}


TIED, HEADS_OF_128 = {"tie_word_embeddings": True}, {"head_dim": 128}
GEMMA = {"head_dim": 256, "sliding_window": 512}
PUBLISHED = {
    "smollm2-135m": published("llama", "576 1536 30 9 3 49152 8192", **TIED),
    "smollm2-360m": published("llama", "960 2560 32 15 5 49152 8192", **TIED),
    "smollm2-1.7b": published("llama", "2048 8192 24 32 32 49152 8192", **TIED),
    "qwen3-0.6b": published("qwen3", "1024 3072 28 16 8 151936 40960", **TIED, **HEADS_OF_128),
    "qwen3-1.7b": published("qwen3", "2048 6144 28 16 8 151936 40960", **TIED, **HEADS_OF_128),
    "qwen3-4b": published("qwen3", "2560 9728 36 32 8 151936 40960", **TIED, **HEADS_OF_128),
    "qwen3-8b": published("qwen3", "4096 12288 36 32 8 151936 40960", **HEADS_OF_128),
    "llama-3.2-1b": published("llama", "2048 8192 16 32 8 128256 131072", head_dim=64, **TIED),
    "llama-3.2-3b": published("llama", "3072 8192 28 24 8 128256 131072", **HEADS_OF_128, **TIED),
    "gemma-3-270m": published("gemma3_text", "640 2048 18 4 1 262144 32768", **GEMMA),
    "gemma-3-1b-pt": published("gemma3_text", "1152 6912 26 4 1 262144 32768", **GEMMA),
    "gemma-3-4b-pt": published(
        "gemma3_text", "2560 10240 34 8 4 262208 131072", **(GEMMA | {"sliding_window": 1024})
    ),
    "olmo-2-0425-1b": published("olmo2", "2048 8192 16 16 16 100352 4096"),
    "olmo-2-1124-7b": published("olmo2", "4096 11008 32 32 32 100352 4096"),
}
"""Shapes of the registry's models whose sizes are left to their files, one for each size."""


def _sized(name: str) -> dict:
    """Return a model's entry as it is once its configuration is there."""
    known = {"config": PUBLISHED[name]} if name in PUBLISHED else {}
    return with_sizes(name, {**REGISTRY[name], **known}, name)


LATER = [name for name, entry in REGISTRY.items() if "licence" in entry]
"""Models of today, of which most leave their sizes to their files."""
MODELS = {name: _sized(name) for name in REGISTRY if name in PUBLISHED or name not in LATER}
SMALL = {
    "vocab_size": 500,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 1,
}
OPT = {**SMALL, "model_type": "opt", "ffn_dim": 200, "word_embed_proj_dim": 64}
NEOX = {**SMALL, "model_type": "gpt_neox", "intermediate_size": 200}
GROUPED = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 172}
CONFIGS = {
    "opt": OPT,
    "opt projected": {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
    "opt without biases": {**OPT, "enable_bias": False, "layer_norm_elementwise_affine": False},
    "opt untied": {**OPT, "tie_word_embeddings": False, "_remove_final_layer_norm": True},
    "opt gelu": {**OPT, "activation_function": "gelu"},
    "neox": NEOX,
    "neox one by one": {**NEOX, "use_parallel_residual": False, "attention_bias": False},
    "neox tied": {**NEOX, "tie_word_embeddings": True},
    "llama": {**GROUPED, "model_type": "llama"},
    "llama biased": {
        **GROUPED,
        **{"model_type": "llama", "attention_bias": True, "mlp_bias": True, "head_dim": 24},
    },
    "llama tied": {**GROUPED, "model_type": "llama", "tie_word_embeddings": True},
    **{
        kind: {**GROUPED, "model_type": kind, "head_dim": 32}
        for kind in TYPES
        if kind not in ("opt", "gpt_neox", "llama", "qwen2", "olmo2")
    },
    "qwen2": {**GROUPED, "model_type": "qwen2"},
    "qwen2 tied": {**GROUPED, "model_type": "qwen2", "tie_word_embeddings": True},
    "olmo2": {**GROUPED, "model_type": "olmo2"},
}


def meta(config: dict) -> nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
