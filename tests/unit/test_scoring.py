"""The scorer against the plain forward pass of transformers on whole prompts."""

import dataclasses

import numpy as np
import pytest
import torch
from fewshot import attention, scoring
from fewshot.errors import UserError
from fewshot.models import backbone
from fewshot.scoring import canonical_batches, score
from fewshot.tokens import Prompts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen3Config,
)

VOCABULARY, WINDOW = 97, 160
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": WINDOW,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 48}
CONFIGS = {
    "opt": OPTConfig(**_COMMON, ffn_dim=48, word_embed_proj_dim=32),
    "opt-post-norm": OPTConfig(
        **_COMMON, ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False
    ),
    "gpt-neox": GPTNeoXConfig(**_COMMON, intermediate_size=48),
    "llama": LlamaConfig(**_GROUPED),
    "qwen3": Qwen3Config(**_GROUPED, head_dim=8),
    "mistral-wide": MistralConfig(**_GROUPED, head_dim=8, sliding_window=WINDOW),
    "mistral": MistralConfig(**_GROUPED, head_dim=8, sliding_window=24),
    "gemma2": Gemma2Config(**_GROUPED, head_dim=8, final_logit_softcapping=5.0),
}
PLAIN_ONLY = ("mistral", "gemma2")


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    for parameter in (
        model.parameters()
    ):  # larger weights than usual, so that attention matters; yet logits of a usual size
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.15)
    return model


MODELS = {name: build(name) for name in CONFIGS}


def reference(model, prompts: Prompts, words: list[int]) -> tuple[np.ndarray, ...]:
    """One row at a time, whole, through the model's own forward."""
    logprobs, normaliser, argmax = [], [], []
    for suffix in prompts.suffixes:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompts.prefix + suffix])).logits[0, -1]
        total = torch.logsumexp(logits, -1)
        logprobs.append((logits[words] - total).numpy())
        normaliser.append(total.item())
        argmax.append(logits.argmax().item() in words)
    return np.array(logprobs), np.array(normaliser), np.array(argmax)


def draw(rng: np.random.Generator, prefix: int, lengths: list[int]) -> Prompts:
    def tokens(n):
        return tuple(int(token) for token in rng.integers(3, VOCABULARY, n))

    return Prompts(tuple(range(len(lengths))), tokens(prefix), [tokens(n) for n in lengths])


def assert_equal(scores, expected):
    logprobs, normaliser, argmax = expected
    np.testing.assert_allclose(scores.logprobs, logprobs, atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores.logsumexp, normaliser, atol=1e-5, rtol=0)
    assert (scores.logprobs.argmax(1) == logprobs.argmax(1)).all()
    assert (scores.argmax_is_label == argmax).all()
    assert scores.logprobs.dtype == scores.logsumexp.dtype == np.float32


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_scores_equal_the_plain_forward(name, data):
    prefix = data.draw(st.one_of(st.integers(0, 3), st.integers(16, 100)))
    lengths = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=9))
    prompts = draw(np.random.default_rng(data.draw(st.integers(0, 99))), prefix, lengths)
    words = [5, 90, 7]
    scores = score(MODELS[name], prompts, words, batch_tokens=data.draw(st.integers(1, 400)))
    assert_equal(scores, reference(MODELS[name], prompts, words))
    if prefix < 16:
        assert scores.route == "plain"
    elif name not in PLAIN_ONLY:
        assert scores.route == "shared prefix"


def test_the_attention_of_the_probes_depends_on_the_prefix():
    """Guards the tests above: a scorer that lost the prefix would fail them."""
    prompts = draw(np.random.default_rng(1), 40, [5, 9])
    other = dataclasses.replace(prompts, prefix=prompts.prefix[::-1])
    one = score(MODELS["opt"], prompts, [5, 6], batch_tokens=64).logprobs
    two = score(MODELS["opt"], other, [5, 6], batch_tokens=64).logprobs
    assert abs(one - two).max() > 1e-2


@pytest.mark.parametrize("name", PLAIN_ONLY)
def test_attention_that_cannot_be_routed_falls_back(name, caplog):
    prompts = draw(np.random.default_rng(2), 40, [5, 9])
    scores = score(MODELS[name], prompts, [5, 6], batch_tokens=64)
    assert scores.route.startswith("plain: ")
    assert "read again for every row" in caplog.text
    assert_equal(scores, reference(MODELS[name], prompts, [5, 6]))


def test_a_model_that_is_not_plainly_causal_is_found_out(monkeypatch):
    """Stands for an architecture that puts more into its mask than causality."""
    model = build("llama")
    monkeypatch.setattr(
        attention, "attend", lambda q, k, v, causal, scale: _attend(q, k, v, False, scale)
    )
    prompts = draw(np.random.default_rng(2), 40, [5, 9])
    scores = score(model, prompts, [5, 6], batch_tokens=64)
    assert "not plainly causal" in scores.route
    assert_equal(scores, reference(model, prompts, [5, 6]))


_attend = attention.attend


def test_rows_of_any_order_and_batch_get_the_same_scores():
    rng = np.random.default_rng(3)
    prompts = draw(rng, 30, [int(n) for n in rng.integers(1, 50, 20)])
    order = rng.permutation(20)
    shuffled = Prompts(tuple(order), prompts.prefix, [prompts.suffixes[i] for i in order.tolist()])
    model = MODELS["gpt-neox"]
    one = score(model, prompts, [5, 6], batch_tokens=200)
    two = score(model, shuffled, [5, 6], batch_tokens=1000)
    np.testing.assert_allclose(one.logprobs[order], two.logprobs, atol=1e-5, rtol=0)
    again = score(model, prompts, [5, 6], batch_tokens=200)
    assert (one.logprobs == again.logprobs).all() and (one.logsumexp == again.logsumexp).all()


def test_the_model_comes_back_as_it_was():
    model = build("opt")
    model.train()
    model.model.decoder.layers[1].eval()
    flags = [module.training for module in model.modules()]
    before = model.config._attn_implementation
    prompts = draw(np.random.default_rng(4), 40, [5, 9])
    scores = score(model, prompts, [5, 6], batch_tokens=64)
    assert [module.training for module in model.modules()] == flags
    assert model.config._attn_implementation == before
    assert_equal(scores, reference(model.eval(), prompts, [5, 6]))


def test_training_goes_on_after_scoring():
    model = build("llama").train()
    prompts = draw(np.random.default_rng(5), 40, [5, 9])
    score(model, prompts, [5, 6], batch_tokens=64)
    ids = torch.tensor([prompts.prefix])
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_head_of_its_own_takes_the_place_of_the_vocabulary():
    torch.manual_seed(0)
    model, head = MODELS["opt"], nn.Linear(32, 3)
    prompts = draw(np.random.default_rng(6), 0, [5, 9, 2])
    scores = score(model, prompts, range(3), batch_tokens=64, head=head)
    for i, suffix in enumerate(prompts.suffixes):
        with torch.no_grad():
            hidden = backbone(model)(input_ids=torch.tensor([suffix])).last_hidden_state[0, -1]
            expected = torch.log_softmax(head(hidden), -1).numpy()
        np.testing.assert_allclose(scores.logprobs[i], expected, atol=1e-5)
    assert scores.argmax_is_label.all()
    np.testing.assert_allclose(np.exp(scores.logprobs).sum(1), 1, atol=1e-5)


def test_modules_injected_by_peft_are_scored():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        build("opt"), peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    prompts = draw(np.random.default_rng(7), 40, [5, 9])
    model.eval()
    scores = score(model, prompts, [5, 6], batch_tokens=64)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(model, prompts, [5, 6]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_shares_the_prefix(dtype):
    prompts = draw(np.random.default_rng(8), 40, [5, 9, 30])
    scores = score(build("llama").to(dtype), prompts, [5, 6], batch_tokens=64)
    assert scores.route == "shared prefix"
    expected, _, _ = reference(build("llama"), prompts, [5, 6])
    np.testing.assert_allclose(scores.logprobs, expected, atol=0.2, rtol=0.05)


def test_a_prompt_longer_than_the_window_is_refused():
    prompts = draw(np.random.default_rng(9), 100, [5, 61, 60])
    with pytest.raises(UserError, match=r"row 1: its prompt has 161 tokens, the model reads 160"):
        score(MODELS["opt"], prompts, [5, 6], batch_tokens=64)
    longest = draw(np.random.default_rng(9), 100, [5, 60])
    assert_equal(
        score(MODELS["opt"], longest, [5, 6], batch_tokens=64),
        reference(MODELS["opt"], longest, [5, 6]),
    )


def test_progress_is_logged(caplog, monkeypatch):
    monkeypatch.setattr(scoring, "PROGRESS", 0.0)
    with caplog.at_level("INFO"):
        score(MODELS["opt"], draw(np.random.default_rng(0), 0, [5, 9]), [5], batch_tokens=1)
    assert "1 of 2 rows" in caplog.text and "2 of 2 rows" in caplog.text


def test_batches_are_cut_by_padded_tokens():
    assert canonical_batches([5, 3, 3, 9, 20], 10) == [[1, 2], [0], [3], [4]]
    assert canonical_batches([], 10) == []


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_budget(lengths, budget):
    batches = canonical_batches(lengths, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_kernel_and_plain_products_agree(causal, dtype):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 70, 16, dtype=dtype) for _ in range(3))
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    for found, expected in zip(
        attention.attend(q, k, v, causal, 0.3),
        attention.attend_plainly(q.float(), k.float(), v.float(), causal, 0.3),
        strict=True,
    ):
        torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)


def test_plain_products_in_pieces_equal_one_piece(monkeypatch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 50, 8) for _ in range(3))
    whole = attention.attend_plainly(q, k, v, True, 0.3)
    monkeypatch.setattr(attention, "QUERIES", 7)
    for a, b in zip(attention.attend_plainly(q, k, v, True, 0.3), whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_the_same_scores(name, dtype):
    prompts = draw(np.random.default_rng(10), 60, [5, 9, 30, 1])
    expected, _, _ = reference(build(name), prompts, [5, 6])
    scores = score(build(name).to("cuda", dtype), prompts, [5, 6], batch_tokens=64)
    assert scores.route.startswith("plain" if name in PLAIN_ONLY else "shared prefix")
    if dtype == torch.float32:
        np.testing.assert_allclose(scores.logprobs, expected, atol=1e-4, rtol=0)
    else:
        np.testing.assert_allclose(scores.logprobs, expected, atol=0.5, rtol=0.1)
