"""16-bit products on a CPU without instructions for them: those of float32, rounded once."""

import numpy as np
import pytest
import torch
from architectures import build, draw, reference
from fewshot.models.parts import WideLinear, use_float32_head, wide_products
from fewshot.scoring.score import score
from torch import nn

HALF = [torch.bfloat16, torch.float16]
NATIVE = {"avx512_bf16": True, "avx512_fp16": True}


def cpu_with(monkeypatch, instructions):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", HALF)
def test_answers_are_exact_but_for_one_rounding(monkeypatch, dtype, bias):
    torch.manual_seed(0)
    layer, hidden = nn.Linear(300, 70, bias=bias, dtype=dtype), torch.randn(2, 5, 300).to(dtype)
    cpu_with(monkeypatch, {})
    with torch.no_grad(), wide_products(layer):
        assert type(layer) is WideLinear
        found = layer(hidden)
    assert type(layer) is nn.Linear and found.dtype == dtype
    exact = nn.functional.linear(
        hidden.double(), layer.weight.double(), layer.bias.double() if bias else None
    )
    half_a_place = torch.finfo(dtype).eps / 2 * exact.abs()
    assert ((found.double() - exact).abs() <= 1.01 * half_a_place + 1e-6).all()


@pytest.mark.parametrize(
    ("instructions", "dtype", "wide"),
    [
        ({"avx512_fp16": True, "avx512_bf16": False}, torch.bfloat16, True),
        ({"avx512_fp16": True, "avx512_bf16": False}, torch.float16, False),
        ({"amx_bf16": True}, torch.bfloat16, False),
        ({"amx_bf16": True}, torch.float16, True),
        ({}, torch.float32, False),
    ],
)
def test_only_emulated_types_are_widened(monkeypatch, instructions, dtype, wide):
    cpu_with(monkeypatch, instructions)
    model = build("llama").to(dtype)
    use_float32_head(model)
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(KeyError), wide_products(model):
        assert (WideLinear in map(type, model.modules())) is wide
        raise KeyError
    assert [type(module) for module in model.modules()] == kinds


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["opt", "gpt-neox", "gemma2"])
def test_scores_are_about_as_near_to_float32_as_with_the_instructions(monkeypatch, name, dtype):
    model = build(name)
    prompts = draw(np.random.default_rng(8), 40, [5, 9, 30, 30, 12], [(5, 6), (7,)])
    model = model.to(dtype)
    use_float32_head(model)
    exact, _, _ = reference(build(name).to(dtype).float(), prompts)
    errors = []
    for instructions in ({}, NATIVE):
        cpu_with(monkeypatch, instructions)
        one = score(model, prompts, batch_tokens=64).logprobs
        assert (score(model, prompts, batch_tokens=64).logprobs == one).all()
        errors.append(np.sqrt(np.mean((one - exact) ** 2)))
    # Each CPU's own kernels round in another order; a wrong product is off by a hundred times this.
    assert 0 < errors[0] <= 3 * errors[1]
