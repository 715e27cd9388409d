"""The input files of an adaptation job on a tiny model, and the `smk` object that names them."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from fewshot import schemas, storage
from fewshot.data.shots import draw_balanced
from fewshot.prompts.patterns import Pattern
from fewshot.rng import generator
from fewshot.study.families import read_settings
from tiny import TARGETS, WORDS, save_tiny, write_manifest

LONG = 999
"""A training row beyond the window, drawn for the seeds that are not to fit."""
PATTERN = Pattern(
    "minimal", (("", "text_a"), (" ", "text_b"), (" ?", None)), "", (" Yes", " No"), "\n\n"
)
CELL = {"protocol": "fair", "task": "task", "model": "tiny", "method": "ft", "pattern": "minimal"}
TRAINING = {
    "family": "full",
    "head": "language-model",
    "loss": "vocabulary",
    "learning_rate": 0.01,
    "epochs": 3,
    "batch_size": 4,
    "warmup": 0.3,
    "weight_decay": 0.0,
    "gradient_clip": 1.0,
    "keep_weights": False,
    "curve_epochs": "each",
    "curve_rows": 512,
    "rank": 2,
    "alpha": 4,
    "dropout": 0.0,
    "dora": False,
    "classifier": "dense-relu-linear",
}


def some_rows(count: int, stream: str) -> pd.DataFrame:
    """Return rows of 3 to 8 words whose label is told by the first word."""
    draw = generator(stream)
    texts = [" ".join(draw.choice(WORDS[:20], size=draw.integers(1, 4))) for _ in range(2 * count)]
    label = np.arange(count) % 2
    first = [("all " if each else "some ") + text for each, text in zip(label, texts, strict=False)]
    return pd.DataFrame(
        {
            "id": np.arange(count) + 100,
            "text_a": first,
            "text_b": texts[count:],
            "label": label.astype(np.int16),
            "group": None,
            "subset": None,
            "cluster": None,
        }
    )


def write_job(
    folder: Path,
    kind: str = "opt",
    k: int = 8,
    seeds: tuple[int, ...] = (0, 1),
    unfit: tuple[int, ...] = (),
    sizes: tuple[int, int] = (24, 11),
    **settings,
) -> SimpleNamespace:
    """Write all inputs of a job under `folder` and return what Snakemake would give its script."""
    cell = {**CELL, "k": k}
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = []
    for name, size in zip(("task", "other"), sizes, strict=True):
        evaluation.append(str(folder / f"{name}.parquet"))
        storage.write_table(evaluation[-1], some_rows(size, name), schemas.ROWS)
    train = pd.concat([some_rows(60, "train"), some_rows(1, "long")], ignore_index=True)
    train.loc[60, ["id", "text_a"]] = [LONG, "some " * 200]
    storage.write_table(folder / "train.parquet", train, schemas.ROWS)
    shots = []
    for seed in seeds if k else ():
        shots.append(str(folder / f"shots{seed}.parquet"))
        draw = draw_balanced(train[train["id"] != LONG], k, 2, "task", seed)
        if seed in unfit:
            draw.loc[draw["label"].idxmin(), "id"] = LONG
        checksum = storage.frame_checksum(draw.itertuples(index=False))
        storage.write_table(shots[-1], draw, schemas.SHOTS, checksum=checksum)
    out = folder / "out"
    return SimpleNamespace(
        input=SimpleNamespace(
            model=_write_model(folder, kind),
            evaluation=evaluation,
            train=str(folder / "train.parquet") if k else [],
            shots=shots,
        ),
        output=SimpleNamespace(
            predictions=str(out / "predictions.parquet"),
            curves=str(out / "curves.parquet"),
            manifest=str(out / "manifest.json"),
            adapters=str(out / "adapters"),
        ),
        wildcards=SimpleNamespace(**cell),
        params=SimpleNamespace(
            task="task",
            seeds=list(seeds),
            labels=2,
            evaluation=[{"set": "task", "merge": [0, 1]}, {"set": "other", "merge": [0, 1]}],
            pattern=asdict(PATTERN),
            method=read_settings({**TRAINING, "targets": TARGETS[kind], **settings}),
            model={"dtype": "float32", "parameters": _parameters(kind), "window": 128},
            batch_tokens={"cpu": 512, "gpu": 512},
            code="code",
        ),
        resources={"zero_stage": 0},
        threads=1,
        log=[str(folder / "job.log")],
    )


def _parameters(kind: str) -> int:
    return {"opt": 23712, "gpt_neox": 21952}[kind]


def _write_model(folder: Path, kind: str) -> str:
    return write_manifest(folder / "model.json", save_tiny(folder / "model", kind))
