"""What the pipeline stores: every Parquet schema, manifests and atomic writes.

Columns are declared here and nowhere else; `config/README.md` prints their descriptions.
"""

import glob
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import REFUSALS, UserError


def column(name: str, kind: pa.DataType, text: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


NAME = pa.dictionary(pa.int32(), pa.string())

CELL = [
    column("protocol", NAME, "sampling and scoring rules: fair or mosbach2023"),
    column("task", NAME, "training task"),
    column("model", NAME, "model, as in config/models.yaml"),
    column("method", NAME, "method, as in config/methods.yaml"),
    column("pattern", NAME, "pattern, as in config/patterns.yaml"),
    column("k", pa.int32(), "total number of shots"),
    column("seed", pa.int32(), "data seed (0 where k = 0)"),
]

SUBSETS = [
    column("group", NAME, "coarse part of the evaluation set (HANS: heuristic)", nullable=True),
    column("subset", NAME, "fine part of the evaluation set (HANS: subcase)", nullable=True),
]

ROWS = pa.schema(
    [
        column("id", pa.int64(), "the row's number in the published split"),
        column("text_a", pa.string(), "first text"),
        column("text_b", pa.string(), "second text, null for tasks with one", nullable=True),
        column("label", pa.int8(), "gold label, an index into the task's labels"),
        *SUBSETS,
        column("cluster", NAME, "rows made from one template (HANS)", nullable=True),
    ]
)

SHOTS = pa.schema(
    [
        column("position", pa.int32(), "place in the context, from 0"),
        column("id", pa.int64(), "row of the training split"),
        column("label", pa.int8(), "its gold label"),
    ]
)

FIT = pa.schema(
    [
        *CELL,
        column("context_tokens", pa.int32(), "tokens of the demonstrations"),
        column("longest_tokens", pa.int32(), "tokens of the longest full prompt"),
        column("longest_row", pa.string(), "that row, as set/id"),
        column("window", pa.int32(), "tokens the model can read"),
        column("status", NAME, "'ok' or 'does not fit'"),
    ]
)

CURVES = pa.schema(
    [
        *CELL,
        column("epoch", pa.int32(), "epochs trained (0: no training)"),
        column("evaluation_set", NAME, "task that was scored, or 'train' for the training loss"),
        *SUBSETS,
        column("label", pa.int8(), "gold label (null for 'train')", nullable=True),
        column("sampled", pa.bool_(), "whether only the curve's sample of rows was counted"),
        column("n", pa.int32(), "rows"),
        column("correct", pa.int32(), "rows whose highest-ranked label word is gold"),
        column(
            "correct_vocabulary",
            pa.int32(),
            "correct rows whose top token starts a label word; null: not known of every such row",
            nullable=True,
        ),
        column("mean_logprob", pa.float64(), "mean log-probability of the gold label word"),
    ]
)


RANK_BY = "rank_by"
"""Metadata of row predictions: by what label words are ranked, "sum" or "mean" over tokens."""


def predictions_schema(labels: int) -> pa.Schema:
    """Return the schema of row predictions over `labels` label words.

    Null is what results made elsewhere do not tell: tokens of words, the normaliser, and whether
    the top token starts a label word where none of the words was the most probable text.
    """
    words = [
        column(f"logprob_{i}", pa.float32(), f"log-probability of label word {i}, over its tokens")
        for i in range(labels)
    ]
    tokens = [
        column(f"tokens_{i}", pa.int16(), f"tokens of label word {i} behind this prompt", True)
        for i in range(labels)
    ]
    return pa.schema(
        [
            *CELL,
            column("epoch", pa.int32(), "epochs trained (0: no training)"),
            column("evaluation_set", NAME, "task that was scored"),
            column("id", pa.int64(), "row of the evaluation split"),
            column("label", pa.int8(), "gold label, an index into the evaluation set's labels"),
            *words,
            *tokens,
            column(
                "logsumexp", pa.float32(), "log of the sum of exponentials over all logits", True
            ),
            column(
                "argmax_is_label", pa.bool_(), "whether the top token starts a label word", True
            ),
        ]
    )


PLAN = pa.schema(
    [
        column("model", NAME, "name of the model"),
        column("method", NAME, "name of the method"),
        column("k", pa.int32(), "shots of the largest cell, which the row describes"),
        column("gpus", pa.int32(), "GPUs, over all nodes (0: one process on a CPU)"),
        column("nodes", pa.int32(), "nodes"),
        column("zero_stage", pa.int8(), "DeepSpeed ZeRO stage"),
        column("offload", NAME, "what lies in host memory: none, optimizer, parameters (and both)"),
        column("micro_tokens", pa.int32(), "padded tokens of one pass (0: nothing is trained)"),
        column("checkpointing", pa.bool_(), "whether activations are computed again"),
        column("gpu_gb", pa.float64(), "expected memory of a GPU, in 2^30 bytes"),
        column("host_gb", pa.float64(), "expected memory of a node's host, in 2^30 bytes"),
        column("parameters", pa.int64(), "parameters of the model"),
        column("trainable", pa.int64(), "parameters that are trained, a new head's included"),
        column("largest_layer", pa.int64(), "parameters of the largest module"),
        column("shape_known", pa.bool_(), "whether the model's shape is known, or guessed"),
    ]
)


def write_table(path: str | Path, frame: pd.DataFrame, schema: pa.Schema, **metadata: str) -> None:
    """Write `frame` to `path` (zstd, atomically) with exactly the columns of `schema`.

    Raises ValueError for a missing or surplus column and for a null where none is allowed.
    """
    surplus = set(frame.columns) - set(schema.names)
    missing = set(schema.names) - set(frame.columns)
    if surplus or missing:
        raise ValueError(f"{path}: surplus columns {surplus or '{}'}, missing {missing or '{}'}")
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def read_table(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file; dictionary columns come back as categories.

    Raises UserError where the file is missing or is no Parquet.
    """
    try:
        return pq.read_table(path, columns=columns).to_pandas()
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except (OSError, pa.ArrowException) as error:
        cause = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable Parquet file ({cause})") from None


def read_rows(path: str | Path) -> pd.DataFrame:
    """Read prepared rows (ROWS); raises UserError where they were imported without texts."""
    rows = read_table(path)
    if "text_a" not in rows:
        raise UserError(
            f"{path}: it was imported, without its texts; to run models here, remove the folders "
            "results/data, results/raw and results/models, run `snakemake data` and import again"
        )
    return rows


@contextmanager
def atomic(path: str | Path):
    """Yield a name beside `path` to write to; rename it to `path` only on success.

    What a writer of the same file left that was killed meanwhile is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        left.unlink(missing_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        # Libraries name no file, or the unfinished one, of which nothing will be left.
        named = (error.filename, error.filename2)
        if error.errno in REFUSALS and (named[0] is None or str(partial) in map(str, named)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # It would hide the first error.
            partial.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write a manifest: sorted keys, atomically."""
    with atomic(path) as partial:
        partial.write_text(
            json.dumps(content, indent=2, sort_keys=True, default=str) + "\n", "utf-8"
        )


def read_json(path: str | Path) -> dict:
    """Read a manifest written by `write_json`; raises UserError where there is none."""
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except ValueError as error:
        raise UserError(f"{path}: not readable JSON ({error})") from None


def sha256(path: str | Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def frame_checksum(rows: Iterable[Iterable[object]]) -> str:
    """Return a checksum of row values, independent of file format and library version."""
    text = "\n".join("\t".join(map(str, row)) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
