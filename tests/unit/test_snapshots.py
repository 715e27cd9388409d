"""Model snapshots: only what is needed, one format of weights, nothing missing."""

import hashlib
import json
from pathlib import Path

import pytest
from fewshot import snapshots
from fewshot.errors import UserError
from hub_server import Repo, git_blob

COMMIT = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
BASE = {
    "config.json": b'{"model_type": "opt"}',
    "vocab.json": b"{}",
    "merges.txt": b"#version",
    "tokenizer_config.json": b"{}",
    "README.md": b"unused",
    "flax_model.msgpack": b"unused",
    "generation_config.json": b"{}",
}
TOKENIZER = ["config.json", "merges.txt", "tokenizer_config.json", "vocab.json"]
INDEX = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
SHARDS = {
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "model-1-of-2.safetensors": b"first",
    "model-2-of-2.safetensors": b"second",
}
ENTRY = {"hub": "facebook/opt-125m", "revision": COMMIT}


def serve(server, files):
    weights = tuple(name for name in files if name.endswith((".bin", ".safetensors")))
    server.repos["models/facebook/opt-125m"] = Repo(COMMIT, files, lfs=weights)


def fetch(server, folder, entry=ENTRY):
    return snapshots.fetch(entry, folder, "opt-125m", endpoint=server.url)


def local_model(folder, files):
    folder.mkdir(exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return folder


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ({"pytorch_model.bin": b"pickle"}, ["pytorch_model.bin"]),
        (
            {"pytorch_model.bin": b"pickle", "model.safetensors": b"safe"},
            ["model.safetensors"],
        ),
        ({"pytorch_model.bin": b"pickle", **SHARDS}, sorted(SHARDS)),
        (
            {
                "pytorch_model.bin.index.json": b'{"weight_map": {"a": "part-1.bin"}}',
                "part-1.bin": b"x",
                "part-2.bin": b"not in the index",
            },
            ["part-1.bin", "pytorch_model.bin.index.json"],
        ),
    ],
)
def test_only_the_needed_files_of_one_format_are_fetched(hub_server, tmp_path, weights, chosen):
    serve(hub_server, {**BASE, **weights})
    manifest = fetch(hub_server, tmp_path)
    folder = tmp_path / COMMIT
    assert (manifest["kind"], manifest["revision"]) == ("hub", COMMIT)
    assert manifest["path"] == str(folder)
    assert sorted(manifest["files"]) == sorted([*TOKENIZER, *chosen])
    assert sorted(path.name for path in folder.iterdir()) == sorted(manifest["files"])
    for name, entry in manifest["files"].items():
        body = (folder / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}


def test_a_second_fetch_downloads_nothing(hub_server, tmp_path):
    serve(hub_server, {**BASE, **SHARDS})
    first = fetch(hub_server, tmp_path)
    hub_server.requests.clear()
    assert fetch(hub_server, tmp_path) == first
    assert not [path for _, path, _ in hub_server.requests if "/resolve/" in path]


def test_two_revisions_do_not_mix(hub_server, tmp_path):
    serve(hub_server, {**BASE, "model.safetensors": b"safe"})
    first = fetch(hub_server, tmp_path)
    other = "a" * 40
    hub_server.repos["models/facebook/opt-125m"] = Repo(other, {**BASE, "pytorch_model.bin": b"x"})
    second = fetch(hub_server, tmp_path, {**ENTRY, "revision": other})
    assert first["path"] != second["path"]
    assert "model.safetensors" not in second["files"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocab.json": b"{}", "merges.txt": b"x", "model.safetensors": b"x"}, "'config.json' is"),
        ({"config.json": b"{}", "vocab.json": b"{}", "model.safetensors": b"x"}, "no tokenizer; v"),
        (BASE, "no weights; valid: model.safetensors, model.safetensors.index.json, pytorch_mode"),
        (
            {**BASE, "model.safetensors.index.json": SHARDS["model.safetensors.index.json"]},
            "'model-1-of-2.safetensors', which 'model.safetensors.index.json' lists, is missing",
        ),
        ({**BASE, "model.safetensors.index.json": b"{}"}, "index.json' has no weight_map"),
        ({**BASE, "model.safetensors.index.json": b"[1"}, "index.json' is not JSON"),
        ({**BASE, "config.json": b"[]", "model.safetensors": b"x"}, "'config.json' must hold a m"),
    ],
)
@pytest.mark.parametrize("kind", ["hub", "local"])
def test_what_is_missing_or_broken_is_named(hub_server, tmp_path, kind, files, message):
    if kind == "hub":
        serve(hub_server, files)
        entry = ENTRY
    else:
        entry = {"local": str(local_model(tmp_path / "mine", files))}
    with pytest.raises(UserError, match=message) as error:
        fetch(hub_server, tmp_path / "results", entry)
    assert str(error.value).startswith("model 'opt-125m': ")


def test_a_local_model_is_referenced_and_not_copied(hub_server, tmp_path):
    folder = local_model(tmp_path / "mine", {**BASE, **SHARDS})
    manifest = fetch(hub_server, tmp_path / "results", {"local": str(folder)})
    assert manifest["path"] == str(folder) and manifest["revision"] is None
    assert sorted(manifest["files"]) == sorted([*TOKENIZER, *SHARDS])
    assert not (tmp_path / "results").exists()
    with pytest.raises(UserError, match=r"folder .*nowhere does not exist"):
        fetch(hub_server, tmp_path, {"local": str(tmp_path / "nowhere")})


def test_the_stand_in_answers_the_clients_own_download(hub_server, tmp_path):
    """The stand-in is only worth something while huggingface_hub itself is content with it."""
    from huggingface_hub import hf_hub_download

    serve(hub_server, dict(BASE))
    path = hf_hub_download(
        "facebook/opt-125m",
        "vocab.json",
        revision=COMMIT,
        endpoint=hub_server.url,
        local_dir=tmp_path,
        token=False,
    )
    assert Path(path).read_bytes() == b"{}"
    # printf '{}' | git hash-object --stdin
    assert git_blob(b"{}") == "9e26dfeeb6e641a33dae4961196235bdb965b21b"
