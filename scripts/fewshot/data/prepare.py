"""Bring raw rows to the columns of `schemas.ROWS`, cut and counted as the configuration says."""

import ast
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError, unknown
from ..rng import generator
from ..schemas import ROWS
from .curve_sample import stratified_sample
from .entries import label_key
from .readers import raw_files, read_split
from .shots import cut_of_split

YAML_BOOLEANS = ("yes", "no", "on", "off", "true", "false")
"""Words that YAML 1.1 reads as booleans, unless they are in quotes."""


def prepare_split(manifest_path: str | Path, entry: dict, task: str, split: str) -> pd.DataFrame:
    """Read a split ("train" or "validation") and return its rows as they are used.

    `entry` is that of config/tasks.yaml. Rows are prepared (see `prepare_rows`), cut to those of
    `subsample`, and counted: raises UserError where they are not as many as `expected` says. Where
    rows have two texts and `subsets` says nothing of clusters, those that share the first text are
    one (see `text_clusters`).
    """
    rows = _prepared(manifest_path, entry, task, split)
    where = f"task '{task}', split '{split}'"
    cut = entry.get("subsample")
    if cut and split in cut["splits"]:
        before = len(rows)
        rows = rows.iloc[_chosen(manifest_path, entry, task, split, rows)].reset_index(drop=True)
        logging.info("%s: cut from %d rows to %d", where, before, len(rows))
    if split in entry.get("expected", {}):
        check_counts(rows, list(entry["labels"]), entry["expected"][split], where)
    if len(entry["text"]) == 2 and "cluster" not in entry.get("subsets", {}):
        rows = rows.assign(cluster=text_clusters(rows, where))
    return rows


def text_clusters(rows: pd.DataFrame, where: str) -> pd.Series:
    """Return for each row (schemas.ROWS) the smallest id of those with its first text, as text.

    None for a row whose first text is empty or that of no other row. None for all rows if they all
    have the same first text: that is an instruction, and makes no rows more alike than others. Logs
    how many rows are in clusters, naming `where`.
    """
    texts = rows["text_a"]
    shared = texts.duplicated(keep=False) & (texts.str.strip() != "")
    if len(rows) > 1 and shared.all() and texts.nunique() == 1:
        logging.info("%s: all rows have the same first text, which makes no clusters", where)
        shared[:] = False
    elif shared.any():
        clusters = texts[shared].nunique()
        told = "%s: %d of %d rows share their first text with others, in %d clusters"
        logging.info(told, where, shared.sum(), len(rows), clusters)
    first = rows.groupby("text_a")["id"].transform("min").astype(str)
    return first.astype(object).where(shared, None)


def _prepared(manifest_path: str | Path, entry: dict, task: str, split: str) -> pd.DataFrame:
    paths = raw_files(manifest_path, entry["splits"][split])
    return prepare_rows(read_split(paths, entry.get("columns", ())), entry, task, split)


def _chosen(
    manifest_path: str | Path, entry: dict, task: str, split: str, rows: pd.DataFrame
) -> np.ndarray:
    """Return the positions of the rows that `subsample` keeps; UserError for too few rows."""
    cut = entry["subsample"]
    count = cut["rows"]
    if count > len(rows):
        raise UserError(
            f"task '{task}', split '{split}': subsample: {count} rows asked for, but there are "
            f"only {len(rows)}"
        )
    if cut.get("stratified"):
        draw = generator("subsample", task, split)
        return stratified_sample(rows, count, draw, "tasks.yaml: subsample", task)
    if "legacy_seed" not in cut:
        order = generator("subsample", task, split).permutation(np.argsort(rows["id"].to_numpy()))
        return np.sort(order[:count])
    # One stream for all splits: how far it is depends on the sizes of those before.
    before = cut["splits"][: cut["splits"].index(split)]
    sizes = [len(_prepared(manifest_path, entry, task, other)) for other in before]
    return cut_of_split([*sizes, len(rows)], count, cut["legacy_seed"])


def check_counts(
    rows: pd.DataFrame, labels: list[str], expected: int | dict[str, int], where: str
) -> None:
    """Raise UserError where rows, or rows of each label, are not as many as `expected`."""
    counts = np.bincount(rows["label"], minlength=len(labels))
    counted = dict(zip(labels, map(int, counts), strict=True))
    if (len(rows) if isinstance(expected, int) else counted) != expected:
        wanted = expected if isinstance(expected, int) else _listed(expected)
        raise UserError(
            f"{where}: {len(rows)} rows ({_listed(counted)}) where tasks.yaml expects "
            f"{wanted}: the source is not the one that was meant, or 'expected' is wrong"
        )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def prepare_rows(raw: pd.DataFrame, entry: dict, task: str, split: str) -> pd.DataFrame:
    """Return the rows of one split in the columns of `schemas.ROWS`, in the published order.

    `entry` is that of config/tasks.yaml. Ids are those of the raw split, before rows with a label
    in `drop`, without a value in `filter`, or with a long text are left out; how many is logged.
    Raises UserError naming task, split, row (from 1) and value for anything that does not fit the
    entry.
    """
    where = f"task '{task}', split '{split}'"
    subsets = {of: column for of, column in entry.get("subsets", {}).items() if column is not False}
    filtered = entry.get("filter", {})
    for column in (*entry["text"], entry["label"], *subsets.values(), entry.get("id"), *filtered):
        if column is not None and column not in raw.columns:
            raise unknown("column", column, raw.columns, where)
    labels = _labels(raw[entry["label"]], entry, where)
    rows = pd.DataFrame({"id": _ids(raw, entry.get("id"), where), "label": labels})
    passed = _passed(raw, filtered, where)
    passed &= _short(raw, entry, where)
    kept = (labels >= 0).to_numpy() & passed
    _log_counts(raw[entry["label"]], labels, passed, entry, split, where)
    rows[["text_a", "text_b"]] = None
    for target, column in zip(("text_a", "text_b"), entry["text"], strict=False):
        texts = _decoded(raw[column], entry, kept, where)
        rows[target] = _texts(texts, kept, where, entry.get("empty_text") == "keep")
    for target in ("group", "subset", "cluster"):
        column = subsets.get(target)
        rows[target] = _texts(raw[column], kept, where) if column else None
    rows = rows.loc[kept, ROWS.names].reset_index(drop=True)
    return rows.astype({"label": np.int16})


def _passed(raw: pd.DataFrame, filtered: dict[str, list], where: str) -> np.ndarray:
    """Return which raw rows have one of the values that `filter` asks for, bool [rows]."""
    passed = np.ones(len(raw), dtype=bool)
    for column, values in filtered.items():
        keys = [label_key(value) for value in raw[column]]
        for value in values:
            if label_key(value) not in keys:
                raise UserError(f"{where}: filter: no row has {column} {value!r}")
        wanted = {label_key(value) for value in values}
        passed &= np.array([key in wanted for key in keys])
    if filtered:
        logging.info("%s: filter passes %d of %d rows", where, passed.sum(), len(raw))
    return passed


def _short(raw: pd.DataFrame, entry: dict, where: str) -> np.ndarray:
    """Return which raw rows have no text beyond `max_characters`, bool [rows]."""
    short = np.ones(len(raw), dtype=bool)
    if "max_characters" in entry:
        for column in entry["text"]:
            lengths = [len(text) if isinstance(text, str) else 0 for text in raw[column]]
            short &= np.array(lengths) <= entry["max_characters"]
        logging.info("%s: left out %d rows with long texts", where, (~short).sum())
    return short


def _decoded(values: pd.Series, entry: dict, kept: np.ndarray, where: str) -> pd.Series:
    """Return the texts of a column as `decode` reads them; rows that are not kept stay."""
    if "decode" not in entry:
        return values
    if entry["decode"] == "trimmed":
        return values.map(lambda text: text.strip() if isinstance(text, str) else text)
    decode = {"byte-literal": _from_literal, "byte-literal-stripped": _stripped}[entry["decode"]]
    decoded = list(values)
    for row in np.flatnonzero(kept):
        text = decode(decoded[row]) if isinstance(decoded[row], str) else None
        if text is None:
            raise UserError(
                f"{where}: row {row + 1}: column '{values.name}': {decoded[row]!r} is no byte "
                "literal of UTF-8 text such as b'text'"
            )
        decoded[row] = text
    return pd.Series(decoded, dtype=object, name=values.name)


def _from_literal(text: str) -> str | None:
    """Return the text that a Python byte literal stands for, escapes resolved; None for none."""
    try:
        value = ast.literal_eval(text)
        return value.decode() if isinstance(value, bytes) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # Of nested parentheses.
        return None


def _stripped(text: str) -> str | None:
    """Return a byte literal without its frame, as the published code reads it: escapes stay."""
    framed = len(text) > 2 and text[0] == "b" and text[1] in "'\"" and text[-1] == text[1]
    return text[2:-1] if framed else None


def _labels(values: pd.Series, entry: dict, where: str) -> pd.Series:
    """Return label indices, -1 for rows to drop."""
    index: dict[str, int] = {}
    groups = [
        [value] if not isinstance(value, list) else value for value in entry["labels"].values()
    ]
    for number, group in [(-1, entry.get("drop", [])), *enumerate(groups)]:
        for value in group:
            if index.setdefault(label_key(value), number) != number:
                raise UserError(f"{where}: raw label {value!r} is given two meanings")
    labels = [index.get(label_key(value)) for value in values]
    if None in labels:
        row = labels.index(None)
        value = values.iloc[row]
        boolean = " (a boolean: true or false)" if isinstance(value, bool) else ""
        word = isinstance(value, str) and value.lower() in YAML_BOOLEANS
        if word and {"true", "false"} & set(index):
            boolean = " (text, which YAML reads as a boolean: put it in quotes in tasks.yaml)"
        raise UserError(
            f"{where}: row {row + 1}: {entry['label']} is {value!r}{boolean}, which is neither in "
            f"labels nor in drop; valid: {', '.join(index)}"
        )
    return pd.Series(labels, dtype=np.int64)


def _ids(raw: pd.DataFrame, column: str | None, where: str) -> np.ndarray:
    """Return the ids of all raw rows: a column of integers, or the rows' positions."""
    if column is None:
        return np.arange(len(raw), dtype=np.int64)
    ids = []
    for row, value in enumerate(raw[column]):
        key = None if isinstance(value, bool) else label_key(value)
        if key is None or not key.removeprefix("-").isdecimal():
            raise UserError(
                f"{where}: row {row + 1}: id column '{column}' holds {value!r}, not an integer; "
                "leave 'id' out to number the rows by position"
            )
        ids.append(int(key))
    seen = pd.Series(ids)
    if seen.duplicated().any():
        row = int(seen.duplicated().argmax())
        raise UserError(f"{where}: row {row + 1}: id {ids[row]} appears twice")
    return np.array(ids, dtype=np.int64)


def _texts(
    values: pd.Series, kept: np.ndarray, where: str, may_be_empty: bool = False
) -> pd.Series:
    """Check that the kept rows of a column hold text; dropped rows may hold anything."""
    empty = 0
    for row in np.flatnonzero(kept):
        value = values.iat[row]
        blank = isinstance(value, str) and not value.strip()
        empty += blank
        if not isinstance(value, str) or (blank and not may_be_empty):
            what = "text is empty" if isinstance(value, str) else f"{value!r} is not text"
            raise UserError(f"{where}: row {row + 1}: column '{values.name}': {what}")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{where}: row {row + 1}: column '{values.name}': {error}") from None
    if empty:
        logging.info("%s: kept %d rows with an empty '%s'", where, empty, values.name)
    return values.astype(object).reset_index(drop=True)


def _log_counts(
    raw: pd.Series, labels: pd.Series, passed: np.ndarray, entry: dict, split: str, where: str
) -> None:
    """Log rows per label and per dropped value.

    Raises UserError where no row is left, and for a label without rows in a split that shots are
    drawn from; a set that is scored only may lack one, which a warning tells.
    """
    dropped = raw.reset_index(drop=True)[(labels < 0) & passed].value_counts()
    for value, count in dropped.items():
        logging.info("%s: left out %d rows with label %r", where, count, value)
    counts = [int((labels[passed] == number).sum()) for number in range(len(entry["labels"]))]
    for name, count in zip(entry["labels"], counts, strict=True):
        if not count and (split == "train" or not any(counts)):
            raise UserError(f"{where}: no row has label '{name}' ({len(labels)} rows read)")
        level = logging.INFO if count else logging.WARNING
        logging.log(level, "%s: %d rows with label '%s'", where, count, name)
