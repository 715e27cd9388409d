"""Models that also read images: the language model is what is used of them."""

from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig


@dataclass(frozen=True)
class LanguagePart:
    """The names of its weights in the files, as {pattern: own name}, and the beginnings of those
    of other parts, which are left where they are."""

    names: dict[str, str]
    others: tuple[str, ...]


LANGUAGE_PARTS = {
    "gemma3": LanguagePart(
        {r"^language_model\.model\.": "model."}, ("vision_tower.", "multi_modal_projector.")
    ),
}
"""model_type → its language model, which transformers has as a model of its own."""


def read_config(folder: str | Path) -> tuple[PretrainedConfig, LanguagePart | None]:
    """Return the configuration of the language model in a folder, and whose part it is, if so.

    Raises whatever transformers does for a configuration that is none.
    """
    whole = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    part = LANGUAGE_PARTS.get(whole.model_type)
    return (whole.get_text_config() if part else whole), part
