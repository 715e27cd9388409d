"""What a model is made of, told from the few numbers of its configuration: no weights, no torch.

Snakemake plans memory while it builds its graph; `shapes.py` knows the model types.
"""

from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..validation import mistake, read_schema
from .files import read_mapping
from .shapes import SLIDING, TYPES, Architecture

SLIDING_KEYS = ("sliding_window", "layer_types")
"""Keys of a configuration that only types with sliding windows read."""

NOTHING = Architecture(
    parameters=0, largest_layer=0, layers=0, width=0, heads=0, query=0, key_value=0, feed_forward=0,
    inner_states=0, working_states=0, normed=0, norm_copies=0, vocabulary=0, readout=0, tied=True,
)  # fmt: skip
"""The architecture of no model."""


def entry_architecture(entry: Mapping) -> Architecture:
    """Return the architecture of a model's entry in config/models.yaml.

    Without parameters there is no model. A local model's configuration is that of its folder, if
    that is here. Where the type is unknown, a size is missing or the sizes do not make the entry's
    `parameters`, the shape is guessed from these.
    """
    if not entry["parameters"]:
        return NOTHING
    here = local_config(entry["local"], "model") if "local" in entry else {}
    config = here or entry.get("config", {})
    shape = architecture_of(config, entry["window"])
    return (
        shape if shape and shape.parameters == entry["parameters"] else guess(entry["parameters"])
    )


def local_config(folder: str | Path, where: str) -> dict:
    """Return the configuration in a local model's folder; empty where there is none.

    Raises UserError, beginning with `where`, for one that cannot be read, and for one of a known
    type whose sizes are none.
    """
    path = Path(folder, "config.json").expanduser()
    if not path.is_file():
        return {}
    config = read_mapping(path, f"{where}: folder {folder}")
    kind = config.get("model_type")
    if kind is not None and not isinstance(kind, str):
        raise UserError(f"{where}: {path}: model_type: must be text")
    if kind in TYPES:
        shape_keys(config, f"{where}: {path}")
    return config


def shape_keys(config: Mapping, where: str) -> dict:
    """Return the keys of a configuration that fix the shape of a known type.

    Those of sliding windows are left out for types whose layers are taken to have none: Qwen's
    configurations have a `sliding_window` that `use_sliding_window` switches off. Raises UserError,
    beginning with `where`, for one whose value is no size.
    """
    schema = read_schema("models")["additionalProperties"]["properties"]["config"]
    slides = config.get("model_type") in SLIDING
    keys = [key for key in schema["properties"] if slides or key not in SLIDING_KEYS]
    # Transformers writes null for what a type derives from the rest.
    known = {key: config[key] for key in keys if config.get(key) is not None}
    if wrong := mistake(known, schema, where):
        raise wrong
    return known


def architecture_of(config: Mapping, window: int) -> Architecture | None:
    """Return the architecture of a configuration, None where its type or a size is not known.

    `window` (tokens) stands in for `max_position_embeddings`.
    """
    kind = config.get("model_type")
    if kind not in TYPES or missing_keys(config):
        return None
    return TYPES[kind]({"max_position_embeddings": window, **config})


def missing_keys(config: Mapping) -> list[str]:
    """Return the keys that a configuration of a known type must have and does not."""
    kind = config.get("model_type")
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    inner = "ffn_dim" if kind == "opt" else "intermediate_size"
    return [key for key in (*sizes, inner) if key not in config] if kind in TYPES else []


def check_config(entry: Mapping, where: str) -> None:
    """Check the `config` of a model's entry against itself and the entry's `parameters`.

    Raises UserError, beginning with `where`, where a key is missing, or where the sizes make
    another number of parameters.
    """
    config = entry.get("config", {})
    for key in missing_keys(config):
        raise UserError(f"{where}: config: '{key}' is missing for type '{config['model_type']}'")
    if "parameters" not in entry or "window" not in {**config, **entry}:
        return
    shape = architecture_of(config, entry["window"])
    if shape and shape.parameters != entry["parameters"]:
        raise UserError(
            f"{where}: parameters is {entry['parameters']}, but a model of its config has "
            f"{shape.parameters}"
        )


def guess(parameters: int) -> Architecture:
    """Return a shape that takes more memory than known models of this many parameters.

    Models have 12 layers × width² parameters beside their embeddings. Activations and contexts grow
    with layers × width, so that few parameters per width are the worst case: the width is taken as
    16 times the layers (19 to 150 in known models). The largest layer is the embedding of 262,144
    words at the other extreme, a width of 128 times the layers.
    """
    layers = max(1, round((parameters / (12 * 16**2)) ** (1 / 3)))
    width = 16 * layers
    wide = 128 * round((parameters / (12 * 128**2)) ** (1 / 3))
    vocabulary = 262_144
    return Architecture(
        parameters=parameters,
        largest_layer=min(parameters, vocabulary * max(wide, 1)),
        layers=layers,
        width=width,
        heads=max(1, width // 64),
        query=width,
        key_value=width,
        feed_forward=4 * width,
        inner_states=4,
        working_states=3,
        normed=4 * width,
        norm_copies=2,
        vocabulary=vocabulary,
        readout=width,
        tied=False,
        exact=False,
    )
