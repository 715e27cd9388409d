"""Load a causal language model from its folder and check it against its entry."""

import pickle
import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from ..errors import UserError
from ..storage import read_json
from .files import whole_folder
from .language_part import read_config
from .parts import element_count, use_float32_head

UNREADABLE = (
    *(OSError, ValueError, EOFError, RuntimeError, TypeError, KeyError),
    *(SafetensorError, StrictDataclassError),
)
"""What the libraries raise for configurations and weights that are none."""


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
    names = sorted(read_json(manifest_path, "files")["files"])
    safe = any(name.endswith(".safetensors") for name in names)
    try:
        config, part = read_config(folder)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            key_mapping=part and part.names,
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
    others = part.others if part else ()
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = [str(key) for key in report[kind] if not str(key).startswith(others)]
        if wrong:
            examples = ", ".join(sorted(wrong)[:3])
            raise UserError(f"{folder}: weights do not match the architecture: {kind}: {examples}")
    _check_entry(model, entry, name or folder.name)
    use_float32_head(model)
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
    shape = {
        "window": getattr(model.config, "max_position_embeddings", None),
        "parameters": sum(map(element_count, model.parameters())),
    }
    for key, value in shape.items():
        if value is not None and value != entry[key]:
            raise UserError(f"models.yaml: {name}.{key} is {entry[key]}, but the model has {value}")


def check_shape(config, given: dict, name: str) -> None:
    """Check the keys of an entry's `config` against the model's configuration.

    Raises UserError naming the key and both values.
    """
    text = config.get_text_config()
    for key, value in given.items():
        stated = getattr(text, key, None)
        if stated != value:
            raise UserError(
                f"models.yaml: {name}.config.{key} is {value}, but the model has {stated}"
            )
