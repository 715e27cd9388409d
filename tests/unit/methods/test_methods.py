"""Each family trains what it names and nothing else."""

import copy

import peft
import pytest
import torch
from fewshot.adaptation.weights import put_weights, read_weights, take_weights, write_weights
from fewshot.codeversion import imports
from fewshot.errors import UserError
from fewshot.methods import bitfit, full, lora
from fewshot.rng import generator
from fewshot.study.families import FAMILIES
from tiny import KINDS, TARGETS, tiny_model

LORA = {
    kind: {
        "head": "language-model",
        "rank": 2,
        "alpha": 4,
        "dropout": 0.0,
        "dora": False,
        "targets": targets,
    }
    for kind, targets in TARGETS.items()
}


def trainable(model) -> list[str]:
    return [name for name, each in model.named_parameters() if each.requires_grad]


@pytest.mark.parametrize("kind", KINDS)
def test_full_trains_every_parameter(kind):
    model = tiny_model(kind)
    assert full.adapt(model, {"head": "language-model"}) == trainable(model)
    assert all(each.requires_grad for each in model.parameters())


def test_full_with_a_classification_head_leaves_out_only_an_untied_readout():
    opt, neox = tiny_model("opt"), tiny_model("gpt_neox")
    full.adapt(opt, {"head": "classification"})
    full.adapt(neox, {"head": "classification"})
    assert all(each.requires_grad for each in opt.parameters())
    frozen = [name for name, each in neox.named_parameters() if not each.requires_grad]
    assert len(frozen) == 1 and neox.get_output_embeddings().weight.shape == (75, 32)
    assert not neox.get_output_embeddings().weight.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_bitfit_trains_all_biases_and_nothing_else(kind):
    model = tiny_model(kind)
    names = bitfit.adapt(model, {"head": "language-model"})
    assert names == trainable(model)
    assert all(name.endswith(".bias") for name in names)
    # Two layers with two norms of 32, attention 4 · 32, feed-forward 64 + 32, and the last norm.
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 2 * 288 + 32


def test_bitfit_refuses_a_model_without_biases():
    model = tiny_model("llama")
    with pytest.raises(UserError, match=r"family 'bitfit' .*type 'llama'; valid: .*opt"):
        bitfit.adapt(model, {})


@pytest.mark.parametrize(("kind", "count"), [("opt", 2 * 2 * 2 * 64), ("gpt_neox", 2 * 2 * 128)])
def test_lora_trains_two_factors_per_target(kind, count):
    model = tiny_model(kind)
    names = lora.adapt(model, LORA[kind])
    assert names == trainable(model)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count
    assert not model.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_lora_equals_pefts_own_model(kind):
    ours, theirs = tiny_model(kind), tiny_model(kind)
    lora.adapt(ours, LORA[kind])
    lora.draw(ours, generator("a"))
    wrapped = peft.get_peft_model(
        theirs, peft.LoraConfig(r=2, lora_alpha=4, target_modules=TARGETS[kind])
    )
    assert trainable(wrapped) == ["base_model.model." + name for name in trainable(ours)]
    state = {"base_model.model." + n: p + 0.1 for n, p in take_weights(ours).items()}
    with torch.no_grad():
        for each in ours.parameters():
            if each.requires_grad:
                each += 0.1
    wrapped.load_state_dict(state, strict=False)
    ids = torch.arange(4, 16).reshape(2, 6)
    expected = wrapped(input_ids=ids).logits
    assert torch.equal(ours(input_ids=ids).logits, expected)
    assert not torch.allclose(expected, tiny_model(kind)(input_ids=ids).logits, atol=1e-3)


def test_lora_is_drawn_within_pefts_bounds_and_starts_as_the_base_model():
    model = tiny_model("opt")
    ids = torch.arange(4, 10)[None]
    before = model(input_ids=ids).logits
    lora.adapt(model, LORA["opt"])
    lora.draw(model, generator("x", 1))
    first = take_weights(model)
    assert torch.equal(model(input_ids=ids).logits, before)
    a = torch.cat([each.flatten() for name, each in first.items() if "lora_A" in name])
    assert a.abs().max() <= 32**-0.5 and a.std() == pytest.approx((1 / 96) ** 0.5, rel=0.1)
    lora.draw(model, generator("x", 1))
    assert all(torch.equal(each, first[name]) for name, each in take_weights(model).items())
    lora.draw(model, generator("x", 2))
    assert not all(torch.equal(each, first[name]) for name, each in take_weights(model).items())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["query_key_value"], "unknown module of model type opt 'query_key_value'; valid: fc1, fc"),
        (["q_prj"], "unknown module of model type opt 'q_prj'; did you mean 'q_proj'"),
        ([], "unknown module of model type opt 'none'; valid: fc1, fc2"),
    ],
)
def test_lora_names_targets_that_do_not_match(targets, message):
    with pytest.raises(UserError, match=message):
        lora.adapt(tiny_model("opt"), {**LORA["opt"], "targets": targets})


def test_adapters_are_stored_and_read_back(tmp_path):
    model = tiny_model("opt")
    lora.adapt(model, LORA["opt"])
    lora.draw(model, generator("x"))
    state = take_weights(model)
    write_weights(tmp_path / "a.safetensors", state, {"seed": "3"})
    other = copy.deepcopy(model)
    lora.draw(other, generator("y"))
    put_weights(other, read_weights(tmp_path / "a.safetensors", other))
    assert all(torch.equal(each, state[name]) for name, each in take_weights(other).items())
    bitfit.adapt(other, {})
    with pytest.raises(UserError, match="not an adapter of this model and method"):
        put_weights(other, read_weights(tmp_path / "a.safetensors", other))


def test_values_that_are_not_numbers_are_no_difference(tmp_path):
    state = {"a": torch.tensor([float("nan"), 1.0])}
    write_weights(tmp_path / "a.safetensors", state, {})
    assert (tmp_path / "a.safetensors").exists()


def test_no_family_imports_another():
    for name in (name for name, family in FAMILIES.items() if family.trains):
        reached = [each for each in imports(f"methods.{name}") if each.startswith("methods")]
        assert reached in ([], ["methods.freezing"])
