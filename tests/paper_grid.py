"""Runs of the paper's grid, simulated fast and stored as the pipeline stores them.

Rows are those of the published sets: 6,692 of MNLI (two labels), 277 of RTE and 30,000 of HANS in
30 subcases and 60 templates. Answers are random, right with a chance by model, method and seed;
predictions are kept for the last and the best epoch, curves count a sample of larger sets.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import stored
from fewshot.data.curve_sample import curve_epochs, row_limit
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.study.load import load_study
from fewshot.study.study import Job, Study
from fewshot.validation import read_yaml

ROOT = Path(__file__).parents[1]
LABELS = {"mnli": (3479, 3213), "rte": (146, 131)}
UNFIT = ("rte", 32)
"""Task and number of shots whose context exceeds every window here."""


@dataclass(frozen=True)
class Block:
    """The predictions of one seed, epoch and set: which label each row got, and how surely."""

    seed: int
    epoch: int
    item: EvaluationSet
    correct: np.ndarray
    sure: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """Return the right rows of each part of the set."""
        return np.bincount(self.item.part_of[self.correct], minlength=len(self.item.parts))


def grid(share: float = 1.0) -> Study:
    """Return the study of config/paper.yaml with the first of its models, at least that share."""
    config = read_yaml(ROOT / "config/paper.yaml")
    config["grid"] = config["grid"][:3]  # The paper's: baselines are next to nothing beside it.
    config["models"] = config["models"][: int(np.ceil(share * len(config["models"])))]
    return load_study(config, ROOT / "config", "config/paper.yaml")


def prepared(name: str) -> pd.DataFrame:
    """Return the evaluation rows of a set (schemas.ROWS), with made-up texts."""
    if name != "hans":
        return stored.made_rows(np.repeat([0, 1], LABELS[name]))
    rows = stored.made_rows(each=1000)
    return rows.assign(cluster="temp" + (rows["id"] // 500).astype(str))


def sets_of(study: Study, task: str) -> list[EvaluationSet]:
    """Return the evaluation sets of a task."""
    return [EvaluationSet(name, (0, 1), prepared(name)) for name in study.evaluation_sets(task)]


def job_entry(job: Job, folder: Path) -> dict:
    """Return a job as the rules pass it to metrics, its run below `folder`."""
    cell = job.cell
    names = {"method": cell.method, "pattern": cell.pattern, "k": cell.k}
    return names | {"seeds": list(job.seeds), "folder": str(folder / job.folder)}


def expected_rows(study: Study, kept: int) -> int:
    """Return how many row predictions the grid has where trained runs keep `kept` epochs."""
    total = 0
    for job in study.jobs:
        if study.uses_context(job.cell.method) and (job.cell.task, job.cell.k) == UNFIT:
            continue
        rows = sum(sum(LABELS.get(n, [30_000])) for n in study.evaluation_sets(job.cell.task))
        epochs = 1 if study.uses_context(job.cell.method) else kept
        total += rows * len(job.seeds) * epochs
    return total


def write_run(
    folder: Path, study: Study, job: Job, sets: list[EvaluationSet], limit: int | None = None
) -> int:
    """Write predictions, curves and manifest of one run; return the number of predictions.

    `limit` caps the rows of a curve's sample, which is otherwise the method's setting.
    """
    settings = study.method_settings(job.cell.method, job.cell.model)
    context = study.uses_context(job.cell.method)
    fits = not (context and (job.cell.task, job.cell.k) == UNFIT)
    rng = np.random.default_rng(list(job.folder.encode()))
    points = [0] if context else curve_epochs(settings["curve_epochs"], settings["epochs"])
    blocks, curves = [], []
    for seed in job.seeds if fits else ():
        made, counted = _seed(job, seed, points, sets, rng, settings, limit)
        blocks += made
        curves += counted
    status = {"status": "ok", "seconds": {}} if fits else {"status": "does not fit"}
    seeds = {str(seed): status for seed in job.seeds}
    cell = vars(job.cell)
    content = {**cell, "seeds": seeds, "settings": settings}
    predictions = [_predictions(block, sets, points) for block in blocks]
    stored.write_results(folder / job.folder, cell, curves, predictions, content)
    return sum(len(block.correct) for block in blocks)


def _seed(
    job: Job,
    seed: int,
    points: list[int],
    sets: list[EvaluationSet],
    rng: np.random.Generator,
    settings: dict,
    limit: int | None,
) -> tuple[list[Block], list[pd.DataFrame]]:
    """Return the predictions and curve rows of one seed, whose curve has these epochs (0: nothing
    was trained); the middle one of them is the best."""
    epochs = points[-1]
    kept = [_best(points), epochs] if epochs else [0]
    blocks = [_block(job, seed, epoch, item, rng) for epoch in kept for item in sets]
    inside = [block for block in blocks if block.item is sets[0]]
    if epochs and inside[0].counts.sum() <= inside[1].counts.sum():
        # The curve must agree with the predictions on which epoch is best.
        at, other = blocks.index(inside[0]), blocks.index(inside[1])
        blocks[at] = replace(inside[1], epoch=kept[0])
        blocks[other] = replace(inside[0], epoch=kept[1])
    whole = {(block.epoch, block.item.name): block.counts for block in blocks}
    limit = row_limit(settings["curve_rows"]) if epochs and limit is None else limit
    curves = []
    for item in sets:
        sample = item.sample(limit) if epochs else item
        best, last = whole[kept[0], item.name], whole[kept[-1], item.name]
        if sample is item:
            counts = {epoch: best // 2 for epoch in points} | {
                kept[0]: best, kept[-1]: last
            }  # fmt: skip
        else:
            half = sample.parts["n"].to_numpy() // 2
            counts = {epoch: half + (epoch == kept[0]) for epoch in points}
            curves.append(_curve(seed, {kept[0]: best, kept[-1]: last}, item, False))
        curves.append(_curve(seed, counts, sample, sample is not item))
    return blocks, curves


def _best(points: list[int]) -> int:
    return points[(len(points) - 1) // 2]


def _block(job: Job, seed: int, epoch: int, item: EvaluationSet, rng: np.random.Generator) -> Block:
    n = len(item.labels)
    chance = 0.55 + 0.2 * rng.random() + 0.1 * (job.cell.method != "in-context")
    correct = rng.random(n, dtype=np.float32) < chance
    sure = rng.random(n, dtype=np.float32) * np.float32(0.4) + np.float32(0.55)
    return Block(seed, epoch, item, correct, sure)


def _curve(seed: int, counts: dict, item: EvaluationSet, sampled: bool) -> pd.DataFrame:
    """Return curve rows: counts gives epoch → right rows by part."""
    parts = {name: np.tile(values, len(counts)) for name, values in _parts(item).items()}
    right = np.concatenate(list(counts.values()))
    return pd.DataFrame(parts).assign(
        seed=seed,
        epoch=np.repeat(list(counts), len(item.parts)),
        evaluation_set=item.name,
        sampled=sampled,
        correct=right,
        correct_vocabulary=right,
        mean_logprob=-0.6,
    )


def _parts(item: EvaluationSet) -> dict[str, np.ndarray]:
    """Return the columns of a set's parts, None for no group and no subset."""
    names = {name: item.parts[name].to_numpy(dtype=object) for name in ("group", "subset")}
    plain = {name: np.where(values == "", None, values) for name, values in names.items()}
    return plain | {name: item.parts[name].to_numpy() for name in ("label", "n")}


def _named(labels: np.ndarray) -> pd.Categorical:
    return pd.Categorical.from_codes(labels.astype(np.int8), stored.LABELS)


def _predictions(block: Block, sets: list[EvaluationSet], points: list[int]) -> pd.DataFrame:
    """Return the predictions of a block (schemas.predictions_schema), without the cell's columns.

    Names are categories: objects would take most of the time of writing.
    """
    item, sure, right = block.item, block.sure, block.correct
    codes = np.full(len(sure), sets.index(item), dtype=np.int8)
    logprobs = stored.answers(right, item.labels, sure)
    return pd.DataFrame(
        {
            "seed": block.seed,
            "epoch": block.epoch,
            "evaluation_set": pd.Categorical.from_codes(codes, [each.name for each in sets]),
            "id": item.sorted_ids,
            "label": item.labels,
            "last": block.epoch == points[-1],
            "best": block.epoch == _best(points),
            "gold": _named(item.labels),
            "predicted": _named(np.where(right, item.labels, 1 - item.labels)),
            "correct": right,
            **{name: values - np.float32(2) for name, values in logprobs.items()},
            "tokens_0": np.int16(1),
            "tokens_1": np.int16(1),
            "logsumexp": np.log(sure) * 3 + 12,
            "argmax_is_label": sure > np.float32(0.6),
        }
    )
