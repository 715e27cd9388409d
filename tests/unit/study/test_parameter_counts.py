"""Trainable parameters told from settings, against the methods themselves and peft."""

import importlib
from pathlib import Path

import peft
import pytest
import torch
from fewshot.adaptation.engines import new_optimizer
from fewshot.adaptation.trainable_model import adapted, parameter_facts
from fewshot.methods import adapter, bitfit, full
from fewshot.models.architectures import architecture_of, entry_architecture
from fewshot.models.heads import ClassificationHead
from fewshot.models.parts import trained_parameters
from fewshot.study.families import FAMILIES, added, head_parameters, second_moments, trainable
from fewshot.study.registries import load_registries
from model_configs import CONFIGS, MODELS, REGISTRY, meta
from project import ROOT
from tiny import ALL_KINDS, TARGETS, tiny_model, tiny_tokenizer, write_manifest
from transformers import AutoConfig, AutoModelForCausalLM

METHODS = load_registries(ROOT / "config")["methods"]
TWICE = ("tiny-", "laptop-", "mosbach-", "t-few-")
"""How names begin of methods that train what others do."""
TRAINED = [name for name, each in METHODS.items() if FAMILIES[each["family"]].trains]


def test_every_family_is_known():
    modules = Path(importlib.import_module("fewshot.methods").__file__).parent.glob("*.py")
    own = {name for name, family in FAMILIES.items() if family.trains or family.baseline}
    own |= {name for name, family in FAMILIES.items() if "similarity" in family.settings}
    shared = {"__init__", "freezing", "losses", "initial_values", "fitted", "logistic"}
    assert {path.stem for path in modules} - shared == own


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> str:
    """Return the manifest of a tokenizer, which is for methods that start from words."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return write_manifest(tmp_path_factory.mktemp("manifest") / "manifest.json", folder)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_registered_method_trains_as_many_as_its_module_says(name, kind, tokenizer):
    settings = {**METHODS[name], "targets": TARGETS[kind]}
    settings["start"] = {"texts": [" Yes"], "manifest": tokenizer}
    if settings["family"] == "context_tuning":
        settings["virtual_tokens"] = 1  # Before a seed's context is there.
    if (settings["family"], kind) == ("bitfit", "llama"):
        return  # it has no biases, which the family itself refuses
    model = tiny_model(kind)
    shape = architecture_of(model.config.to_dict(), 128)
    before = sum(each.numel() for each in model.parameters())
    method = importlib.import_module(f"fewshot.methods.{settings['family']}")
    student = adapted(model, method, settings, 3)
    assert shape.parameters == before
    after = parameter_facts(student)["total"]
    assert after - before == added(shape, settings, 3)
    trained = sum(each.numel() for each in student.parameters() if each.requires_grad)
    assert trained == trainable(shape, settings, 3)


@pytest.mark.parametrize("name", [name for name in TRAINED if not name.startswith(TWICE)])
@pytest.mark.parametrize("kind", ["opt", "llama"])
def test_adafactor_keeps_as_many_numbers_as_is_told(name, kind, tokenizer):
    settings = {**METHODS[name], "targets": TARGETS[kind], "optimizer": "adafactor"}
    settings["start"] = {"texts": [" Yes"], "manifest": tokenizer}
    if settings["family"] == "context_tuning":
        settings["virtual_tokens"] = 1  # Before a seed's context is there.
    if (settings["family"], kind) == ("bitfit", "llama"):
        return
    model = tiny_model(kind)
    shape = architecture_of(model.config.to_dict(), 128)
    method = importlib.import_module(f"fewshot.methods.{settings['family']}")
    trained = [*trained_parameters(adapted(model, method, settings, 3)).values()]
    optimizer = new_optimizer(trained, settings, True)
    for each in trained:
        each.grad = torch.ones_like(each)
    optimizer.step()
    numbers = sum(
        value.numel()
        for state in optimizer.state.values()
        for key, value in state.items()
        if key.startswith("exp_avg_sq")
    )
    assert second_moments(shape, settings, 3) == numbers
    assert second_moments(shape, {**settings, "optimizer": "adamw"}, 3) is None


@pytest.mark.parametrize("name", ["opt", "opt projected", "neox", "llama"])
@pytest.mark.parametrize("dora", [False, True])
def test_lora_and_dora_train_what_peft_adds(name, dora):
    model, shape = meta(CONFIGS[name]), architecture_of(CONFIGS[name], 1)
    targets = ["query_key_value", "dense_4h_to_h"] if name == "neox" else ["q_proj", "v_proj"]
    config = peft.LoraConfig(r=3, target_modules=targets, use_dora=dora)
    with torch.device("meta"):
        peft.inject_adapter_in_model(config, model)
    expected = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    settings = {"family": "lora", "rank": 3, "targets": targets, "dora": dora}
    assert trainable(shape, settings, 2) == added(shape, settings, 2) == expected


@pytest.mark.parametrize("name", [n for n in CONFIGS if n.startswith(("opt", "neox", "qwen2"))])
def test_bitfit_trains_all_biases(name):
    if name == "opt without biases":
        assert trainable(architecture_of(CONFIGS[name], 1), {"family": "bitfit"}, 2) == 0
        return
    model = meta(CONFIGS[name])
    names = set(bitfit.adapt(model, {}))
    expected = sum(p.numel() for n, p in model.named_parameters() if n in names)
    assert trainable(architecture_of(CONFIGS[name], 1), {"family": "bitfit"}, 2) == expected


@pytest.mark.parametrize("name", ["opt", "opt projected", "neox", "llama tied"])
def test_full_fine_tuning_with_a_head(name):
    """A readout of its own is not trained then; the head is the scorer's module."""
    model, shape = meta(CONFIGS[name]), architecture_of(CONFIGS[name], 1)
    names = set(full.adapt(model, {"head": "classification"}))
    trained = sum(p.numel() for n, p in model.named_parameters() if n in names)
    head = sum(p.numel() for p in ClassificationHead(shape.readout, 3, 0.0, None).parameters())
    settings = {"family": "full", "head": "classification"}
    assert trainable(shape, settings, 3) == trained + head
    assert added(shape, settings, 3) == head
    assert trainable(shape, {"family": "full"}, 3) == shape.parameters


@pytest.mark.parametrize("name", ["opt", "opt projected", "neox", "llama"])
def test_soft_prompts_train_what_peft_trains(name):
    shape, settings = architecture_of(CONFIGS[name], 1), {"virtual_tokens": 7}
    settings |= {"encoder_width": 20, "encoder": "mlp"}
    encoder = {"encoder_hidden_size": 20}
    kinds = {
        "prompt_tuning": (peft.PromptTuningConfig, {}),
        "prefix_tuning": (peft.PrefixTuningConfig, {}),
        "p_tuning": (peft.PromptEncoderConfig, encoder),
        "reparametrised_prefix": (
            peft.PrefixTuningConfig, {**encoder, "prefix_projection": True}
        ),
    }  # fmt: skip
    for family, (make, rest) in kinds.items():
        if (family, name) == ("prompt_tuning", "opt projected"):
            # peft takes the hidden width, which such an OPT's embeddings do not have.
            assert trainable(shape, {**settings, "family": family}, 2) == 7 * 32
        if name == "opt projected" and "prefix" not in family:
            continue
        config = make(task_type="CAUSAL_LM", num_virtual_tokens=7, **rest)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIGS[name]))
        trained, _ = peft.get_peft_model(model, config).get_nb_trainable_parameters()
        assert trainable(shape, {**settings, "family": family}, 2) == trained


@pytest.mark.parametrize("name", ["opt", "neox", "llama", "qwen3", "gemma3_text"])
def test_methods_for_all_linear_layers_name_all(name):
    """And adapters are counted for every kind of layer."""
    model, shape = meta(CONFIGS[name]), architecture_of(CONFIGS[name], 1)
    kinds = {"neox": "pythia", "qwen3": "qwen", "gemma3_text": "gemma"}
    linear = {
        path.rpartition(".")[2]
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and path != "lm_head" and "embed_out" not in path
    }
    assert set(METHODS["lora-all"]["targets"][kinds.get(name, name)]) == linear
    for method in ("houlsby", "scaled-parallel-adapter"):
        twin = meta(CONFIGS[name])
        names = set(adapter.adapt(twin, METHODS[method]))
        expected = sum(p.numel() for n, p in twin.named_parameters() if n in names)
        assert trainable(shape, METHODS[method], 2) == expected


def test_every_family_of_models_has_targets():
    families = {entry["family"] for entry in REGISTRY.values()}
    for method in ("lora", "lora-all"):
        assert families <= set(METHODS[method]["targets"])


def test_other_families():
    small = entry_architecture(MODELS["opt-125m"])
    assert trainable(small, {"family": "ia3"}, 2) == 55_296, "12 × (768 + 768 + 3072)"
    assert trainable(small, {"family": "in_context", "head": "language-model"}, 2) == 0
    linear = {"family": "head_only", "head": "classification", "classifier": "linear"}
    assert trainable(small, linear, 3) == head_parameters(small, linear, 3) == 769 * 3
    readout = {"family": "head_only", "head": "language-model"}
    assert trainable(small, readout, 3) == added(small, readout, 3) == 50_272 * 768
    assert added(entry_architecture(MODELS["pythia-410m"]), readout, 3) == 0, (
        "it has one of its own"
    )
