"""Load the tokenizer of a model: what its tokenizer.json says, where it has one."""

import logging
from collections.abc import Iterable
from pathlib import Path

from ..errors import UserError
from .files import model_folder, read_mapping

LOG = logging.getLogger(__name__)

FILE = "tokenizer.json"
CONFIG = "tokenizer_config.json"
COMPONENTS = ("normalizer", "pre_tokenizer", "model")
"""What decides the tokens of a text, special tokens aside."""
PROBES = (
    "Yes\n\nNo\n",
    " Yes  no\t maybe",
    "In 2023 there were 1,234.5 of them, 007",
    "DON'T they're we've  (x) [y] {z} <w> #1 @b_c-d/e",
    "Ünïcode façade Ⅳ ﬁ ½ № 東京 Привет 🙂",
)
"""Texts of which tokenizers are known to disagree: line breaks, blanks, digits, case, Unicode."""


def load_tokenizer(manifest_path: str | Path, texts: Iterable[str] = ()):
    """Load the tokenizer that lies beside a model, given the model's manifest.

    `texts` are those of the study of which the tokens must be those of tokenizer.json, besides
    `PROBES`.

    transformers builds some classes' normalizers and pre-tokenizers anew and gives other tokens
    than the model was trained on; where a tokenizer.json lies there, its parts are put in place,
    and a warning says so where they tokenize otherwise. The special tokens around a text are those
    that transformers takes from tokenizer_config.json where that has add_bos_token or
    add_eos_token, else the file's.

    Raises UserError where the folder holds no tokenizer that transformers can read, and for one
    that still gives other tokens than its file.
    """
    from transformers import AutoTokenizer

    folder = model_folder(manifest_path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the libraries raise whatever a broken file leads to
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{folder}: no tokenizer that can be loaded ({reason})") from None
    if (folder / FILE).is_file():
        _obey_file(tokenizer, folder, texts)
    plain, whole = (
        tokenizer("a", add_special_tokens=added)["input_ids"] for added in (False, True)
    )
    if whole[len(whole) - len(plain) :] != plain:
        raise UserError(
            f"{folder}: its tokenizer adds tokens behind a text, so that no label word could "
            "follow a prompt; set add_eos_token: false in its tokenizer_config.json"
        )
    return tokenizer


def _obey_file(tokenizer, folder: Path, texts: Iterable[str]) -> None:
    """Give the tokenizer the parts of the folder's tokenizer.json, and say where that matters."""
    from_file = _read_file(folder)
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise UserError(
            f"{folder}: {type(tokenizer).__name__} does not read its {FILE}; valid: a "
            f"tokenizer_class in {CONFIG} that does (PreTrainedTokenizerFast)"
        )
    backend = tokenizer.backend_tokenizer
    before = [tokenizer(text)["input_ids"] for text in PROBES]
    for name in COMPONENTS:
        setattr(backend, name, getattr(from_file, name))
    config = read_mapping(folder / CONFIG, str(folder)) if (folder / CONFIG).is_file() else {}
    if not {"add_bos_token", "add_eos_token"} & set(config):
        backend.post_processor = from_file.post_processor
    for text, ids in zip(PROBES, before, strict=True):
        if tokenizer(text)["input_ids"] != ids:
            LOG.warning(
                "%s: transformers' %s does not tokenize as its %s says (%r, for one); the file's "
                "tokens are used", folder, type(tokenizer).__name__, FILE, text,
            )  # fmt: skip
            break
    _compare(tokenizer, from_file, [*PROBES, *texts], folder)


def _read_file(folder: Path):
    from tokenizers import Tokenizer

    try:
        from_file = Tokenizer.from_file(str(folder / FILE))
    except Exception as error:  # the library raises nothing more exact
        raise UserError(f"{folder / FILE}: cannot be read ({str(error).splitlines()[0]})") from None
    from_file.no_truncation()
    from_file.no_padding()
    return from_file


def _compare(tokenizer, from_file, texts: list[str], folder: Path) -> None:
    """Raise UserError for the first text of which the tokens are not those of tokenizer.json."""
    expected = from_file.encode_batch(texts, add_special_tokens=False)
    for text, encoding in zip(texts, expected, strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if ids != encoding.ids:
            raise UserError(
                f"{folder}: transformers' {type(tokenizer).__name__} gives {text!r} the tokens "
                f"{ids[:8]}, {FILE} says {encoding.ids[:8]}; valid: a tokenizer_class in {CONFIG} "
                "that reads the file (PreTrainedTokenizerFast)"
            )
