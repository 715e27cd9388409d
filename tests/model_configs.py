"""Configurations of every architecture that is known, small ones and those of the registry."""

from pathlib import Path

import torch
from fewshot.models.shapes import TYPES
from fewshot.validation import load_registries
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

MODELS = load_registries(Path(__file__).parents[1] / "config")["models"]
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
