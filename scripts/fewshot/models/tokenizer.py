"""Load the tokenizer of a model."""

from pathlib import Path

from ..errors import UserError
from .files import model_folder


def load_tokenizer(manifest_path: str | Path):
    """Load the tokenizer that lies beside a model, given the model's manifest.

    Raises UserError where the folder holds no tokenizer that transformers can read.
    """
    from transformers import AutoTokenizer

    folder = model_folder(manifest_path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: no tokenizer that can be loaded ({reason})") from None
    plain, whole = (tokenizer("a", add_special_tokens=each)["input_ids"] for each in (False, True))
    if whole[len(whole) - len(plain) :] != plain:
        raise UserError(
            f"{folder}: its tokenizer adds tokens behind a text, so that no label word could "
            "follow a prompt; set add_eos_token: false in its tokenizer_config.json"
        )
    return tokenizer
