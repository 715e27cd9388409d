"""Small random models of many architectures, prompts for them, and what the scorer must give."""

import numpy as np
import torch
from fewshot.prompts.tokenize import Prompts
from fewshot.rng import generator
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    PreTrainedConfig,
    Qwen3Config,
)

VOCABULARY, WINDOW = 97, 160
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": WINDOW,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
GROUPED = {**COMMON, "num_key_value_heads": 2, "intermediate_size": 48}
CONFIGS = {
    "opt": OPTConfig(**COMMON, ffn_dim=48, word_embed_proj_dim=32),
    "opt-post-norm": OPTConfig(
        **COMMON, ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False
    ),
    "gpt-neox": GPTNeoXConfig(**COMMON, intermediate_size=48),
    "llama": LlamaConfig(**GROUPED),
    # Queries and keys are normalised, of each head or of all; the readout is the embeddings.
    "qwen3": Qwen3Config(**GROUPED, head_dim=16, tie_word_embeddings=True),
    "olmo2": Olmo2Config(**GROUPED),
    "mistral-wide": MistralConfig(**GROUPED, head_dim=8, sliding_window=WINDOW),
    "mistral": MistralConfig(**GROUPED, head_dim=8, sliding_window=24),
    # The first layer attends to a window, the others to all; scores and logits are soft-capped.
    "gemma2": Gemma2Config(
        **GROUPED,
        head_dim=8,
        sliding_window=24,
        final_logit_softcapping=5.0,
        attn_logit_softcapping=2.0,
    ),
    "gemma3": Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=24),
    # Its attention has sinks.
    "gpt-oss": GptOssConfig(**GROUPED, head_dim=8, num_local_experts=2, num_experts_per_tok=1),
}
PLAIN_ONLY = ("gpt-oss",)


def build(config: str | PreTrainedConfig) -> nn.Module:
    """Return a random model in evaluation mode, of a named or given configuration."""
    torch.manual_seed(0)
    config = CONFIGS[config] if isinstance(config, str) else config
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in (
        model.parameters()
    ):  # larger weights than usual, so that attention matters; yet logits of a usual size
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.15)
    return model


MODELS = {name: build(name) for name in CONFIGS}


def reference(model, prompts: Prompts) -> tuple[np.ndarray, ...]:
    """One row and word at a time, whole, through the model's own forward."""
    logprobs, normaliser, argmax = [], [], []
    for suffix, words in zip(prompts.suffixes, prompts.words, strict=True):
        row, sums = prompts.prefix + suffix, []
        for word in words:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row + word[:-1]])).logits[0, len(row) - 1 :]
            each = torch.log_softmax(logits.float(), -1)[range(len(word)), word]
            sums.append(each.double().sum().item())
        logprobs.append(sums)
        normaliser.append(torch.logsumexp(logits[0].float(), -1).item())
        argmax.append(logits[0].argmax().item() in [word[0] for word in words])
    return np.array(logprobs), np.array(normaliser), np.array(argmax)


def draw(rng: np.random.Generator, prefix: int, lengths: list[int], words=(5, 6)) -> Prompts:
    """Draw prompts; `words` are tokens, or tuples of tokens."""

    def tokens(n):
        return tuple(int(token) for token in rng.integers(3, VOCABULARY, n))

    words = tuple(word if isinstance(word, tuple) else (word,) for word in words)
    ids = tuple(range(len(lengths)))
    return Prompts(ids, tokens(prefix), [tokens(n) for n in lengths], [words] * len(lengths))


def assert_equal(scores, expected):
    logprobs, normaliser, argmax = expected
    np.testing.assert_allclose(scores.logprobs, logprobs, atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores.logsumexp, normaliser, atol=1e-5, rtol=0)
    assert (scores.logprobs.argmax(1) == logprobs.argmax(1)).all()
    assert (scores.argmax_is_label == argmax).all()
    assert scores.logprobs.dtype == scores.logsumexp.dtype == np.float32


@torch.no_grad()
def shift(model) -> None:
    """Move what is trained away from where it starts."""
    noise = generator("shift")
    for each in model.parameters():
        if each.requires_grad:
            each += torch.from_numpy(noise.normal(0.0, 0.3, each.shape).astype(np.float32))
