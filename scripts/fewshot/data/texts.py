"""Documents outside the tasks (config/texts.yaml), of the same sources and formats as rows."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError, unknown
from ..rng import generator
from ..storage import read_json
from .readers import raw_files, read_plain, read_raw

LOG = logging.getLogger(__name__)
BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def prepare_text(manifest_path: str | Path, entry: dict, name: str) -> pd.DataFrame:
    """Return the documents of a text that are scored (schemas.TEXTS).

    `entry` is that of config/texts.yaml. They are the first `rows` in an order drawn by the text's
    name alone, and stand as published. Raises UserError for a column that a file does not have or
    that holds no text, and for a text of fewer than two documents.
    """
    splits = read_json(manifest_path, "files")["files"]
    paths = [path for split in splits for path in raw_files(manifest_path, split)]
    texts = [text for path in paths for text in _documents(path, entry.get("field"))]
    least = entry["min_characters"]
    long = [number for number, text in enumerate(texts) if len(text.strip()) >= least]
    LOG.info("text '%s': %d documents, %d of them shorter than %d characters and left out",
             name, len(texts), len(texts) - len(long), least)  # fmt: skip
    if len(long) < 2:
        raise UserError(
            f"text '{name}': {len(long)} documents of {least} characters or more; valid: 2 or more"
        )
    order = generator("text", name).permutation(len(texts))
    wanted = set(long)
    chosen = sorted([number for number in order.tolist() if number in wanted][: entry["rows"]])
    return pd.DataFrame(
        {"id": np.array(chosen, dtype=np.int64), "text": [texts[number] for number in chosen]}
    )


def _documents(path: Path, field: str | None) -> list[str]:
    """Return the documents of a file: those between blank lines, or of a column."""
    if path.suffix == ".txt":
        return [part for part in BLANK_LINES.split(read_plain(path)) if part.strip()]
    rows = read_raw(path)
    if field not in rows:
        raise unknown("column", field, rows.columns, f"{path}: field")
    return [
        _text(value, f"{path}: row {row}: field '{field}'")
        for row, value in enumerate(rows[field], 1)
    ]


def _text(value: object, where: str) -> str:
    """Return a column's value as text, empty for none; raises UserError for what is no text."""
    if not isinstance(value, str | None):
        raise UserError(f"{where} holds {value!r}, which is no text")
    try:
        # JSON may hold half a pair of surrogates, which no tokenizer and no table takes.
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}: {error}") from None
    return value or ""
