"""Snapshots of models: configuration, tokenizer and one format of weights, nothing else.

Facts and weights are two steps. What a model's files are, weights included, is known from the Hub's
metadata; configuration, tokenizer and the index of sharded weights are fetched with that, so that
contexts can be checked before hundreds of gigabytes are on their way.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from ..models.files import (
    INDEX,
    WEIGHTS,
    lost_file,
    needed_files,
    read_mapping,
    weight_names,
)
from ..runtime.locks import exclusive
from ..storage import read_json, sha256, write_json
from . import hub
from .disk import naming

LOG = logging.getLogger(__name__)


def fetch_model(entry: dict, folder: str | Path, name: str, endpoint: str | None = None) -> dict:
    """Download or find model `name`, but for its weights, and return its manifest.

    `entry` is that of config/models.yaml, with hub and revision or local. The manifest has model,
    kind, hub (the repository), revision, the path of the folder to load from, and sha256 and bytes
    of every file, weights included: it is the same whether or not these were fetched, and where
    to. Each revision has a folder of its own, so that files of two revisions never mix. Raises
    UserError.
    """
    where = f"model '{name}'"
    if "local" in entry:
        local = Path(entry["local"]).expanduser()
        files = _describe_local(local, where)
        return _manifest(name, "local", None, None, local, files)
    with naming(where), exclusive(Path(folder)):
        repository = hub.open_locked("models", name, entry, endpoint)
        path = Path(folder, repository.commit)
        names = needed_files(repository.files, str(repository))
        index = [name for name in names if name.endswith(INDEX)]
        small = [name for name in names if name not in WEIGHTS or name in index]
        files = hub.fetch_files(repository, small, path)
        read_mapping(path / "config.json", str(repository))
        weights = _shards(path, names, repository.files, str(repository)) if index else names[-1:]
        files |= _describe_remote(repository, weights, path)
    return _manifest(name, "hub", entry["hub"], repository.commit, path, files)


def fetch_weights(
    manifest_path: str | Path, marker: str | Path, endpoint: str | None = None
) -> dict:
    """Bring the weights of a model from the Hub to its folder; write `marker` and return it.

    They lie in the cache of huggingface_hub (see `hub`), and the folder links to them. A marker
    that is there already is believed if each file of the manifest has its size; otherwise all are
    compared with the manifest's checksums, and what is lost or damaged is downloaded. The marker
    has model, revision, and sha256 and bytes of the weights, the same on any machine. Raises
    UserError as `hub.fetch_files` does.
    """
    manifest = read_json(manifest_path, "model", "hub", "revision", "path", "files")
    where, folder = f"model '{manifest['model']}'", Path(manifest["path"])
    weights = weight_names(manifest)
    content = {
        **{key: manifest[key] for key in ("model", "revision")},
        "files": {name: manifest["files"][name] for name in weights},
    }
    with naming(where), exclusive(folder.parent):
        if Path(marker).is_file() and read_json(marker) == content and not lost_file(manifest):
            LOG.info("%s: all weights are there", where)
            return content
        files = {
            name: hub.RemoteFile(entry["bytes"], entry["sha256"], None)
            for name, entry in manifest["files"].items()
        }
        commit = manifest["revision"]
        repository = hub.Repository(manifest["hub"], "model", commit, files, endpoint, where)
        LOG.info("%s: looking which files are there and whole", where)
        hub.fetch_files(repository, [name for name in files if name not in weights], folder)
        hub.fetch_files(repository, weights, folder, link=True)
        write_json(marker, content)
    return content


def _manifest(
    name: str, kind: str, repo_id: str | None, revision: str | None, path: Path, files: dict
) -> dict:
    facts = {"model": name, "kind": kind, "hub": repo_id, "revision": revision, "path": str(path)}
    return {**facts, "files": files}


def _describe_remote(repository: hub.Repository, names: list[str], folder: Path) -> dict[str, dict]:
    """Return sha256 and bytes of weights as the Hub states them.

    Those that it does not keep as large files have no sha256 there: they are small, and fetched.
    """
    stated = {name: repository.files[name] for name in names}
    small = [name for name, remote in stated.items() if not remote.sha256 or remote.size is None]
    large = {
        name: {"sha256": remote.sha256, "bytes": remote.size}
        for name, remote in stated.items()
        if name not in small
    }
    return large | hub.fetch_files(repository, small, folder)


def _shards(folder: Path, names: list[str], available: Iterable[str], where: str) -> list[str]:
    """Return the shards that the index among `names` lists, if there is one."""
    if not names[-1].endswith(INDEX):
        return []
    index = read_mapping(folder / names[-1], where)
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
    read_mapping(folder / "config.json", where)
    return {
        name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size}
        for name in names
    }
