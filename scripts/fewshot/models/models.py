"""Load a model from its folder, check it against its entry, and name its two parts.

The backbone turns tokens into hidden states, the readout turns one hidden state into logits over
the vocabulary. Scoring needs the readout at one position per row only.
"""

import pickle
import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..prompts.tokens import load_tokenizer
from ..records import read_json
from .folders import whole_folder

UNREADABLE = (
    *(OSError, ValueError, EOFError, RuntimeError, TypeError, KeyError),
    *(SafetensorError, StrictDataclassError),
)
"""What the libraries raise for configurations and weights that are none."""

__all__ = [
    "backbone",
    "check_shape",
    "learned_cache",
    "learned_prefix",
    "load_model",
    "load_tokenizer",
    "pick_device",
    "readout",
    "size_of",
    "tokens_ahead",
    "unwrap",
    "virtual_ids",
]


def pick_device() -> torch.device:
    """Return this process's GPU, as chosen when the processes met, or else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def load_model(manifest_path: str | Path, entry: dict, name: str = "") -> nn.Module:
    """Load a causal language model on the CPU, in evaluation mode and the entry's dtype.

    `entry` is the model's entry in config/models.yaml (dtype, parameters, window and, where it is
    given, config). Raises UserError where a file of the manifest is gone, where pickled weights
    name code, and where the folder is not what the entry says: weights missing or left over,
    another window, another number of parameters, another shape.
    """
    transformers_logging.disable_progress_bar()
    folder = whole_folder(manifest_path)
    # Files that the manifest does not name may lie there, of which nobody knows the content.
    names = sorted(read_json(manifest_path)["files"])
    safe = any(name.endswith(".safetensors") for name in names)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, entry["dtype"]),
            local_files_only=True,
            use_safetensors=safe,
            weights_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # to name them below
            output_loading_info=True,
        )
    except pickle.UnpicklingError as error:
        raise _refusal([folder / name for name in names], folder, error) from None
    except torch.OutOfMemoryError:
        raise
    except UNREADABLE as error:
        text = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:2]])
        raise UserError(f"{folder}: cannot be loaded ({text})") from None
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            found = ", ".join(map(str, sorted(report[kind])[:3]))
            raise UserError(f"{folder}: weights do not match the architecture: {kind}: {found}")
    _check_entry(model, entry, name or folder.name)
    return model.eval()


def _refusal(paths: list[Path], folder: Path, error: pickle.UnpicklingError) -> UserError:
    """Return the error for pickled weights that PyTorch did not read, naming the file.

    PyTorch itself advises to read them without `weights_only`, which would run their author's code.
    """
    for path in (path for path in paths if path.suffix == ".bin"):
        try:
            torch.load(path, map_location="meta", weights_only=True)
        except pickle.UnpicklingError as found:
            folder, error = path, found
            break
        except UNREADABLE:
            continue
    named = re.search(r"GLOBAL (\S+)", str(error))
    what = f"it names {named[1]}, which is no part of weights" if named else "no pickle of weights"
    return UserError(f"{folder}: refused: {what}; take a revision that has safetensors")


def _check_entry(model: nn.Module, entry: dict, name: str) -> None:
    check_shape(model.config, entry.get("config", {}), name)
    found = {
        "window": getattr(model.config, "max_position_embeddings", None),
        "parameters": sum(map(size_of, model.parameters())),
    }
    for key, value in found.items():
        if value is not None and value != entry[key]:
            raise UserError(f"models.yaml: {name}.{key} is {entry[key]}, but the model has {value}")


def check_shape(config, given: dict, name: str) -> None:
    """Check the keys of an entry's `config` against the model's configuration.

    Raises UserError naming the key and both values.
    """
    text = config.get_text_config()
    for key, value in given.items():
        found = getattr(text, key, None)
        if found != value:
            raise UserError(
                f"models.yaml: {name}.config.{key} is {value}, but the model has {found}"
            )


def size_of(parameter: nn.Parameter) -> int:
    """Return the elements of a parameter, of which this process may hold a shard only."""
    return getattr(parameter, "ds_numel", parameter.numel())


def unwrap(model: nn.Module) -> nn.Module:
    """Return the transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone(model: nn.Module) -> nn.Module:
    """Return the transformer without its language-model head.

    Its output's `last_hidden_state` [rows, tokens, width] is what `readout` takes.
    """
    inner = unwrap(model)
    # Some architectures name a base that is not there; their decoder is what is meant.
    return inner.get_decoder() if inner.base_model is inner else inner.base_model


def virtual_ids(model: nn.Module) -> tuple[int, ...]:
    """Return the ids, beyond the vocabulary, of the learned embeddings in front of every prompt."""
    return getattr(unwrap(model).get_input_embeddings(), "virtual_ids", ())


def learned_prefix(model: nn.Module) -> nn.Module | None:
    """Return the learned keys and values that every prompt stands behind, where there are any.

    Called without arguments, the module returns (keys, values) [1, heads, tokens, width] of every
    layer; its attribute `tokens` says how many positions they take.
    """
    return getattr(unwrap(model), "learned_prefix", None)


def tokens_ahead(model: nn.Module) -> int:
    """Return the positions that a learned prefix takes in front of every prompt's tokens."""
    prefix = learned_prefix(model)
    return 0 if prefix is None else prefix.tokens


def learned_cache(model: nn.Module, rows: int) -> dict[str, DynamicCache]:
    """Return what a forward pass of `rows` rows is given besides: the learned prefix as a cache.

    Nothing where there is none. The positions of the rows' own tokens follow from the cache.
    """
    prefix = learned_prefix(model)
    if prefix is None:
        return {}
    cache = DynamicCache(config=unwrap(model).config)
    for layer, tensors in enumerate(prefix()):
        cache.update(*(each.expand(rows, -1, -1, -1) for each in tensors), layer)
    return {"past_key_values": cache}


def readout(model: nn.Module) -> nn.Module:
    """Return the module from hidden states [n, width] to logits [n, vocabulary]."""
    model = unwrap(model)
    head, config = model.get_output_embeddings(), model.config
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    cap = getattr(config, "final_logit_softcapping", None)
    return head if scale == 1.0 and cap is None else _Readout(head, scale, cap)


class _Readout(nn.Module):
    """A head with scaled (Cohere, Granite) or soft-capped (Gemma) logits."""

    def __init__(self, head: nn.Module, scale: float, cap: float | None):
        super().__init__()
        self.head, self.scale, self.cap = head, scale, cap

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = self.head(hidden) * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap
