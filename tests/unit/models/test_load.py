"""Loading models and checking them against their entries."""

import json
import os
import zipfile

import pytest
import torch
from fewshot import storage
from fewshot.errors import UserError
from fewshot.models.files import verify_files
from fewshot.models.load import load_model
from fewshot.models.parts import backbone, readout
from mistakes import told
from safetensors.torch import load_file, save_file
from tiny import KINDS, save_tiny, tiny_model, write_manifest
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM


@pytest.fixture
def stored(tmp_path):
    """Return a function that stores a tiny model and gives its manifest and entry."""

    def store(kind="opt"):
        folder = save_tiny(tmp_path / kind, kind)
        path = write_manifest(tmp_path / f"{kind}.json", folder)
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
    message = rf"models.yaml: tiny\.{key} is 5, but the model has {found or entry[key]}"
    with pytest.raises(UserError, match=message):
        load_model(path, {**entry, key: 5}, "tiny")


def test_a_shape_that_differs_is_named(stored):
    path, entry = stored()
    config = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 64}
    load_model(path, {**entry, "config": config}, "tiny")
    for key, found in (("ffn_dim", 64), ("model_type", "opt"), ("head_dim", None)):
        message = rf"models.yaml: tiny\.config\.{key} is 5, but the model has {found}"
        with pytest.raises(UserError, match=message):
            load_model(path, {**entry, "config": {**config, key: 5}}, "tiny")


@pytest.mark.parametrize(
    ("change", "kind"),
    [("drop", "missing_keys"), ("add", "unexpected_keys"), ("cut", "mismatched_keys")],
)
def test_weights_must_match_the_architecture(stored, tmp_path, change, kind):
    path, entry = stored()
    file = tmp_path / "opt" / "model.safetensors"
    weights = load_file(file)
    name = "model.decoder.layers.1.fc1.weight"
    if change == "drop":
        del weights[name]
    elif change == "cut":
        weights[name] = weights[name][:5].clone()
    else:
        weights["model.decoder.surplus.weight"] = torch.zeros(2)
    save_file(weights, file, metadata={"format": "pt"})
    write_manifest(path, tmp_path / "opt")
    with pytest.raises(UserError, match=kind):
        load_model(path, entry)


def pickled(folder, weights, name="pytorch_model.bin"):
    """Put a pickle in the place of a folder's safetensors."""
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / name)


def test_pickled_weights_are_read_where_there_are_no_others(stored, tmp_path):
    path, entry = stored()
    pickled(tmp_path / "opt", load_file(tmp_path / "opt/model.safetensors"))
    write_manifest(path, tmp_path / "opt")
    ids = torch.tensor([[2, 5, 6]])
    torch.testing.assert_close(load_model(path, entry)(ids).logits, tiny_model()(ids).logits)


class Malice:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_pickle_that_runs_code_is_refused_by_name(stored, tmp_path, sharded):
    path, entry = stored()
    folder, proof = tmp_path / "opt", tmp_path / "it ran"
    weights = load_file(folder / "model.safetensors")
    malice = {**weights, "surplus": Malice(f"touch '{proof}'")}
    if sharded:
        torch.save(weights, folder / "part-1.bin")
        pickled(folder, malice, "part-2.bin")
        places = {key: "part-1.bin" for key in weights} | {"surplus": "part-2.bin"}
        index = {"metadata": {}, "weight_map": places}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        pickled(folder, malice)
    write_manifest(path, folder)
    name = "part-2.bin" if sharded else "pytorch_model.bin"
    assert told(load_model, path, entry) == (
        f"{folder / name}: refused: it names posix.system, which is no part of weights; take a "
        "revision that has safetensors"
    )
    assert not proof.exists()
    torch.load(folder / name, weights_only=False)
    assert proof.exists(), "the pickle would have run it"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_weights_that_are_none_end_in_one_line(stored, tmp_path, name):
    path, entry = stored()
    (tmp_path / "opt/model.safetensors").unlink()
    (tmp_path / "opt" / name).write_bytes(b"\x80\x02no weights")
    write_manifest(path, tmp_path / "opt")
    with pytest.raises(UserError, match=r"^[^\n]*opt[^\n]*(no pickle of weights|cannot be loaded)"):
        load_model(path, entry)


@pytest.mark.parametrize("content", [b"", "zip", [1, 2], 3])
def test_pickled_weights_that_are_none_end_in_one_line(stored, tmp_path, content):
    path, entry = stored()
    folder = tmp_path / "opt"
    pickled(folder, content)
    file = folder / "pytorch_model.bin"
    if content == b"":
        file.write_bytes(content)
    elif content == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a", "b")
    write_manifest(path, folder)
    with pytest.raises(UserError, match=rf"^{folder}: cannot be loaded \(\w+Error:[^\n]*\)$"):
        load_model(path, entry)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation_function": "none"}, "KeyError: 'none'"),
        ({"hidden_size": "many"}, "hidden_size"),
    ],
)
def test_a_configuration_that_is_none_ends_in_one_line(stored, tmp_path, change, said):
    path, entry = stored()
    folder = tmp_path / "opt"
    config = storage.read_json(folder / "config.json")
    storage.write_json(folder / "config.json", {**config, **change})
    write_manifest(path, folder)
    with pytest.raises(UserError, match=rf"^{folder}: cannot be loaded \([^\n]*{said}"):
        load_model(path, entry)


def test_memory_that_is_lacking_is_no_fault_of_the_weights(stored, monkeypatch):
    def lacking(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lacking)
    with pytest.raises(torch.OutOfMemoryError):
        load_model(*stored())


def test_files_that_the_manifest_does_not_name_are_not_read(stored, tmp_path):
    path, entry = stored()
    folder = tmp_path / "opt"
    weights = load_file(folder / "model.safetensors")
    pickled(folder, weights)
    write_manifest(path, folder)
    (folder / "model.safetensors").write_bytes(b"of an interrupted copy")
    load_model(path, entry)
    torch.save(Malice("true"), folder / "arguments.bin")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02no weights")
    write_manifest(path, folder)
    manifest = storage.read_json(path)
    for name in ("arguments.bin", "model.safetensors"):
        del manifest["files"][name]
    storage.write_json(path, manifest)
    with pytest.raises(UserError, match=r"pytorch_model.bin: refused: no pickle of weights"):
        load_model(path, entry)


def test_code_of_a_repository_is_never_run(stored, tmp_path):
    path, entry = stored()
    folder, proof = tmp_path / "opt", tmp_path / "it ran"
    config = storage.read_json(folder / "config.json")
    own = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    storage.write_json(folder / "config.json", {**config, "model_type": "mine", "auto_map": own})
    (folder / "mine.py").write_text(f"import os\nos.system('touch \"{proof}\"')\n")
    write_manifest(path, folder)
    with pytest.raises(UserError, match="custom code"):
        load_model(path, entry)
    assert not proof.exists()


def test_a_folder_without_weights_is_an_error(stored, tmp_path):
    path, entry = stored()
    (tmp_path / "opt" / "model.safetensors").unlink()
    write_manifest(path, tmp_path / "opt")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(path, entry)


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [
        ("hub", "model.safetensors", "run `snakemake download` for this study, which fetches it"),
        ("hub", "config.json", "run `snakemake download` for this study, which fetches it"),
        ("local", "model.safetensors", "put it back, or start Snakemake again, which reads the"),
    ],
)
def test_a_file_that_is_lost_is_named_with_what_to_do(stored, tmp_path, kind, name, remedy):
    path, entry = stored()
    storage.write_json(path, {**storage.read_json(path), "kind": kind})
    file = tmp_path / "opt" / name
    size = file.stat().st_size
    file.write_bytes(b"cut")
    match = rf"^model 'tiny': {file} has 3 bytes instead of {size}; {remedy}"
    with pytest.raises(UserError, match=match):
        load_model(path, entry)
    file.unlink()
    with pytest.raises(UserError, match=rf"^model 'tiny': {file} is gone; {remedy}"):
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


def test_weights_of_other_bytes_and_the_same_size_are_noticed(tmp_path):
    path = write_manifest(tmp_path / "opt.json", save_tiny(tmp_path / "opt"))
    content = storage.read_json(path)
    weights = tmp_path / "opt/model.safetensors"
    files = {name: {**entry, "sha256": storage.sha256(tmp_path / "opt" / name)}
             for name, entry in content["files"].items()}  # fmt: skip
    storage.write_json(path, {**content, "model": "tiny", "kind": "local", "files": files})
    verify_files(path)
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.safetensors is not the file that .*opt\.json"):
        verify_files(path)
    weights.unlink()
    with pytest.raises(UserError, match="is gone"):
        verify_files(path)
