"""Adaptation jobs on pretrained models and real rows, as Snakemake gives them to their scripts."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from fewshot import schemas, storage
from fewshot.data.prepare import prepare_rows
from fewshot.data.shots import draw_balanced
from fewshot.prompts.patterns import bind_pattern
from fewshot.study.registries import load_registries
from job_files import as_snakemake
from tiny import write_manifest
from transformers import AutoConfig, AutoModelForCausalLM

REGISTRIES = load_registries(Path(__file__).parents[2] / "config")
TASKS, METHODS = REGISTRIES["tasks"], REGISTRIES["methods"]
PATTERN = bind_pattern("eval-harness", REGISTRIES["patterns"]["eval-harness"], "rte", TASKS["rte"])
ROWS = 12
"""Rows of each evaluation set."""
SHORT = 150
"""Characters of a training row's first text, at most: what is not about long rows stays quick."""


@dataclass(frozen=True)
class RealModel:
    """A folder of weights, its manifest, and its entry as jobs have it."""

    name: str
    folder: Path
    manifest: str
    entry: dict

    @classmethod
    def of(cls, name: str, folder: Path, work: Path) -> "RealModel":
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            size = AutoModelForCausalLM.from_config(config).num_parameters()
        window = config.max_position_embeddings
        entry = {"dtype": "float32", "parameters": size, "window": window}
        return cls(name, folder, write_manifest(work / "manifest.json", folder), entry)


def real_rows(shared_data: Path, task: str, split: str) -> pd.DataFrame:
    """Return the rows of RTE or HANS, prepared, with those of its labels in turn."""
    raw = pd.read_parquet(shared_data / "full" / f"{task}_{split}.parquet")
    rows = prepare_rows(raw, TASKS[task], task, split)
    spread = rows.sample(frac=1.0, random_state=0)
    place = spread.groupby("label").cumcount()
    return spread.loc[place.sort_values(kind="stable").index].reset_index(drop=True)


def real_job(
    folder: Path, model: RealModel, shared_data: Path, method: str, k: int, **settings
) -> SimpleNamespace:
    """Write the inputs of a job on RTE with HANS out of domain and return what its script gets."""
    folder.mkdir(parents=True)
    evaluation = {}
    for task in ("rte", "hans"):
        evaluation[task] = str(folder / f"{task}.parquet")
        rows = real_rows(shared_data, task, "validation")[:ROWS]
        storage.write_table(evaluation[task], rows, schemas.ROWS)
    train = real_rows(shared_data, "rte", "train")
    train = train[train["text_a"].str.len() <= SHORT].reset_index(drop=True)
    storage.write_table(folder / "train.parquet", train, schemas.ROWS)
    shots = []
    if k:
        shots = [str(folder / "shots.parquet")]
        draw = draw_balanced(train, k, 2, "rte", 0)
        checksum = storage.frame_checksum(draw.itertuples(index=False))
        storage.write_table(shots[0], draw, schemas.SHOTS, checksum=checksum)
    names = ("protocol", "task", "model", "method", "pattern", "k")
    cell = dict(zip(names, ("fair", "rte", model.name, method, PATTERN.name, k), strict=True))
    return as_snakemake(
        folder,
        cell,
        (0,),
        evaluation,
        shots,
        model=model.manifest,
        entry=model.entry,
        pattern=PATTERN,
        method={**METHODS[method], **settings},
        batch_tokens=1024,
    )
