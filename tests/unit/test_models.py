"""Loading models and checking them against their entries."""

import json

import pytest
import torch
from fewshot.errors import UserError
from fewshot.models import backbone, load_model, readout
from safetensors.torch import load_file, save_file
from tiny import KINDS, save_tiny, tiny_model
from transformers import Gemma2Config, Gemma2ForCausalLM


@pytest.fixture
def stored(tmp_path):
    """Return a function that stores a tiny model and gives its manifest and entry."""

    def store(kind="opt"):
        folder = save_tiny(tmp_path / kind, kind)
        path = tmp_path / f"{kind}.json"
        path.write_text(json.dumps({"path": str(folder)}))
        parameters = sum(parameter.numel() for parameter in tiny_model(kind).parameters())
        return path, {"dtype": "float32", "parameters": parameters, "window": 128}

    return store


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_model_comes_back(stored, kind):
    model = load_model(*stored(kind))
    ids = torch.tensor([[2, 5, 6]])
    assert not model.training
    torch.testing.assert_close(model(ids).logits, tiny_model(kind)(ids).logits)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_dtype_is_the_entrys(stored, dtype):
    path, entry = stored()
    model = load_model(path, {**entry, "dtype": dtype})
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(("key", "found"), [("window", 128), ("parameters", None)])
def test_an_entry_that_differs_is_named(stored, key, found):
    path, entry = stored()
    message = rf"config/models.yaml: tiny\.{key} is 5, but the model has {found or entry[key]}"
    with pytest.raises(UserError, match=message):
        load_model(path, {**entry, key: 5}, "tiny")


def test_a_shape_that_differs_is_named(stored):
    path, entry = stored()
    config = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 64}
    load_model(path, {**entry, "config": config}, "tiny")
    for key, found in (("ffn_dim", 64), ("model_type", "opt"), ("head_dim", None)):
        message = rf"config/models.yaml: tiny\.config\.{key} is 5, but the model has {found}"
        with pytest.raises(UserError, match=message):
            load_model(path, {**entry, "config": {**config, key: 5}}, "tiny")


@pytest.mark.parametrize(("change", "kind"), [("drop", "missing_keys"), ("add", "unexpected_keys")])
def test_weights_must_match_the_architecture(stored, tmp_path, change, kind):
    path, entry = stored()
    file = tmp_path / "opt" / "model.safetensors"
    weights = load_file(file)
    if change == "drop":
        del weights["model.decoder.layers.1.fc1.weight"]
    else:
        weights["model.decoder.surplus.weight"] = torch.zeros(2)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=kind):
        load_model(path, entry)


def test_pickled_weights_are_read_where_there_are_no_others(stored, tmp_path):
    path, entry = stored()
    file = tmp_path / "opt" / "model.safetensors"
    torch.save(load_file(file), tmp_path / "opt" / "pytorch_model.bin")
    file.unlink()
    ids = torch.tensor([[2, 5, 6]])
    torch.testing.assert_close(load_model(path, entry)(ids).logits, tiny_model()(ids).logits)


def test_a_folder_without_weights_is_an_error(stored, tmp_path):
    path, entry = stored()
    (tmp_path / "opt" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(path, entry)


@pytest.mark.parametrize("kind", KINDS)
def test_backbone_and_readout_make_up_the_model(kind):
    model, ids = tiny_model(kind), torch.tensor([[2, 5, 6]])
    logits = readout(model)(backbone(model)(ids).last_hidden_state)
    torch.testing.assert_close(logits, model(ids).logits)


def test_soft_capped_logits_are_part_of_the_readout():
    config = Gemma2Config(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    model, ids = Gemma2ForCausalLM(config).eval(), torch.tensor([[2, 5, 6]])
    torch.nn.init.normal_(model.lm_head.weight)
    logits = readout(model)(backbone(model)(ids).last_hidden_state)
    torch.testing.assert_close(logits, model(ids).logits)
    assert logits.abs().max() <= 0.5
