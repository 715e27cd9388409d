"""Architectures that cannot be read in the fast way: found out, read plainly, and said so."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from architectures import (
    CONFIGS,
    GROUPED,
    MODELS,
    PLAIN_ONLY,
    assert_equal,
    build,
    draw,
    reference,
)
from fewshot.scoring import prefix_attention
from fewshot.scoring.score import score
from transformers import DeepseekV3Config, Lfm2Config, LlamaConfig


def test_a_last_layer_that_cannot_be_trimmed_is_computed_whole(monkeypatch, caplog):
    """Stands for an architecture that does more between its layers."""
    monkeypatch.setattr(prefix_attention, "_cut", lambda value, *_: value)
    prompts = draw(np.random.default_rng(22), 40, [5, 9])
    with caplog.at_level("INFO"):
        scores = score(MODELS["llama"], prompts, batch_tokens=64)
    assert scores.route == "shared prefix" and "not read as" in caplog.text
    assert_equal(scores, reference(MODELS["llama"], prompts))
    prompts = draw(np.random.default_rng(22), 0, [5, 9])
    scores = score(MODELS["llama"], prompts, batch_tokens=64)
    assert scores.route == "plain"
    assert_equal(scores, reference(MODELS["llama"], prompts))


@pytest.mark.parametrize(
    ("window", "prefix", "lengths"),
    [(50, 0, [5, 60, 70]), (50, 8, [5, 80]), (50, 40, [30, 41]), (60, 90, [5, 9])],
)
def test_a_window_in_the_mask_only_is_found_out(window, prefix, lengths, monkeypatch):
    """Behind any prefix, and also if it is wider than the probe."""
    config = copy.deepcopy(CONFIGS["mistral"])
    config.sliding_window = window
    model, original = build(config), prefix_attention.prefix_attention
    monkeypatch.setattr(
        prefix_attention,
        "prefix_attention",
        lambda *given, sliding_window=None, **named: original(*given, **named),
    )
    prompts = draw(np.random.default_rng(23), prefix, lengths)
    scores = score(model, prompts, batch_tokens=300)
    assert scores.route.startswith("plain")
    assert "not plainly causal" in scores.route or window == 50
    assert_equal(scores, reference(model, prompts))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_of_another_kind_are_read_plainly(dtype):
    """Its convolutions would mix rows that are packed; half precision must not hide that."""
    config = Lfm2Config(
        **GROUPED, layer_types=["conv", "full_attention", "full_attention"], full_attn_idxs=[1, 2]
    )
    model = build(config).to(dtype)
    prompts = draw(np.random.default_rng(24), 40, [80, 90])
    suffixes = [prompts.suffixes[0], prompts.suffixes[0][:70] + prompts.suffixes[1][:20]]
    prompts = dataclasses.replace(prompts, suffixes=suffixes)
    scores = score(model, prompts, batch_tokens=300)
    assert scores.route == "plain: it has layers of conv"
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    np.testing.assert_allclose(scores.logprobs, reference(model, prompts)[0], atol=tolerance)


@pytest.mark.parametrize("prefix", [0, 30])
def test_longrope_reads_every_row_by_itself(prefix):
    factors = [1.0, 2.0, 3.0, 4.0]
    config = LlamaConfig(
        **GROUPED,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": factors,
            "original_max_position_embeddings": 40,
        },
    )
    model = build(config)
    prompts = draw(np.random.default_rng(25), prefix, [5, 50])
    scores = score(model, prompts, batch_tokens=1000)
    assert_equal(scores, reference(model, prompts))
    assert "longrope" in scores.route
    short = draw(np.random.default_rng(25), 20, [5, 15])
    scores = score(model, short, batch_tokens=1000)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(model, short))


def test_values_may_be_narrower_than_keys():
    config = DeepseekV3Config(
        **{**GROUPED, "num_key_value_heads": 4},
        first_k_dense_replace=3,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=8,
    )
    model, prompts = build(config), draw(np.random.default_rng(26), 40, [5, 9], [(5, 6), (7,)])
    scores = score(model, prompts, batch_tokens=64)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(model, prompts))


@pytest.mark.parametrize("name", PLAIN_ONLY)
def test_attention_that_cannot_be_routed_falls_back(name, caplog):
    prompts = draw(np.random.default_rng(2), 40, [5, 9])
    scores = score(MODELS[name], prompts, batch_tokens=64)
    assert scores.route.startswith("plain: ")
    assert "every row is read whole and by itself, since" in caplog.text
    assert_equal(scores, reference(MODELS[name], prompts))


def test_a_model_that_is_not_plainly_causal_is_found_out(monkeypatch):
    """Stands for an architecture that puts more into its mask than causality."""
    model = build("llama")
    monkeypatch.setattr(
        prefix_attention, "attend", lambda *given, **_: _attend(*given[:3], False, given[4])
    )
    prompts = draw(np.random.default_rng(2), 40, [5, 9])
    scores = score(model, prompts, batch_tokens=64)
    assert "not plainly causal" in scores.route
    assert_equal(scores, reference(model, prompts))


_attend = prefix_attention.attend
