"""Made-up results as the pipeline stores them: what simulated studies share."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from fewshot import schemas, storage

HEURISTICS = ("lexical_overlap", "subsequence", "constituent")


def made_rows(label: np.ndarray | None = None, each: int = 0) -> pd.DataFrame:
    """Return rows (schemas.ROWS) with these labels; without them, HANS-like ones: `each` of each of
    30 subcases, every subcase a cluster."""
    if label is not None:
        frame = pd.DataFrame({"label": label, "group": None, "subset": None})
    else:
        frame = pd.DataFrame(
            [
                {"group": name, "subset": f"{name[0]}{'en'[label]}_case_{i}", "label": label}
                for name in HEURISTICS
                for label in (0, 1)
                for i in range(5)
                for _ in range(each)
            ]
        )
    more = {"id": np.arange(len(frame)), "cluster": frame["subset"], "text_a": "a", "text_b": "b"}
    return frame.assign(**more).astype({"label": "int16"})


def scored_set(name: str) -> dict:
    """Return an evaluation set of two labels as the rules pass it."""
    path = f"results/data/{name}/validation.parquet"
    return {"set": name, "merge": [0, 1], "path": path}


LABELS = np.array(["first", "second"], dtype=object)
"""Names of two labels."""


def told(correct: np.ndarray, label: np.ndarray, epoch: int, last: int, best: int) -> dict:
    """Return what predictions of two labels tell besides log-probabilities, by column."""
    names = {"gold": LABELS[label], "predicted": LABELS[np.where(correct, label, 1 - label)]}
    return {"correct": correct, **names, "last": epoch == last, "best": epoch == best}


def answers(correct: np.ndarray, label: np.ndarray, sure: np.ndarray) -> dict[str, np.ndarray]:
    """Return the log-probabilities of two labels where the predicted one has probability `sure`."""
    first = np.where(correct == (label == 0), sure, 1 - sure)
    return {"logprob_0": np.log(first), "logprob_1": np.log(1 - first)}


def cell_of(pair: dict, job: dict, seed: int | None = None) -> dict:
    """Return the cell's columns, of one seed if there is one."""
    cell = {name: pair[name] for name in ("protocol", "task", "model")}
    cell |= {name: job[name] for name in ("method", "pattern", "k")}
    return cell if seed is None else cell | {"seed": seed}


def stack(blocks: list[dict]) -> pd.DataFrame:
    """Return blocks of rows, each from name to values or to the one value of all its rows, as one
    frame: thousands of blocks take the time of one. The first value of a block is an array of its
    length."""
    sizes = [len(next(iter(block.values()))) for block in blocks]
    sized = list(zip(blocks, sizes, strict=True))
    return pd.DataFrame(
        {
            name: np.concatenate([np.broadcast_to(block[name], size) for block, size in sized])
            for name in blocks[0]
        }
    )


def write_results(
    run: Path,
    cell: dict,
    curves: list[pd.DataFrame],
    predictions: list[pd.DataFrame],
    content: dict,
) -> None:
    """Write what a run of two labels stores: curves and predictions, without the columns of the
    cell, and its manifest."""
    tables = {
        "curves": (curves, schemas.CURVES),
        "predictions": (predictions, schemas.predictions_schema(2)),
    }
    for name, (frames, schema) in tables.items():
        frame = pd.concat(frames) if frames else pd.DataFrame(columns=schema.names)
        for key, value in cell.items():
            dictionary = pa.types.is_dictionary(schema.field(key).type)
            codes = np.zeros(len(frame), dtype=np.int8)
            frame[key] = pd.Categorical.from_codes(codes, [value]) if dictionary else value
        storage.write_table(run / f"{name}.parquet", frame, schema)
    seal_run(run, content)


def seal_run(run: Path, content: dict | None = None) -> None:
    """Write a run's manifest (or its own again) with the checksums of its files as they are."""
    content = content or storage.read_json(run / "manifest.json")
    files = storage.checksums_of(run / "predictions.parquet", run / "curves.parquet")
    storage.write_json(run / "manifest.json", {**content, "files": files})
