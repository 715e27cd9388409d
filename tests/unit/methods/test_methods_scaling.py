"""(IA)³ and DoRA, module by module: against peft where its placement is the published one, and
against weights folded by hand."""

import peft
import pytest
import torch
from architectures import build
from fewshot.adaptation.weights import take_weights
from fewshot.errors import UserError
from fewshot.methods import ia3, lora
from fewshot.models.parts import readout
from fewshot.rng import generator
from tiny import ALL_KINDS, TARGETS, tiny_model

IDS = torch.arange(4, 24).reshape(2, 10)
LAST = {
    "opt": "fc2", "llama": "down_proj", "qwen3": "down_proj", "gemma3": "down_proj",
    "olmo2": "down_proj",
}  # fmt: skip


def model_of(kind: str) -> torch.nn.Module:
    return tiny_model(kind) if kind in ALL_KINDS else build(kind)


def outputs_of(model, names) -> dict[str, torch.Tensor]:
    """Return what the named modules give in a forward pass."""
    found = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, given, output, name=name: found.update({name: output})
        )
        for name in names
    ]
    model(input_ids=IDS)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def randomise(model, stream: str) -> None:
    """Put random factors into everything that is trained."""
    draw = generator(stream)
    for each in model.parameters():
        if each.requires_grad:
            each.copy_(torch.from_numpy(draw.normal(1.0, 0.5, each.shape)))


@pytest.mark.parametrize("kind", LAST)
def test_ia3_equals_peft_with_the_published_targets(kind):
    """Where keys are normalised they are scaled before that, as peft does."""
    ours, theirs = model_of(kind), model_of(kind)
    ia3.adapt(ours, {})
    randomise(ours, "factors")
    targets = ["k_proj", "v_proj", LAST[kind]]
    config = peft.IA3Config(target_modules=targets, feedforward_modules=[LAST[kind]])
    peft.inject_adapter_in_model(config, theirs)
    pairs = {}
    for name, parameter in theirs.named_parameters():
        if "ia3_l" in name:
            pairs[name] = name.replace("ia3_l.default", "ia3.weight")
            parameter.data.copy_(ours.get_parameter(pairs[name]).reshape(parameter.shape))
    assert sorted(pairs.values()) == sorted(take_weights(ours))
    assert len(pairs) == 3 * ours.config.num_hidden_layers
    modules = [name.removesuffix(".ia3.weight") for name in pairs.values()]
    expected = outputs_of(theirs, modules)
    for name, found in outputs_of(ours, modules).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-6)
    for model in (ours, theirs):
        model(input_ids=IDS, labels=IDS).loss.backward()
    for name, own in pairs.items():
        gradient = theirs.get_parameter(name).grad.flatten()
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(ours.get_parameter(own).grad, gradient, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_ia3_equals_weights_of_neox_folded_by_hand():
    model, folded = tiny_model("gpt_neox"), tiny_model("gpt_neox")
    ia3.adapt(model, {})
    randomise(model, "factors")
    for ours, layer in zip(model.gpt_neox.layers, folded.gpt_neox.layers, strict=True):
        for head in range(4):
            for part, factor in ((1, "keys"), (2, "values")):
                rows = slice((3 * head + part) * 8, (3 * head + part + 1) * 8)
                own = getattr(ours.attention.query_key_value.ia3, factor).view(4, 8)[head]
                layer.attention.query_key_value.weight[rows] *= own[:, None]
                layer.attention.query_key_value.bias[rows] *= own
        layer.mlp.dense_4h_to_h.weight *= ours.mlp.dense_4h_to_h.ia3.weight
    expected = folded(input_ids=IDS).logits
    torch.testing.assert_close(model(input_ids=IDS).logits, expected, rtol=0, atol=1e-5)
    assert (expected - tiny_model("gpt_neox")(input_ids=IDS).logits).abs().max() > 0.1


def test_ia3_says_what_it_looks_for_in_an_unknown_architecture():
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=2, n_head=2))
    with pytest.raises(
        UserError, match=r"'ia3' finds 0 modules for the keys of 2 layers .*'bloom'"
    ):
        ia3.adapt(model, {})


DORA = {"head": "language-model", "rank": 2, "alpha": 4, "dropout": 0.0, "dora": True}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_dora_equals_pefts_own_model(kind):
    ours, theirs = tiny_model(kind), tiny_model(kind)
    names = lora.adapt(ours, {**DORA, "targets": TARGETS[kind]})
    lora.draw(ours, generator("a"))
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS[kind], use_dora=True)
    wrapped = peft.get_peft_model(theirs, config)
    trained = [name for name, each in wrapped.named_parameters() if each.requires_grad]
    assert trained == ["base_model.model." + name for name in names]
    with torch.no_grad():
        for name in names:
            ours.get_parameter(name).add_(0.1)
            wrapped.get_parameter("base_model.model." + name).copy_(ours.get_parameter(name))
    for model in (ours, wrapped):
        model(input_ids=IDS, labels=IDS).loss.backward()
    assert torch.equal(ours(input_ids=IDS).logits, wrapped(input_ids=IDS).logits)
    for name in names:
        expected = wrapped.get_parameter("base_model.model." + name).grad
        assert torch.equal(ours.get_parameter(name).grad, expected) and expected.abs().max() > 0


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_doras_magnitudes_start_as_the_norms_of_the_weights(kind):
    model = tiny_model(kind)
    lora.adapt(model, {**DORA, "targets": TARGETS[kind]})
    lora.draw(model, generator("a"))
    found = 0
    for module in model.modules():
        if hasattr(module, "lora_magnitude_vector") and len(module.lora_magnitude_vector):
            norms = module.base_layer.weight.pow(2).sum(dim=1).sqrt()
            torch.testing.assert_close(module.lora_magnitude_vector["default"].weight, norms)
            found += 1
    assert found == 2 * len(TARGETS[kind])


def test_dora_equals_the_formula():
    """m · (W + s B A) / |W + s B A|, row by row."""
    model = tiny_model("opt")
    lora.adapt(model, {**DORA, "targets": TARGETS["opt"]})
    lora.draw(model, generator("a"))
    module = model.model.decoder.layers[0].self_attn.v_proj
    with torch.no_grad():
        for each in module.parameters():
            if each.requires_grad:
                each += 0.1
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    weight = module.base_layer.weight + 4 / 2 * b @ a
    weight = weight / weight.norm(dim=1, keepdim=True)
    weight = weight * module.lora_magnitude_vector["default"].weight[:, None]
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    expected = states @ weight.T + module.base_layer.bias
    torch.testing.assert_close(module(states), expected, rtol=0, atol=1e-5)


def test_a_readout_is_found_behind_scaled_modules():
    model = tiny_model("llama")
    ia3.adapt(model, {})
    assert readout(model) is model.lm_head
