"""The folder that a model is loaded from, and whether all of its files are there."""

import os
from pathlib import Path

from ..errors import UserError
from ..records import read_json

SUFFIXES = (".safetensors", ".bin")
"""What the names of weights end in, which can be fetched by themselves."""


def model_folder(manifest_path: str | Path) -> Path:
    """Return the folder that a model's manifest names."""
    return Path(read_json(manifest_path)["path"])


def whole_folder(manifest_path: str | Path) -> Path:
    """Return a model's folder, in which every file of its manifest is there with its size.

    Raises UserError for the first that is not: weights may have been freed, or removed by a file
    system that clears what was not read for a while, since Snakemake looked. A stat for each file.
    """
    manifest = read_json(manifest_path)
    folder = Path(manifest["path"])
    for name, entry in manifest["files"].items():
        found = size_of_file(folder / name)
        if found == entry["bytes"]:
            continue
        what = "is gone" if found is None else f"has {found} bytes instead of {entry['bytes']}"
        remedy = "start Snakemake again, which fetches it"
        if manifest["kind"] == "local":
            remedy = "put it back, or start Snakemake again, which reads the folder anew"
        elif not name.endswith(SUFFIXES):
            remedy = f"remove {manifest_path} and start Snakemake again, which fetches both"
        raise UserError(f"model '{manifest['model']}': {folder / name} {what}; {remedy}")
    return folder


def size_of_file(path: Path) -> int | None:
    """Return the bytes of a file, links followed, or None where there is none."""
    # Unlike Path.is_file, this raises nothing where a link leads to what may not be looked into.
    return path.stat().st_size if os.path.isfile(path) else None
