"""What a model's configuration and tokenizer say, compared before a job needs its weights."""

import json
from pathlib import Path

import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from ..errors import UserError
from .tokenizer import load_tokenizer


def check_model(manifest_path: str | Path, folder: str | Path, name: str) -> None:
    """Check that what lies in a model's folder, its weights aside, can be used here.

    Raises UserError for quantised weights, for a model type that transformers does not know as a
    causal language model, for a tokenizer that cannot be loaded, and for one with more tokens than
    the model has embeddings.
    """
    where = f"model '{name}'"
    config = json.loads(Path(folder, "config.json").read_text("utf-8"))
    text = config.get("text_config") or config
    check_config(config, where)
    size, tokens = text.get("vocab_size"), load_tokenizer(manifest_path).get_vocab()
    if isinstance(size, int) and max(tokens.values()) >= size:
        raise UserError(
            f"{where}: its tokenizer has token {max(tokens.values())}, but the model only {size} "
            "embeddings: tokenizer and weights do not belong together"
        )


def check_config(config: dict, where: str) -> None:
    """Raise UserError for a config.json of a model that cannot be used here."""
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "an unknown method")
        raise UserError(
            f"{where}: its weights are quantised ({method}), of which parameters, memory and "
            "training would be wrong; valid: the same model in float32, bfloat16 or float16"
        )
    kind = config.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        own = "; code that comes with a model is never run" if "auto_map" in config else ""
        raise UserError(
            f"{where}: model_type {kind!r} is no causal language model of transformers "
            f"{transformers.__version__}{own}"
        )
