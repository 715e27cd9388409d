"""Snapshots of models: configuration, tokenizer and one format of weights, nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path

from . import hub
from .errors import UserError
from .records import sha256

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
# One of these sets is enough to build a tokenizer.
VOCABULARIES = (
    {"tokenizer.json"},
    {"vocab.json", "merges.txt"},
    {"vocab.txt"},
    {"tokenizer.model"},
    {"spiece.model"},
    {"sentencepiece.bpe.model"},
)
# In order of preference: safetensors before pickled weights, and never both.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def fetch(entry: dict, folder: str | Path, name: str, endpoint: str | None = None) -> dict:
    """Download or find model `name` and return its manifest.

    `entry` is that of config/models.yaml, with hub and revision or local. The manifest has model,
    kind, revision, the path of the folder to load from, and sha256 and bytes per file. Each
    revision has a folder of its own, so that files of two revisions never mix. Raises UserError.
    """
    where = f"model '{name}'"
    if "local" in entry:
        kind, revision, path = "local", None, Path(entry["local"])
        files = _describe_local(path, where)
    else:
        repository = hub.open_repository(entry["hub"], "model", entry["revision"], where, endpoint)
        kind, revision, path = "hub", repository.commit, Path(folder, repository.commit)
        names = needed_files(repository.files, str(repository))
        files = hub.fetch_files(repository, names, path)
        shards = _shards(path, names, repository.files, str(repository))
        files |= hub.fetch_files(repository, shards, path)
        _check_json(path / "config.json", str(repository))
    return {"model": name, "kind": kind, "revision": revision, "path": str(path), "files": files}


def needed_files(available: Iterable[str], where: str) -> list[str]:
    """Return which of the available files a model needs (of sharded weights, the index).

    Raises UserError where configuration, tokenizer or weights are missing.
    """
    available = set(available)
    if "config.json" not in available:
        raise UserError(f"{where}: 'config.json' is missing")
    if not any(files <= available for files in VOCABULARIES):
        valid = "; ".join(" + ".join(sorted(files)) for files in VOCABULARIES)
        raise UserError(f"{where}: no tokenizer; valid: {valid}")
    weights = [name for name in WEIGHTS if name in available]
    if not weights:
        raise UserError(f"{where}: no weights; valid: {', '.join(WEIGHTS)}")
    tokenizer = [name for name in TOKENIZER if name in available]
    return ["config.json", *tokenizer, weights[0]]


def _shards(folder: Path, names: list[str], available: Iterable[str], where: str) -> list[str]:
    """Return the shards that the index among `names` lists, if there is one."""
    if not names[-1].endswith(".index.json"):
        return []
    index = _check_json(folder / names[-1], where)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{where}: '{names[-1]}' has no weight_map")
    shards = sorted(set(map(str, weight_map.values())))
    for shard in shards:
        if shard not in available:
            raise UserError(f"{where}: '{shard}', which '{names[-1]}' lists, is missing")
    return shards


def _describe_local(folder: Path, where: str) -> dict[str, dict]:
    where = f"{where}: folder {folder}"
    if not folder.is_dir():
        raise UserError(f"{where} does not exist")
    available = sorted(path.name for path in folder.iterdir() if path.is_file())
    names = needed_files(available, where)
    names += _shards(folder, names, available, where)
    _check_json(folder / "config.json", where)
    return {
        name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }


def _check_json(path: Path, where: str) -> dict:
    """Return the mapping in a JSON file; raises UserError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{where}: '{path.name}' is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: '{path.name}' must hold a mapping")
    return content
