"""From prompts to token ids, with the tokens that all prompts share kept once.

The token sequence of the whole prompt is the truth. Tokenizing context and query apart is not the
same: the GPT-2 family splits "\\n\\n" before a word into two newlines, but reads it as one token at
the end of a text. So whole prompts are tokenized, and what they share is found in the tokens.
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .errors import UserError
from .patterns import Pattern

CHUNK = 1024
"""Whole prompts tokenized at once, which bounds memory."""
TAILS = 16
"""Tails kept tokenized; more than that are not label words and will not come again."""
SAMPLE = 8
"""Rows on which a cut through the context is compared with whole prompts."""
_CUT = re.compile(r"(?<=[!-~])\s(?=\s*[!-~])")


@dataclass(frozen=True)
class Prompts:
    """Tokenized prompts: the tokens of row i are `prefix + suffixes[i]`.

    `ids` names the rows; `prefix` is the longest start that all rows share and that leaves each
    at least one token of its own.
    """

    ids: tuple[object, ...]
    prefix: tuple[int, ...]
    suffixes: list[tuple[int, ...]]

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each whole prompt."""
        return [len(self.prefix) + len(suffix) for suffix in self.suffixes]


class Queries:
    """The queries of one evaluation set and pattern, to be put behind several contexts.

    A context is cut before its last word (a demonstration ends in a label word), so that only the
    few different tails are tokenized together with all queries; see `_cut`.
    """

    def __init__(self, tokenizer, texts: Sequence[str], ids: Sequence[object] | None = None):
        if not texts:
            raise ValueError("no queries to tokenize")
        self.tokenizer = tokenizer
        self.texts = list(texts)
        self.ids = tuple(range(len(self.texts)) if ids is None else ids)
        self._tails: dict[str, list[tuple[int, ...]]] = {}

    def prompts(self, context: str) -> Prompts:
        """Return the prompts `context + query` of all rows, exactly as tokenized whole."""
        if not context:
            return _share(self.ids, (), self._bare)
        cut = self._cut(context)
        if cut is None:
            return _share(self.ids, (), self._whole(context, self.texts))
        left, tail = context[:cut], context[cut:]
        if tail not in self._tails:
            if len(self._tails) == TAILS:
                self._tails.clear()
            texts = [tail + text for text in self.texts]
            self._tails[tail] = _encode(self.tokenizer, texts, special=False)
        start = _encode(self.tokenizer, [left])[0]
        sample = sorted({i * (len(self.texts) - 1) // SAMPLE for i in range(SAMPLE + 1)})
        whole = self._whole(context, [self.texts[i] for i in sample])
        if any(start + self._tails[tail][i] != w for i, w in zip(sample, whole, strict=True)):
            return _share(self.ids, (), self._whole(context, self.texts))
        return _share(self.ids, start, self._tails[tail])

    @cached_property
    def _bare(self) -> list[tuple[int, ...]]:
        return self._whole("", self.texts)

    def _cut(self, context: str) -> int | None:
        """Return where the context can be cut without changing any token, or None.

        Tokenizers with a pre-tokenizer treat each of its pieces apart. It works from left to right
        and looks ahead by one character at most, so a piece that ends between a printable and a
        blank character ends there whatever follows the next word. Whether it does so is asked of
        the pre-tokenizer; other tokenizers get whole prompts.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        cuts = [match.start() for match in _CUT.finditer(context)]
        if backend is None or backend.pre_tokenizer is None or not cuts:
            return None
        cut = cuts[-1]
        near = max(0, cut - 100)
        pieces = backend.pre_tokenizer.pre_tokenize_str(context[near:])
        return cut if any(start == cut - near for _, (start, _) in pieces) else None

    def _whole(self, context: str, texts: list[str]) -> list[tuple[int, ...]]:
        encoded = []
        for i in range(0, len(texts), CHUNK):
            encoded += _encode(self.tokenizer, [context + text for text in texts[i : i + CHUNK]])
        return encoded


def load_tokenizer(manifest_path: str | Path):
    """Load the tokenizer that lies beside a model, given the model's manifest.

    Raises UserError where the folder holds no tokenizer that transformers can read.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    folder = model_folder(manifest_path)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: no tokenizer that can be loaded ({reason})") from None


def model_folder(manifest_path: str | Path) -> Path:
    """Return the folder that a model's manifest names."""
    return Path(json.loads(Path(manifest_path).read_text())["path"])


def encode_prompts(
    tokenizer, context: str, queries: Sequence[str], ids: Sequence[object] | None = None
) -> Prompts:
    """Tokenize the prompts `context + query`; `ids` names the rows (default: their positions)."""
    return Queries(tokenizer, queries, ids).prompts(context)


def label_word_ids(tokenizer, pattern: Pattern, probe: str) -> list[int]:
    """Return the token of each label word as it continues a prompt such as `probe`.

    Raises UserError, naming pattern, word and pieces, unless each word is exactly one token, the
    words' tokens differ, and none merges with the prompt's last token.
    """
    name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
    where = f"config/patterns.yaml: pattern '{pattern.name}', tokenizer of '{name}'"
    prompt = _encode(tokenizer, [probe])[0]
    found: list[int] = []
    for word in pattern.words:
        whole = _encode(tokenizer, [probe + word])[0]
        if whole[: len(prompt)] != prompt:
            raise UserError(f"{where}: label word '{word}' merges with the end of the prompt")
        pieces = tokenizer.convert_ids_to_tokens(whole[len(prompt) :])
        if len(pieces) != 1:
            raise UserError(
                f"{where}: label word '{word}' must be one token but is {len(pieces)}: {pieces}"
            )
        if whole[-1] in found or whole[-1] == tokenizer.unk_token_id:
            raise UserError(f"{where}: label word '{word}' has no token of its own ({pieces[0]})")
        found.append(whole[-1])
    return found


def _encode(tokenizer, texts: list[str], special: bool = True) -> list[tuple[int, ...]]:
    """Tokenize texts whole, with the tokens that the tokenizer adds to a text if `special`."""
    encoded = tokenizer(
        texts, add_special_tokens=special, return_attention_mask=False, verbose=False
    )
    return [tuple(ids) for ids in encoded["input_ids"]]


def _share(ids, start: tuple[int, ...], rest: list[tuple[int, ...]]) -> Prompts:
    """Return the prompts `start + rest[i]` with the longest common prefix moved out."""
    first, last = min(rest), max(rest)
    common = 0
    while common < min(map(len, (first, last))) and first[common] == last[common]:
        common += 1
    common = min(common, min(map(len, rest)) - 1)
    if common < 0:
        raise ValueError("a prompt without tokens cannot be scored")
    return Prompts(ids, start + first[:common], [row[common:] for row in rest])
