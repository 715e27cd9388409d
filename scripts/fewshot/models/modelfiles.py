"""Which files of a model's repository or folder are needed, and what they are."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import UserError

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
