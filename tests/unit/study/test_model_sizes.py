"""Parameters and window of a model are stated in models.yaml or read from its files."""

import json
from pathlib import Path

import pytest
from fewshot import storage
from fewshot.errors import UserError
from fewshot.models.architectures import entry_architecture
from fewshot.models.compatibility import read_sizes
from fewshot.models.load import load_model
from fewshot.study.job_inputs import JobInputs
from fewshot.study.model_sizes import SIZES, SizeUnknown, with_sizes
from registries import copy_registries, edit, load
from tiny import KINDS, save_tiny, tiny_model, write_manifest
from transformers import GPT2Config, GPT2LMHeadModel

HUB = {"hub": "any/tiny", "revision": "main"}
MANIFEST = Path("results/models/tiny/manifest.json")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def downloaded(sizes: dict, hub: str | None = HUB["hub"]) -> None:
    MANIFEST.parent.mkdir(parents=True, exist_ok=True)
    storage.write_json(MANIFEST, {"hub": hub, "sizes": sizes})


def count(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_those_of_a_local_model_are_its_configurations(tmp_path, kind):
    folder = save_tiny(tmp_path / "model", kind)
    sized = with_sizes("tiny", {"family": "f", "local": str(folder)}, "")
    assert sized == {
        "family": "f", "local": str(folder), "parameters": count(tiny_model(kind)), "window": 128,
    }  # fmt: skip
    assert read_sizes(folder, "")["parameters"] == sized["parameters"]
    entry = {**sized, "dtype": "float32"}
    assert load_model(write_manifest(tmp_path / "manifest.json", folder), entry), "as stated"


def test_those_of_a_type_that_the_plan_does_not_know_are_counted(tmp_path):
    model = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, n_positions=9))
    model.save_pretrained(tmp_path / "model")
    sizes = read_sizes(tmp_path / "model", "model 'm'")
    assert sizes == {"parameters": count(model), "window": 9, "config": None}
    entry = {"local": str(tmp_path / "model")}
    with pytest.raises(SizeUnknown, match="m: parameters is not stated; `snakemake download`"):
        with_sizes("tiny", entry, "m")
    downloaded(sizes, hub=None)
    assert with_sizes("tiny", entry, "m") == {**entry, "parameters": count(model), "window": 9}
    (tmp_path / "model/config.json").write_text('{"model_type": "gpt2", "n_embd": "wide"}')
    with pytest.raises(UserError, match=r"^model 'm': no model can be made of its config.json .*$"):
        read_sizes(tmp_path / "model", "model 'm'")


def test_those_of_a_model_from_the_hub_come_with_its_download():
    with pytest.raises(SizeUnknown, match="parameters is not stated"):
        with_sizes("tiny", HUB, "m")
    config = {"model_type": "opt", "hidden_size": 8}
    downloaded({"parameters": 5, "window": 7, "config": config})
    assert with_sizes("tiny", HUB, "m") == {
        **HUB, "parameters": 5, "window": 7, "config": config,
    }  # fmt: skip
    with pytest.raises(SizeUnknown):
        with_sizes("tiny", {**HUB, "hub": "an/other"}, "m")
    downloaded({"parameters": 5, "window": None, "config": None})
    with pytest.raises(UserError, match="m: window: state it; its configuration does not"):
        with_sizes("tiny", HUB, "m")


def test_an_entry_that_states_both_is_the_same_before_and_after_the_download():
    stated = {**HUB, "parameters": 5, "window": 7}
    assert with_sizes("tiny", stated, "m") == stated
    downloaded({"parameters": 5, "window": 7, "config": {"model_type": "opt"}})
    assert with_sizes("tiny", stated, "m") == stated


def test_a_model_whose_folder_is_elsewhere_has_the_sizes_and_shape_of_its_manifest(tmp_path):
    """As in a clone that imported an archive."""
    folder = save_tiny(tmp_path / "model", "opt")
    downloaded(read_sizes(folder, ""), hub=None)
    here, gone = ({"local": str(path)} for path in (folder, tmp_path / "gone"))
    sized = with_sizes("tiny", gone, "m")
    assert {key: sized[key] for key in SIZES} == {
        key: with_sizes("tiny", here, "m")[key] for key in SIZES
    }
    assert entry_architecture(sized) == entry_architecture(with_sizes("tiny", here, "m"))
    downloaded({"parameters": 5, "window": 7, "config": None}, hub=None)
    assert with_sizes("tiny", here, "m")["window"] == 128, (
        "what is here counts, not an old manifest"
    )


@pytest.mark.parametrize(("key", "value"), [("parameters", 6), ("window", 8)])
def test_what_is_stated_is_compared_with_the_download(key, value):
    stated = {**HUB, "parameters": 5, "window": 7}
    downloaded({"parameters": 5, "window": 7, "config": None})
    with pytest.raises(UserError, match=f"m: {key} is {value}, but the model has"):
        with_sizes("tiny", {**stated, key: value}, "m")


def test_a_window_is_compared_with_a_local_models_configuration(tmp_path):
    folder = save_tiny(tmp_path / "model", "opt")
    config = json.loads((folder / "config.json").read_text())
    entry = {"local": str(folder), "parameters": 5, "window": 9}
    with pytest.raises(UserError, match="m: window is 9, but the model has 128"):
        with_sizes("tiny", entry, "m")
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    assert with_sizes("tiny", entry, "m") == entry


@pytest.mark.parametrize("kind", KINDS)
def test_a_stated_window_gives_parameters_where_the_configuration_has_no_positions(tmp_path, kind):
    folder = save_tiny(tmp_path / "model", kind)
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    entry = {"local": str(folder), "window": 128}
    sized = {**entry, "parameters": count(tiny_model(kind))}
    assert with_sizes("tiny", entry, "m") == sized
    of_hub = {**HUB, "config": config, "window": 128}
    assert with_sizes("tiny", of_hub, "m") == {**of_hub, "parameters": sized["parameters"]}
    with pytest.raises(SizeUnknown, match="m: parameters is not stated"):
        with_sizes("tiny", {"local": str(folder)}, "m")


def test_a_study_names_the_models_that_must_be_downloaded_first(tmp_path):
    folder = copy_registries(tmp_path)
    edit(folder, "models", lambda models: models["tiny"].pop("window"))
    study = load(folder)
    assert study.unsized == ["tiny"]
    with pytest.raises(SizeUnknown, match="model 'tiny': window is not stated"):
        JobInputs(study).model_manifest("tiny")
    assert JobInputs(study).model_manifest("small") == "results/models/small/manifest.json"
