"""Weights in 4 bits: as the paper has them, multiplied as what they stand for, as transformers'."""

import copy

import bitsandbytes
import numpy as np
import pytest
import torch
from architectures import CONFIGS, MODELS, assert_equal, draw, reference, shift
from fewshot.methods import qlora
from fewshot.models.four_bit import FourBitLinear, quantise
from fewshot.rng import generator
from fewshot.scoring import score
from scipy.stats import norm
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

CPU = torch.device("cpu")
TYPES = (torch.float32, torch.bfloat16, torch.float16)
IDS = torch.arange(4, 24).reshape(2, 10)
SHAPES = ("opt", "opt-post-norm", "gpt-neox", "llama", "qwen3", "gemma3")
MIXED = ["q_proj", "v_proj"]


def linear(inputs: int, outputs: int, dtype=torch.float32, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs, dtype=dtype)


def nearest(numbers: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the value that is nearest to each number."""
    return values[(numbers[..., None] - values).abs().argmin(dim=-1)]


def blocks(numbers: torch.Tensor, size: int) -> torch.Tensor:
    """Return a flat tensor in rows of `size`, the last filled up with zeros."""
    return functional.pad(numbers, (0, -len(numbers) % size)).reshape(-1, size)


def by_hand(weights: torch.Tensor, layer: FourBitLinear) -> torch.Tensor:
    """Return what the 4 bits of `weights` stand for, by the formulas of Dettmers et al. 2023.

    bitsandbytes knows scales to 16 bits of the largest when it looks for the nearest 8-bit value,
    so that one half-way between two may become either.
    """
    flat = weights.float().flatten()
    scales = blocks(flat, 64).abs().amax(dim=1)
    numbers = nearest(blocks(flat, 64) / scales[:, None], layer.values)
    rest = blocks(scales - scales.mean(), 256)
    largest = rest.abs().amax(dim=1, keepdim=True)
    taken = blocks(layer.scale_values[layer.scales.long()], 256)
    best = nearest(rest / largest, layer.scale_values)
    further = (taken - rest / largest).abs() - (best - rest / largest).abs()
    here = blocks(torch.ones(len(scales)), 256) > 0
    assert further[here].max() <= 2**-15
    scales = (taken * largest).flatten()[: len(scales)] + scales.mean()
    return (numbers * scales[:, None]).flatten()[: len(flat)].reshape(weights.shape)


def test_the_values_cut_a_normal_distribution_into_equal_parts():
    """As the paper's code has them: 8 above zero, 7 below, the ends of them given."""
    above = norm.ppf(np.linspace(0.9677083, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(0.9677083, 0.5, 8)[:-1])
    expected = np.sort([*above, 0.0, *below])
    found = FourBitLinear(linear(64, 64), CPU).values
    np.testing.assert_allclose(found, expected / expected.max(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [(128, 192), (50, 34), (40, 520)])
def test_weights_are_what_the_formulas_say(size, dtype):
    """Also where rows are no whole number of blocks, and where there are several of scales."""
    given = linear(*size, dtype)
    layer = FourBitLinear(given, CPU)
    expected = by_hand(given.weight.detach(), layer).to(dtype)
    relative = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
    torch.testing.assert_close(layer.dequantised(), expected, rtol=relative, atol=0)
    held = sum(each.numel() for each in (layer.weight, layer.scales))
    assert held == pytest.approx(given.weight.numel() * (1 / 2 + 1 / 64), abs=1)


@pytest.mark.parametrize("dtype", TYPES[:2])
@pytest.mark.parametrize("rows", [1, 7])
def test_products_and_gradients_are_those_of_what_the_bits_stand_for(rows, dtype):
    """In training and in scoring, which bitsandbytes' own layer tells apart on some CPUs."""
    layer = FourBitLinear(linear(128, 96, dtype), CPU)
    inputs = torch.randn(3, rows, 128, dtype=dtype, requires_grad=True)
    other = inputs.detach().clone().requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda each: each):
        found = layer(inputs)
    expected = functional.linear(other, layer.dequantised(), layer.bias)
    assert torch.equal(found, expected) and not kept, "weights are not held for the gradient"
    gradient = torch.randn_like(found)
    found.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(inputs.grad, other.grad)
    with torch.no_grad():
        assert torch.equal(layer.eval()(inputs), found)


@pytest.fixture(scope="module", params=SHAPES)
def saved(request, tmp_path_factory):
    """Return a kind of model and the folder of one."""
    folder = tmp_path_factory.mktemp(request.param)
    MODELS[request.param].save_pretrained(folder)
    return request.param, folder


@pytest.mark.parametrize("dtype", TYPES[:2])
def test_a_frozen_model_is_that_of_transformers(saved, dtype):
    """The same layers, the same bits, the same logits."""
    _, folder = saved
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )  # fmt: skip
    load = AutoModelForCausalLM.from_pretrained
    theirs = load(folder, quantization_config=config, device_map="cpu", dtype=dtype).eval()
    ours = load(folder, dtype=dtype).eval()
    quantise(ours)
    layers = {
        name: module
        for name, module in theirs.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }
    found = {n for n, module in ours.named_modules() if isinstance(module, FourBitLinear)}
    assert found == layers.keys()
    for name, module in layers.items():
        assert torch.equal(ours.get_submodule(name).weight, module.weight.data)
        # Its products in bfloat16, of which narrow layers cannot be packed at all.
        module.support_avx512bf16_for_cpu = False
    with torch.no_grad():
        assert torch.equal(ours(input_ids=IDS).logits, theirs(input_ids=IDS).logits)


def adapted_model(name: str):
    model = copy.deepcopy(MODELS[name])
    targets = ["query_key_value", "dense"] if name == "gpt-neox" else MIXED
    settings = {"rank": 2, "alpha": 4, "dropout": 0.1, "targets": targets, "quantise": "nf4"}
    qlora.adapt(model, settings)
    qlora.draw(model, generator("qlora"))
    shift(model)
    return model.eval()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("prefix", [0, 40])
def test_scores_are_those_of_whole_prompts(name, prefix):
    model = adapted_model(name)
    prompts = draw(generator("four-bit", name), prefix, [9, 4, 12], words=((5,), (6, 7)))
    found = score.score(model, prompts, batch_tokens=64)
    assert_equal(found, reference(model, prompts))
    assert found.route == ("shared prefix" if prefix else "packed")


@pytest.mark.parametrize("name", SHAPES)
def test_all_weights_are_counted(name):
    model = adapted_model(name)
    packed = sum(getattr(each, "packed_weights", 0) for each in model.modules())
    added = sum(each.numel() for each in model.parameters() if each.requires_grad)
    before = sum(each.numel() for each in MODELS[name].parameters())
    assert sum(each.numel() for each in model.parameters()) + packed == before + added
    assert CONFIGS[name].tie_word_embeddings == (
        model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ), "embeddings and readout stay as they are"
