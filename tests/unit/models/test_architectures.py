"""Shapes told from configurations, against transformers' own modules on the meta device."""

import json

import pytest
import torch
from fewshot.errors import UserError
from fewshot.models.architectures import (
    architecture_of,
    check_config,
    entry_architecture,
    guess,
    local_config,
)
from fewshot.models.shapes import TYPES
from fewshot.planning.memory import context_bytes, kept_per_token, working_per_token
from fewshot.planning.memory_plan_table import count_parameters
from fewshot.study.families import trainable
from model_configs import CONFIGS, MODELS, NEOX, OPT, SMALL, meta
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM


def of_layers(shape) -> set:
    return {(m.name, m.inputs, m.outputs, bool(m.bias), m.count) for m in shape.modules if m.inputs}


def found_layers(model) -> set:
    """Return the linear modules as transformers has them, with how often each name occurs."""
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    names = [name.rpartition(".")[2] for name, _ in linear]
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    return {
        (last, m.in_features, m.out_features, m.bias is not None, names.count(last))
        for last, (_, m) in zip(names, linear, strict=True)
        if not (tied and last in ("lm_head", "embed_out"))
    }


@pytest.mark.parametrize("name", [name for name in MODELS])
def test_every_registered_model_is_counted_as_transformers_does(name):
    entry = MODELS[name]
    shape = entry_architecture(entry)
    assert shape.exact
    assert (shape.parameters, shape.largest_layer) == count_parameters(entry, name)
    assert shape.parameters == entry["parameters"]


@pytest.mark.parametrize("name", CONFIGS)
def test_modules_of_every_known_type(name):
    config, model = CONFIGS[name], meta(CONFIGS[name])
    shape = architecture_of(config, window=1)
    sizes = [sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()]
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert shape.largest_layer == max(sizes)
    found = {(last.replace("embed_out", "lm_head"), *rest) for last, *rest in found_layers(model)}
    assert of_layers(shape) == found
    assert shape.readout == model.get_output_embeddings().weight.shape[1]


def test_every_type_is_tested():
    assert {config["model_type"] for config in CONFIGS.values()} == set(TYPES)


class Saved:
    """Sums the bytes that autograd keeps, each storage once and parameters left out."""

    def __init__(self, model):
        self.own = {each.untyped_storage().data_ptr() for each in model.parameters()}
        self.storages = {}

    def keep(self, tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.own:
            self.storages[storage.data_ptr()] = storage
        return tensor

    @property
    def bytes(self) -> int:
        return sum(each.nbytes() for each in self.storages.values())


def kept_by_autograd(config: dict, layers: int, dtype, row: int, checkpointing=False) -> int:
    config = {**config, "num_hidden_layers": layers, "dropout": 0.0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=dtype).train()
    if checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    saved = Saved(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
        states = model.base_model(
            input_ids=torch.randint(5, 400, (2, row)), use_cache=False
        ).last_hidden_state
    kept = saved.bytes
    del states
    return kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [n for n in CONFIGS if n != "opt without biases"])
def test_a_layer_keeps_what_autograd_keeps(name, dtype):
    """Two layers more keep that much more; without dropout, whose masks the formula counts."""
    config, row = {**CONFIGS[name], "hidden_size": 128, "head_dim": 32}, 64
    if config["model_type"] == "opt":
        config["word_embed_proj_dim"] = 128 // (1 + (config["word_embed_proj_dim"] == 32))
    more = kept_by_autograd(config, 4, dtype, row) - kept_by_autograd(config, 2, dtype, row)
    shape = architecture_of(config, window=1)
    masks = 2 * shape.width
    expected = kept_per_token(shape, dtype.itemsize, row) - masks
    # Scores that no fused kernel computes are reckoned with generously.
    least = 0.9 if shape.holds_scores else 0.99
    assert least * expected <= more / 2 / (2 * row) <= 1.01 * expected


@pytest.mark.parametrize("name", ["opt", "neox", "llama"])
def test_checkpointing_keeps_the_inputs_of_layers(name):
    row = 64
    more = kept_by_autograd(CONFIGS[name], 5, torch.float32, row, True) - kept_by_autograd(
        CONFIGS[name], 3, torch.float32, row, True
    )
    assert more == 2 * (2 * row) * 4 * SMALL["hidden_size"]


def test_gpt_3s_layer_keeps_34_times_its_width():
    """Korthikanti et al. 2022, without the attention matrix: 34 bytes × tokens × width."""
    shape = architecture_of({**NEOX, "hidden_size": 128, "intermediate_size": 512}, 1)
    assert kept_per_token(shape, 2, 1) - 2 * shape.extra == 34 * 128


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n]["parameters"] > 1e8])
def test_a_guessed_shape_takes_more_than_the_real_one(name):
    real, guessed = entry_architecture(MODELS[name]), guess(MODELS[name]["parameters"])
    assert not guessed.exact and guessed.parameters == real.parameters
    assert guessed.largest_layer >= real.largest_layer
    for element in (2, 4):
        per_layer = (
            kept_per_token(shape, element, 512) * shape.layers for shape in (guessed, real)
        )
        assert next(per_layer) > next(per_layer)
        assert context_bytes(guessed, element, 100) > context_bytes(real, element, 100)
    for settings in (
        {"family": "bitfit"},
        {"family": "lora", "rank": 8, "targets": ["q_proj", "v_proj", "query_key_value"]},
    ):
        assert trainable(guessed, settings, 2) > trainable(real, settings, 2)
    assert working_per_token(guessed, 2) > 0


def test_a_shape_that_is_not_known_is_guessed():
    entry = {"hub": "a/b", "parameters": 10**9, "window": 128}
    assert not entry_architecture(entry).exact
    assert not entry_architecture({**entry, "config": {"model_type": "mamba"}}).exact
    assert (
        entry_architecture(
            {**entry, "parameters": 10, "config": {"model_type": "mamba"}}
        ).parameters
        == 10
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ffn_dim": None}, "config: 'ffn_dim' is missing for type 'opt'"),
        ({"vocab_size": 501}, r"parameters is \d+, but a model of its config has \d+"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(change, message):
    config = {key: value for key, value in {**OPT, **change}.items() if value is not None}
    entry = {"config": config, "parameters": architecture_of(OPT, 1).parameters, "window": 128}
    with pytest.raises(UserError, match=rf"^models.yaml: mine: {message}$"):
        check_config(entry, "models.yaml: mine")
    check_config({**entry, "config": OPT}, "")
    check_config({"parameters": 5, "window": 128}, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{bad", r"folder .*: 'config.json' is not JSON \(Expecting .*: line 1 column 2"),
        (b'{\n"a": 1,\n}', r"folder .*: 'config.json' is not JSON \(.*: line [23] column"),
        (b'{"a": ' + b"[" * 200_000, r"folder .*: 'config.json' is not JSON \("),
        (b'{"model_type": ["opt"]}', r".*/config.json: model_type: must be text"),
        (b"[1]", r"folder .*: 'config.json' must hold a mapping"),
        (b'{"model_type": "\xff"}', r"folder .*: 'config.json' is not UTF-8 text"),
        (
            json.dumps({**OPT, "hidden_size": "8"}).encode(),
            r".*/config.json: hidden_size: '8' is not a whole number; write 8",
        ),
    ],
)
def test_a_broken_configuration_is_one_line(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^models.yaml: mine: {message}") as error:
        local_config(tmp_path, "models.yaml: mine")
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    with pytest.raises(UserError):
        entry_architecture({"local": str(tmp_path), "parameters": 5, "window": 128})
    path.write_text(json.dumps({**OPT, "head_dim": None}))
    assert local_config(tmp_path, "")["hidden_size"] == OPT["hidden_size"]
    path.unlink()
    assert local_config(tmp_path, "") == {}
