"""Parameters and context window of a model: stated in models.yaml, or read from its files."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..models.architectures import architecture_of, local_config
from ..storage import read_json

SIZES = ("parameters", "window")


class SizeUnknown(UserError):
    """A size is not stated, and only the model's download tells it."""


def with_sizes(name: str, entry: Mapping, where: str, root: Path = Path()) -> dict:
    """Return a model's entry with the sizes that it does not state.

    A local model's are told by its config.json. Those of a model from the Hub, of one whose folder
    is elsewhere, and of types that `models.shapes` does not know are in the manifest of its
    download. A size that the entry states is compared with them, so that no job ends for it; a
    window that only the entry states counts where parameters are told by the shape. `results/`,
    with downloads, is in `root`. Raises UserError, beginning with `where`, for a size that is not
    known, or not as stated.
    """
    own_config = local_config(entry["local"], where) if "local" in entry else {}
    downloaded = (
        {} if architecture_of(own_config, 1) else _downloaded(root / "results/models" / name, entry)
    )
    config = own_config or entry.get("config") or downloaded.get("config") or {}
    parameters = downloaded.get("parameters")
    window = config.get("max_position_embeddings") or downloaded.get("window")
    for key, found in zip(SIZES, (parameters, window), strict=True):
        if key in entry and found not in (None, entry[key]):
            raise UserError(f"{where}: {key} is {entry[key]}, but the model has {found}")
    window = entry.get("window", window)
    shape = architecture_of(config, window) if window else None
    parameters = entry.get("parameters") or parameters or (shape.parameters if shape else None)
    sizes = {"parameters": parameters, "window": window}
    for key in SIZES:
        if not sizes[key] and downloaded:
            raise UserError(f"{where}: {key}: state it; its configuration does not")
        if not sizes[key]:
            raise SizeUnknown(
                f"{where}: {key} is not stated; `snakemake download` reads it from the model's "
                "configuration"
            )
    if own_config or not config or all(key in entry for key in SIZES):
        # An entry that states both is the same before and after its model is downloaded.
        return {**entry, **sizes}
    return {"config": config, **entry, **sizes}


def _downloaded(folder: Path, entry: Mapping) -> dict:
    """Return what the manifest of a model's download says of its sizes; empty: no such download."""
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    manifest = read_json(path)
    return manifest.get("sizes", {}) if manifest.get("hub") == entry.get("hub") else {}
