"""Everything but downloads and uploads keeps off the network, whatever the environment says."""

import ast
import os
import subprocess
import sys

import pytest
import torch
from project import DOWNLOADS, ROOT
from safetensors.torch import load_file
from tiny import save_tiny, tiny_model, write_manifest

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
ON_NETWORK = {*DOWNLOADS, "push_adapters"}
ONLINE = {"HF_HUB_OFFLINE": "0", "DISABLE_SAFETENSORS_CONVERSION": "0"}


def python(code: str, *arguments: str, **environment: str) -> str:
    """Return what another Python prints that the user told to be online."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **ONLINE, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_no_script_imports_hugging_faces_libraries_before_it_runs():
    """They look at the environment when they are imported; `script.run` sets it before `main`."""
    names = [name for name in SCRIPTS if name not in ON_NETWORK]
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    found = {{"transformers", "huggingface_hub", "peft", "datasets"}} & set(sys.modules)
    assert not found, (name, found)
print("fine")
"""
    assert python(code) == "fine\n"


def test_only_downloads_and_uploads_are_online():
    for name in SCRIPTS:
        text = (ROOT / f"scripts/{name}.py").read_text()
        assert ("online=True" in text) == (name in ON_NETWORK), name
        assert "script.run(main, snakemake" in text or "launch.run(main, snakemake" in text


def test_code_of_repositories_is_trusted_nowhere():
    """Every `from_pretrained` says so itself, or transformers would ask."""
    found = 0
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if call and node.func.attr == "from_pretrained":
                assert "trust_remote_code" in {each.arg for each in node.keywords}, path
                found += 1
    assert found >= 2


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what a file's imported names stand for, as dotted paths."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found = {each.asname or each.name: each.name for each in node.names}
            names |= {name: f"{node.module}.{stands_for}" for name, stands_for in found.items()}
    return names


LOADS = {"torch.load", "torch.serialization.load"}
"""What reads a pickle, which may hold any code, as weights alone if it is told to."""
UNSAFE = {"pickle.load", "pickle.loads", "pickle.Unpickler", "torch.jit.load", "pandas.read_pickle"}


@pytest.mark.slow
def test_pickled_files_are_read_as_weights_alone():
    """By whatever name; and handed on it is nowhere, where nobody would see how it is called."""
    found = 0
    for path in (ROOT / "scripts").rglob("*.py"):
        tree = ast.parse(path.read_text())
        names = imported_names(tree)
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute | ast.Name):
                continue
            first, *rest = ast.unparse(node).split(".")
            stands_for = ".".join((names.get(first, first), *rest))
            assert stands_for not in UNSAFE, path
            if stands_for in LOADS:
                assert id(node) in calls, path
                given = {each.arg: ast.unparse(each.value) for each in calls[id(node)].keywords}
                assert given.get("weights_only") == "True", path
                found += 1
    assert found >= 4


LOAD = """
import json, sys
from types import SimpleNamespace
from fewshot.runtime import script

manifest, entry, log = sys.argv[1:]

def main(smk):
    import torch
    from huggingface_hub import HfApi
    from fewshot.models.load import load_model
    from fewshot.models.tokenizer import load_tokenizer

    load_tokenizer(manifest)
    model = load_model(manifest, json.loads(entry))
    print(model(torch.tensor([[2, 5, 6]])).logits.sum().item())
    try:
        HfApi().model_info("any/model", timeout=5)
    except Exception as error:
        print(type(error).__name__)

script.run(main, SimpleNamespace(log=[log], output=[]), online=ONLINE)
"""


@pytest.mark.weekly
@pytest.mark.parametrize("online", [False, True])
def test_loading_pickled_weights_asks_the_network_nothing(hub_server, tmp_path, online):
    """With the real transformers, beside a lookup that the Hub sees where it is let through."""
    folder = save_tiny(tmp_path / "model")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    manifest = write_manifest(tmp_path / "manifest.json", folder)
    entry = '{"dtype": "float32", "parameters": 23712, "window": 128}'
    code = LOAD.replace("ONLINE", str(online))
    printed = python(code, manifest, entry, str(tmp_path / "log"), HF_ENDPOINT=hub_server.url)
    *_, logits, answer = printed.splitlines()
    expected = tiny_model()(torch.tensor([[2, 5, 6]])).logits.sum().item()
    assert float(logits) == pytest.approx(expected, abs=1e-4)
    assert answer == ("RepositoryNotFoundError" if online else "OfflineModeIsEnabled")
    asked = [path for _, path, _ in hub_server.requests]
    assert ("/api/models/any/model" in asked) if online else asked == []
