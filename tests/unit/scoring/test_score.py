"""The scorer against the plain forward pass of transformers on whole prompts."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from architectures import (
    CONFIGS,
    MODELS,
    PLAIN_ONLY,
    VOCABULARY,
    assert_equal,
    build,
    draw,
    reference,
)
from fewshot.models.parts import backbone
from fewshot.prompts.tokenize import Prompts
from fewshot.scoring.score import score
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thinned import thinned
from torch import nn

WORDS = st.lists(
    st.lists(st.integers(3, VOCABULARY - 1), min_size=1, max_size=4).map(tuple),
    min_size=2,
    max_size=4,
    unique=True,
)


@pytest.mark.parametrize("name", thinned(CONFIGS, ["opt", "gpt-neox", "llama"], CONFIGS))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_scores_equal_the_plain_forward(name, data):
    prefix = data.draw(st.one_of(st.integers(0, 3), st.integers(16, 100)))
    lengths = data.draw(st.lists(st.integers(1, 57), min_size=1, max_size=9))
    words = data.draw(st.one_of(st.just([5, 90, 7]), WORDS))
    prompts = draw(np.random.default_rng(data.draw(st.integers(0, 99))), prefix, lengths, words)
    scores = score(MODELS[name], prompts, batch_tokens=data.draw(st.integers(1, 400)))
    assert_equal(scores, reference(MODELS[name], prompts))
    if prefix >= 16 and name not in PLAIN_ONLY:
        assert scores.route == "shared prefix"


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("prefix", [0, 5, 40])
def test_rows_that_begin_alike_are_read_together(name, prefix):
    prompts = draw(np.random.default_rng(20), prefix, [30, 9, 31, 30, 40], [(5, 6), (7,)])
    rows = prompts.suffixes
    suffixes = [rows[0], rows[1], rows[0][:20] + rows[2][:9], rows[0][:22] + rows[3], rows[0]]
    prompts = dataclasses.replace(prompts, suffixes=suffixes)
    scores = score(MODELS[name], prompts, batch_tokens=128)
    assert_equal(scores, reference(MODELS[name], prompts))
    whole = sum(map(len, suffixes)) + len(suffixes)
    if name not in PLAIN_ONLY:
        assert scores.route == ("shared prefix" if prefix == 40 else "packed")
        assert scores.tokens_read < 0.75 * whole + (prefix if prefix == 40 else prefix * 5)


@pytest.mark.parametrize("name", ["opt", "gpt-neox", "llama"])
def test_more_answers_may_be_read_off_than_there_are_tokens(name):
    """Each of 30 rows that are the same asks for the last of their six tokens."""
    prompts = draw(np.random.default_rng(23), 40, [6])
    many = Prompts(tuple(range(30)), prompts.prefix, prompts.suffixes * 30, prompts.words * 30)
    scores = score(MODELS[name], many, batch_tokens=128)
    assert_equal(scores, reference(MODELS[name], many))


def test_the_attention_of_the_probes_depends_on_the_prefix():
    """Guards the tests above: a scorer that lost the prefix would fail them."""
    prompts = draw(np.random.default_rng(1), 40, [5, 9])
    other = dataclasses.replace(prompts, prefix=prompts.prefix[::-1])
    one = score(MODELS["opt"], prompts, batch_tokens=64).logprobs
    two = score(MODELS["opt"], other, batch_tokens=64).logprobs
    assert abs(one - two).max() > 1e-2


@pytest.mark.parametrize("prefix", [0, 40])
def test_the_last_layer_computes_what_is_asked_for(prefix):
    model, seen = build("llama"), []
    model.model.layers[2].mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    prompts = draw(np.random.default_rng(21), prefix, [30, 9], [(5, 6), (7,)])
    scores = score(model, prompts, batch_tokens=200)
    assert_equal(scores, reference(model, prompts))
    # One position for each of a row's words but the first token, which words share.
    assert [2, 2, 32] in [list(each.shape) for each in seen]


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3", "olmo2"])
def test_the_normaliser_is_over_all_rows_of_the_readout(name):
    """Also over those that no token of the tokenizer has, as transformers' own loss is."""
    model, known = MODELS[name], VOCABULARY - 20
    prompts = draw(np.random.default_rng(27), 40, [5, 9], [5, 6])
    prompts = dataclasses.replace(
        prompts,
        prefix=tuple(token % known for token in prompts.prefix),
        suffixes=[tuple(token % known for token in row) for row in prompts.suffixes],
    )
    scores = score(model, prompts, batch_tokens=64)
    for i, row in enumerate(prompts.suffixes):
        ids = torch.tensor([[*prompts.prefix, *row, 5]])
        labels = torch.full_like(ids, -100)
        labels[0, -1] = 5
        with torch.no_grad():
            output = model(input_ids=ids, labels=labels)
        assert scores.logprobs[i, 0] == pytest.approx(-output.loss.item(), abs=1e-5)
        of_tokens = torch.logsumexp(output.logits[0, -2, :known], -1).item()
        assert scores.logsumexp[i] > of_tokens + 1e-3, "the other rows weigh"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gemma2", {"final_logit_softcapping": None}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"query_pre_attn_scalar": 8}),
        ("gemma3", {"query_pre_attn_scalar": 8}),
    ],
)
def test_what_an_architecture_does_shows_in_its_scores(name, change):
    """Guards the comparisons above: a scorer that left it out would fail them."""
    prompts = draw(np.random.default_rng(28), 40, [5, 9])
    config = copy.deepcopy(CONFIGS[name])
    for key, value in change.items():
        setattr(config, key, value)
    model = build(config)
    scores = score(model, prompts, batch_tokens=64)
    assert_equal(scores, reference(model, prompts))
    own = score(MODELS[name], prompts, batch_tokens=64)
    assert abs(scores.logprobs - own.logprobs).max() > 1e-3


def test_rows_of_any_order_and_batch_get_the_same_scores():
    rng = np.random.default_rng(3)
    prompts = draw(rng, 30, [int(n) for n in rng.integers(1, 50, 20)])
    order = rng.permutation(20)
    rows = order.tolist()
    shuffled = dataclasses.replace(
        prompts, ids=tuple(rows), suffixes=[prompts.suffixes[i] for i in rows]
    )
    model = MODELS["gpt-neox"]
    one = score(model, prompts, batch_tokens=200)
    two = score(model, shuffled, batch_tokens=1000)
    np.testing.assert_allclose(one.logprobs[order], two.logprobs, atol=1e-5, rtol=0)
    again = score(model, prompts, batch_tokens=200)
    assert (one.logprobs == again.logprobs).all() and (one.logsumexp == again.logsumexp).all()


def test_the_model_comes_back_as_it_was():
    model = build("opt")
    model.train()
    model.model.decoder.layers[1].eval()
    flags = [module.training for module in model.modules()]
    before = model.config._attn_implementation
    prompts = draw(np.random.default_rng(4), 40, [5, 9])
    scores = score(model, prompts, batch_tokens=64)
    assert [module.training for module in model.modules()] == flags
    assert model.config._attn_implementation == before
    assert_equal(scores, reference(model.eval(), prompts))


def test_training_goes_on_after_scoring():
    model = build("llama").train()
    prompts = draw(np.random.default_rng(5), 40, [5, 9])
    score(model, prompts, batch_tokens=64)
    ids = torch.tensor([prompts.prefix])
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_head_of_its_own_takes_the_place_of_the_vocabulary():
    torch.manual_seed(0)
    model, head = MODELS["opt"], nn.Linear(32, 3)
    prompts = draw(np.random.default_rng(6), 0, [5, 9, 2])
    scores = score(model, prompts.with_words(range(3)), batch_tokens=64, head=head)
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
    scores = score(model, prompts, batch_tokens=64)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(model, prompts))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_shares_the_prefix(dtype):
    prompts = draw(np.random.default_rng(8), 40, [5, 9, 30])
    scores = score(build("llama").to(dtype), prompts, batch_tokens=64)
    assert scores.route == "shared prefix"
    expected, _, _ = reference(build("llama"), prompts)
    np.testing.assert_allclose(scores.logprobs, expected, atol=0.2, rtol=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_the_same_scores(name, dtype):
    prompts = draw(np.random.default_rng(10), 60, [5, 9, 30, 1])
    expected, _, _ = reference(build(name), prompts)
    scores = score(build(name).to("cuda", dtype), prompts, batch_tokens=64)
    assert scores.route.startswith("plain" if name in PLAIN_ONLY else "shared prefix")
    if dtype == torch.float32:
        np.testing.assert_allclose(scores.logprobs, expected, atol=1e-4, rtol=0)
    else:
        np.testing.assert_allclose(scores.logprobs, expected, atol=0.5, rtol=0.1)
