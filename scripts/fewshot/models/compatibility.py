"""What a model's configuration and tokenizer say, compared before a job needs its weights."""

from pathlib import Path

import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..errors import UserError
from .architectures import architecture_of, missing_keys, shape_keys
from .files import read_mapping
from .language_part import read_config
from .shapes import TYPES
from .tokenizer import load_tokenizer

QUANTISED = ("quantization_config", "compression_config")
"""Keys of config.json under which quantised weights say so."""


def check_model(manifest_path: str | Path, folder: str | Path, name: str) -> None:
    """Check that what lies in a model's folder, its weights aside, can be used here.

    Raises UserError for quantised weights, for a model type that transformers does not know as a
    causal language model, for a tokenizer that cannot be loaded, and for one with more tokens than
    the model has embeddings.
    """
    where = f"model '{name}'"
    config = read_mapping(Path(folder, "config.json"), where)
    check_config(config, where)
    size, tokenizer = _text_config(config).get("vocab_size"), load_tokenizer(manifest_path)
    # Added tokens, for images say, may lie beyond: no text has them but what stands around it.
    added = tokenizer.get_added_vocab()
    tokens = [number for token, number in tokenizer.get_vocab().items() if token not in added]
    largest = max([*tokens, *tokenizer("a")["input_ids"]])
    if isinstance(size, int) and largest >= size:
        raise UserError(
            f"{where}: its tokenizer has token {largest}, but the model only {size} embeddings: "
            "tokenizer and weights do not belong together"
        )


def read_sizes(folder: str | Path, where: str) -> dict:
    """Return parameters, window (None: not stated) and config of the model in a folder.

    `config` has the keys of its config.json that fix its shape, where `models.shapes` knows its
    type; of other types transformers counts the parameters. Raises UserError.
    """
    config = read_mapping(Path(folder, "config.json"), where)
    if config.get("model_type") in TYPES and not missing_keys(config):
        known = shape_keys(config, where)
        window = known.get("max_position_embeddings")
        if window:
            parameters = architecture_of(known, window).parameters
            return {"parameters": parameters, "window": window, "config": known}
    try:
        language, _ = read_config(folder)
        parameters, _ = parameter_counts(language)
    except Exception as error:  # the library raises whatever a configuration leads to
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{where}: no model can be made of its config.json ({reason})") from None
    text = language.get_text_config()
    known = shape_keys(text.to_dict(), where) if language.model_type in TYPES else None
    window = getattr(text, "max_position_embeddings", None)
    return {"parameters": parameters, "window": window, "config": known}


def parameter_counts(config: PretrainedConfig) -> tuple[int, int]:
    """Return the parameters of a configuration's model and those of its largest module.

    As DeepSpeed counts: shared parameters once, and a module's own parameters only.
    """
    import torch

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    largest = max(sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules())
    return sum(p.numel() for p in model.parameters()), largest


def _text_config(config: dict) -> dict:
    """Return the part of a configuration that is about text."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def check_config(config: dict, where: str) -> None:
    """Raise UserError for a config.json of a model that cannot be used here."""
    parts = (config, _text_config(config))
    quantised = [part[key] for part in parts for key in QUANTISED if part.get(key)]
    if quantised:
        named = quantised[0] if isinstance(quantised[0], dict) else {}
        method = named.get("quant_method", "an unknown method")
        raise UserError(
            f"{where}: its weights are quantised ({method}), of which parameters, memory and "
            "training would be wrong; valid: the same model in float32, bfloat16 or float16"
        )
    kind = config.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        hint = "; code that comes with a model is never run" if "auto_map" in config else ""
        raise UserError(
            f"{where}: model_type {kind!r} is no causal language model of transformers "
            f"{transformers.__version__}{hint}"
        )
