"""The files of a model: which are needed, and whether all of them are there."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import UserError
from ..storage import frame_checksum, read_json, sha256


def model_folder(manifest_path: str | Path) -> Path:
    """Return the folder that a model's manifest names."""
    return Path(read_json(manifest_path, "path")["path"])


def whole_folder(manifest_path: str | Path) -> Path:
    """Return a model's folder, in which every file of its manifest is there with its size.

    Raises UserError for the first that is not (see `lost_file`): weights are links into the cache
    of huggingface_hub, from which they may have been freed. A stat for each file.
    """
    manifest = read_json(manifest_path, "model", "kind", "path", "files")
    lost = lost_file(manifest)
    if lost:
        remedy = "run `snakemake download` for this study, which fetches it"
        if manifest["kind"] == "local":
            remedy = "put it back, or start Snakemake again, which reads the folder anew"
        raise UserError(f"model '{manifest['model']}': {lost}; {remedy}")
    return Path(manifest["path"])


def lost_file(manifest: Mapping) -> str:
    """Return what is wrong with the first file of a manifest that is gone or has another size."""
    for name, entry in manifest["files"].items():
        path = Path(manifest["path"], name)
        size = size_of_file(path)
        if size is None:
            freed = path.is_symlink()
            return (
                f"{path} links to {os.readlink(path)}, which is gone"
                if freed
                else f"{path} is gone"
            )
        if size != entry["bytes"]:
            return f"{path} has {size} bytes instead of {entry['bytes']}"
    return ""


def files_checksum(files: Mapping) -> str:
    """Return the checksum of what a model's manifest says of its `files`: none without a model."""
    return frame_checksum([[json.dumps(files, sort_keys=True)]])


def verify_files(manifest_path: str | Path) -> None:
    """Compare a model's files with the checksums of its manifest, reading them whole.

    Raises UserError as `whole_folder` does, and for the first whose bytes are others, though their
    number is the same.
    """
    folder, manifest = whole_folder(manifest_path), read_json(manifest_path)
    remedy = "remove it and run `snakemake download`"
    if manifest["kind"] == "local":
        remedy = f"if that is meant, remove {manifest_path}: Snakemake then reads the folder anew"
    for name, entry in manifest["files"].items():
        path = folder / name
        if "sha256" in entry and sha256(path) != entry["sha256"]:
            raise UserError(
                f"model '{manifest['model']}': {path} is not the file that {manifest_path} names "
                f"(another sha256); {remedy}"
            )


def size_of_file(path: Path) -> int | None:
    """Return the bytes of a file, links followed, or None where there is none."""
    # Unlike Path.is_file, this raises nothing where a link leads to what may not be looked into.
    return path.stat().st_size if os.path.isfile(path) else None


TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
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
INDEX = ".index.json"


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


def weight_names(manifest: Mapping) -> list[str]:
    """Return the weights among the files of a model's manifest: all that is no fact about them."""
    facts = ("config.json", *TOKENIZER)
    return [name for name in manifest["files"] if name not in facts and not name.endswith(INDEX)]


def read_mapping(path: Path, where: str) -> dict:
    """Return the mapping in a JSON file of a model; raises UserError where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: '{path.name}' is not UTF-8 text ({error})") from None
    except PermissionError:
        raise UserError(f"{where}: '{path.name}' cannot be read (permission denied)") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: '{path.name}' is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: '{path.name}' must hold a mapping")
    return content
