"""Each family trains what it names and nothing else."""

import pytest
import torch
from fewshot.adaptation.weights import put_weights, read_weights, take_weights, write_weights
from fewshot.errors import UserError
from fewshot.methods import bitfit, full, lora
from fewshot.rng import generator
from tiny import TARGETS, tiny_model

LORA = {"head": "language-model", "rank": 2, "alpha": 4, "dropout": 0.0, "dora": False}
LORA["targets"] = TARGETS["opt"]


def test_full_with_a_classification_head_leaves_out_only_an_untied_readout():
    opt, neox = tiny_model("opt"), tiny_model("gpt_neox")
    full.adapt(opt, {"head": "classification"})
    full.adapt(neox, {"head": "classification"})
    assert all(each.requires_grad for each in opt.parameters())
    frozen = [name for name, each in neox.named_parameters() if not each.requires_grad]
    assert len(frozen) == 1 and neox.get_output_embeddings().weight.shape == (75, 32)
    assert not neox.get_output_embeddings().weight.requires_grad


def test_bitfit_refuses_a_model_without_biases():
    model = tiny_model("llama")
    with pytest.raises(UserError, match=r"family 'bitfit' .*type 'llama'; valid: .*opt"):
        bitfit.adapt(model, {})


def test_lora_is_drawn_within_pefts_bounds():
    model = tiny_model("opt")
    lora.adapt(model, LORA)
    lora.draw(model, generator("x", 1))
    drawn = take_weights(model).items()
    a = torch.cat([each.flatten() for name, each in drawn if "lora_A" in name])
    assert a.abs().max() <= 32**-0.5 and a.std() == pytest.approx((1 / 96) ** 0.5, rel=0.1)


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
        lora.adapt(tiny_model("opt"), {**LORA, "targets": targets})


def test_the_adapter_of_another_method_is_refused(tmp_path):
    model = tiny_model("opt")
    lora.adapt(model, LORA)
    write_weights(tmp_path / "a.safetensors", take_weights(model), {"seed": "3"})
    bitfit.adapt(model, {})
    with pytest.raises(UserError, match="not an adapter of this model and method"):
        put_weights(model, read_weights(tmp_path / "a.safetensors", model))


def test_values_that_are_not_numbers_are_no_difference(tmp_path):
    state = {"a": torch.tensor([float("nan"), 1.0])}
    write_weights(tmp_path / "a.safetensors", state, {})
    assert (tmp_path / "a.safetensors").exists()


def test_dora_refuses_rows_of_zeros():
    """As a tiny model has them: a norm of zero is a direction that is no number."""
    model = tiny_model("opt")
    with torch.no_grad():
        model.model.decoder.layers[1].self_attn.v_proj.weight[3:5] = 0.0
    lora.adapt(tiny_model("opt"), {**LORA, "dora": True})
    with pytest.raises(UserError, match=r"dora: 2 rows of the weights of '.*layers.1.*v_proj' are"):
        lora.adapt(model, {**LORA, "dora": True})
