"""Logits are float32 whatever the type of the weights: 16 bits would tie and round them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import CONFIGS, build, draw
from fewshot.errors import UserError
from fewshot.models import parts
from fewshot.models.heads import ClassificationHead
from fewshot.models.parts import (
    Float32Linear,
    backbone,
    linear_in_float32,
    readout,
    use_float32_head,
)
from fewshot.rng import generator
from fewshot.scoring.score import score
from tiny import tiny_model
from torch import nn

HALF = [torch.bfloat16, torch.float16]


def tensors(dtype, outputs=37, width=16):
    random = np.random.default_rng(0)
    values = (random.normal(size=shape) for shape in ((5, width), (outputs, width), (outputs,)))
    return [torch.tensor(value, dtype=dtype, requires_grad=True) for value in values]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("block", [16, 160, 1 << 24])
def test_products_and_gradients_are_those_of_float32_inputs(monkeypatch, dtype, block):
    monkeypatch.setitem(parts.BLOCKS, "cpu", block)
    hidden, weight, bias = tensors(dtype)
    logits = linear_in_float32(hidden, weight, bias)
    wide = [each.detach().double().requires_grad_() for each in (hidden, weight, bias)]
    expected = nn.functional.linear(*wide)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits.double(), expected, atol=1e-5)
    scale = torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)
    (logits * scale).sum().backward()
    (expected * scale).sum().backward()
    for narrow, reference in zip((hidden, weight, bias), wide, strict=True):
        assert narrow.grad.dtype == dtype
        assert torch.allclose(narrow.grad.double(), reference.grad, rtol=1e-2, atol=1e-2)


def test_float32_is_computed_as_ever():
    hidden, weight, bias = tensors(torch.float32)
    assert torch.equal(
        linear_in_float32(hidden, weight, bias), nn.functional.linear(hidden, weight, bias)
    )


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("kind", ["opt", "gpt_neox"])
def test_a_models_head_keeps_its_weights_and_its_ties(kind, dtype):
    model = tiny_model(kind).to(dtype)
    weight = model.get_output_embeddings().weight
    use_float32_head(model)
    head = readout(model)
    assert isinstance(head, Float32Linear) and head.weight is weight
    tied = model.get_input_embeddings().weight is weight
    assert tied == model.config.tie_word_embeddings
    assert head(torch.ones(2, weight.shape[1], dtype=dtype)).dtype == torch.float32


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gemma3", "olmo2"])
def test_logits_are_capped_in_float32_behind_a_product_in_float32(name, dtype):
    model, ids = build(name).to(dtype), torch.arange(3, 43)[None]
    use_float32_head(model)
    with torch.no_grad():
        hidden = backbone(model)(input_ids=ids).last_hidden_state[0]
        found, whole = readout(model)(hidden), model(input_ids=ids).logits[0]
    expected = hidden.double() @ model.get_output_embeddings().weight.double().T
    cap = getattr(CONFIGS[name], "final_logit_softcapping", None)
    if cap:
        assert expected.abs().max() > cap / 2, "the cap would not matter"
        expected = cap * torch.tanh(expected / cap)
    assert found.dtype == whole.dtype == torch.float32 and torch.equal(found, whole)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_a_cap_is_read_from_the_configuration_of_the_text(monkeypatch):
    """Models that also read images have it there."""
    model = build("gemma2")
    text, hidden = model.config, torch.ones(1, model.config.hidden_size)
    expected = readout(model)(hidden)
    monkeypatch.setattr(model, "config", SimpleNamespace(get_text_config=lambda: text))
    assert torch.equal(readout(model)(hidden), expected)
    assert not torch.equal(model.get_output_embeddings()(hidden), expected)


def test_another_kind_of_head_is_refused_in_16_bits():
    model = tiny_model("opt").to(torch.bfloat16)
    model.set_output_embeddings(nn.Sequential(model.get_output_embeddings()))
    with pytest.raises(UserError, match=r"Sequential.*valid here: dtype float32"):
        use_float32_head(model)
    use_float32_head(model.float())


@pytest.mark.parametrize("dtype", HALF)
def test_classification_heads_answer_in_float32(dtype):
    head = ClassificationHead(8, 3, 0.0, dtype)
    head.draw(0.5, generator("head"))
    hidden = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    linear = nn.functional.linear
    weights = [each.double() for each in head.parameters()]
    expected = linear(torch.relu(linear(hidden.double(), *weights[:2])), *weights[2:])
    assert head(hidden).dtype == torch.float32
    assert torch.allclose(head(hidden).double(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", HALF)
def test_16_bit_models_score_without_ties(dtype):
    model = build("llama").to(dtype)
    # Two words of nearly the same meaning: their logits differ by less than 16 bits hold.
    weight = model.get_output_embeddings().weight.data
    step = 1 + torch.finfo(dtype).eps * torch.eye(1, weight.shape[1], dtype=dtype)[0]
    weight[90] = weight[5] * step
    prompts = draw(np.random.default_rng(1), 20, [5] * 100, [5, 90])
    rounded = score(model, prompts, batch_tokens=2048)
    use_float32_head(model)
    exact = score(model, prompts, batch_tokens=2048)
    assert rounded.exact_ties > 0, "the rows would not show the fault"
    assert exact.exact_ties == 0
