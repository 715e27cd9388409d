"""Model snapshots: only what is needed, facts before weights, one format, nothing missing."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from fewshot import storage
from fewshot.downloads import models
from fewshot.errors import UserError
from fewshot.models.files import whole_folder
from hub_server import Fault, Repo, git_blob
from huggingface_hub import constants

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


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """Keep what is downloaded under the test's own folder."""
    monkeypatch.chdir(tmp_path)


def serve(server, files, lfs=(".bin", ".safetensors")):
    weights = tuple(name for name in files if name.endswith(lfs))
    server.repos["models/facebook/opt-125m"] = Repo(COMMIT, files, lfs=weights)


def fetch(server, folder="results/models/opt-125m", entry=ENTRY):
    """Fetch facts, write the manifest and return it."""
    manifest = models.fetch_model(entry, folder, "opt-125m", endpoint=server.url)
    storage.write_json(Path(folder, "manifest.json"), manifest)
    return manifest


def fetch_weights(server, folder="results/models/opt-125m"):
    paths = (f"{folder}/manifest.json", f"{folder}/weights.json")
    return models.fetch_weights(*paths, endpoint=server.url)


def visible(folder):
    return sorted(path.name for path in Path(folder).iterdir() if path.name[0] != ".")


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
def test_facts_and_weights_are_two_steps(hub_server, weights, chosen):
    serve(hub_server, {**BASE, **weights})
    manifest = fetch(hub_server)
    folder = f"results/models/opt-125m/{COMMIT}"
    assert (manifest["kind"], manifest["hub"]) == ("hub", "facebook/opt-125m")
    assert (manifest["revision"], manifest["path"]) == (COMMIT, folder)
    assert sorted(manifest["files"]) == sorted([*TOKENIZER, *chosen])
    small = [name for name in manifest["files"] if not name.endswith((".bin", ".safetensors"))]
    assert visible(folder) == sorted(small), "no weights, and nothing else"
    assert not [name for name in chosen if name not in small and hub_server.gets(name)]

    marker = fetch_weights(hub_server)
    assert visible(folder) == sorted(manifest["files"])
    assert whole_folder("results/models/opt-125m/manifest.json") == Path(folder)
    for name, entry in manifest["files"].items():
        body = Path(folder, name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}
    assert marker == storage.read_json("results/models/opt-125m/weights.json")
    assert sorted(marker["files"]) == [name for name in sorted(chosen) if name not in small]
    for name, entry in marker["files"].items():
        assert entry == manifest["files"][name]
        assert Path(constants.HF_HUB_CACHE) in Path(folder, name).readlink().parents


def test_manifest_and_marker_do_not_tell_where_the_cache_is(hub_server, tmp_path, monkeypatch):
    serve(hub_server, {**BASE, **SHARDS})
    first = fetch(hub_server), fetch_weights(hub_server)
    shutil.rmtree("results")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "scratch"))
    assert (fetch(hub_server), fetch_weights(hub_server)) == first
    assert list(Path("scratch").rglob("model-1-of-2.safetensors"))


def test_weights_freed_from_the_cache_are_told_of_and_fetched_again(hub_server):
    serve(hub_server, {**BASE, **SHARDS})
    folder = Path(fetch(hub_server)["path"])
    fetch_weights(hub_server)
    shutil.rmtree(constants.HF_HUB_CACHE)
    name = "model-1-of-2.safetensors"
    said = f"^model 'opt-125m': {folder / name} links to .*/snapshots/.*, which is gone; run `snake"
    with pytest.raises(UserError, match=said):
        whole_folder("results/models/opt-125m/manifest.json")
    fetch_weights(hub_server)
    assert whole_folder("results/models/opt-125m/manifest.json") == folder
    assert (len(hub_server.gets(name)), len(hub_server.gets("config.json"))) == (2, 1)


def test_facts_that_are_gone_come_with_the_weights(hub_server):
    serve(hub_server, {**BASE, **SHARDS})
    folder = Path(fetch(hub_server)["path"])
    fetch_weights(hub_server)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"config.json is gone; run `snakemake download`"):
        whole_folder("results/models/opt-125m/manifest.json")
    fetch_weights(hub_server)
    assert whole_folder("results/models/opt-125m/manifest.json") == folder
    assert len(hub_server.gets("model-1-of-2.safetensors")) == 1, "they were in the cache"


def test_offline_weights_come_from_the_cache_or_end_in_one_line(hub_server, monkeypatch):
    serve(hub_server, {**BASE, **SHARDS})
    folder = Path(fetch(hub_server)["path"])
    fetch_weights(hub_server)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (folder / "model-1-of-2.safetensors").unlink()
    fetch_weights(hub_server)
    shutil.rmtree(constants.HF_HUB_CACHE)
    with pytest.raises(UserError, match=r"1-of-2.safetensors': HF_HUB_OFFLINE forbids downloads$"):
        fetch_weights(hub_server)


def test_small_weights_without_a_stated_sha256_have_one_in_the_manifest(hub_server):
    serve(hub_server, {**BASE, "model.safetensors": b"safe"}, lfs=("none",))
    manifest = fetch(hub_server)
    assert manifest["files"]["model.safetensors"] == {
        "sha256": hashlib.sha256(b"safe").hexdigest(),
        "bytes": 4,
    }
    fetch_weights(hub_server)
    assert len(hub_server.gets("model.safetensors")) == 1
    # printf '{}' | git hash-object --stdin: the stand-in tells the checksums of git.
    assert git_blob(b"{}") == "9e26dfeeb6e641a33dae4961196235bdb965b21b"


def test_a_second_fetch_downloads_nothing(hub_server):
    serve(hub_server, {**BASE, **SHARDS})
    first = fetch(hub_server), fetch_weights(hub_server)
    hub_server.requests.clear()
    assert (fetch(hub_server), fetch_weights(hub_server)) == first
    Path("results/models/opt-125m/weights.json").unlink()
    assert fetch_weights(hub_server) == first[1]
    assert not [path for _, path, _ in hub_server.requests if "/resolve/" in path]


def test_two_revisions_do_not_mix(hub_server):
    serve(hub_server, {**BASE, "model.safetensors": b"safe"})
    first = fetch(hub_server)
    fetch_weights(hub_server)
    other = "a" * 40
    hub_server.repos["models/facebook/opt-125m"] = Repo(other, {**BASE, "pytorch_model.bin": b"x"})
    second = fetch(hub_server, entry={**ENTRY, "revision": other})
    assert first["path"] != second["path"]
    assert "model.safetensors" not in second["files"]
    assert fetch_weights(hub_server)["revision"] == other, "the marker was of the first"


def test_the_last_shard_fails_and_what_arrived_stays(hub_server):
    serve(hub_server, {**BASE, **SHARDS})
    fetch(hub_server)
    hub_server.faults = [Fault("model-2-of-2.safetensors", times=99, status=503)]
    with pytest.raises(UserError, match=r"file 'model-2-of-2.safetensors': HTTP 503 \(6 attempts"):
        fetch_weights(hub_server)
    assert not Path("results/models/opt-125m/weights.json").exists()
    hub_server.faults = []
    fetch_weights(hub_server)
    assert len(hub_server.gets("model-1-of-2.safetensors")) == 1


def test_a_lost_shard_alone_is_fetched_again(hub_server):
    serve(hub_server, {**BASE, **SHARDS})
    folder = Path(fetch(hub_server)["path"])
    marker = fetch_weights(hub_server)
    (folder / "model-1-of-2.safetensors").write_bytes(b"fi")
    assert fetch_weights(hub_server) == marker
    gets = [len(hub_server.gets(f"model-{i}-of-2.safetensors")) for i in (1, 2)]
    assert gets == [2, 1] and (folder / "model-1-of-2.safetensors").read_bytes() == b"first"


def test_weights_of_another_content_than_the_manifests_are_refused(hub_server):
    serve(hub_server, {**BASE, "model.safetensors": b"safe"})
    fetch(hub_server)
    serve(hub_server, {**BASE, "model.safetensors": b"evil"})
    with pytest.raises(UserError, match="arrived damaged twice"):
        fetch_weights(hub_server)


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
    manifest = fetch(hub_server, entry={"local": str(folder)})
    assert manifest["path"] == str(folder) and manifest["revision"] is None
    assert sorted(manifest["files"]) == sorted([*TOKENIZER, *SHARDS])
    assert visible("results/models/opt-125m") == ["manifest.json"]
    with pytest.raises(UserError, match=r"folder .*nowhere does not exist"):
        fetch(hub_server, tmp_path, {"local": str(tmp_path / "nowhere")})
