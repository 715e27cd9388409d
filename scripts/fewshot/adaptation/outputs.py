"""From scores to what a run stores: row predictions, counts per epoch, and the manifest."""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import schemas, storage
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..runtime import peaks

if TYPE_CHECKING:
    import torch

    from ..prompts.tokenize import Prompts
    from ..runtime.resume import FinishedSeed
    from ..scoring.scores import Scores
    from ..scoring.states import States
    from .batches import TrainingRows
    from .job import AdaptationJob

PACKAGES = (
    *("bm25s", "deepspeed", "numpy", "pandas", "peft", "pyarrow", "safetensors", "scikit-learn"),
    *("snakemake", "tokenizers", "torch", "transformers"),
)
"""Packages whose versions a manifest has."""


def prompt_tokens(prompts: "Prompts", scores: "Scores | States") -> dict[str, int]:
    """Return how long the prompts of an evaluation set are.

    In tokens: `shared_tokens` is the prefix of all rows, `own_tokens` the sum of what rows have
    behind it and `own_squares` that of the squares; `tokens_read` is what the scorer read, to
    which rows that begin alike count a common part once. With channel scoring a row has several
    `prompts`, all counted, and `answers` tokens of texts are asked for, not one for each prompt.
    """
    shared = len(prompts.prefix)
    own = [length - shared for length in prompts.lengths]
    answers = sum(len(text) for (text,) in prompts.words) if prompts.per_row > 1 else 0
    return {
        "rows": len(own) // prompts.per_row,
        **({"prompts": len(own), "answers": answers} if answers else {}),
        "shared_tokens": shared,
        "own_tokens": sum(own),
        "own_squares": sum(length**2 for length in own),
        "longest_tokens": shared + max(own),
        "tokens_read": scores.tokens_read,
    }


def training_tokens(rows: "TrainingRows", epochs: int, learned_keys: int) -> dict[str, int]:
    """Return what was trained on in each of the epochs: rows, their tokens, unpadded, how many
    tokens of answers were asked for, where these are not one for each row, and how often each row
    was read, where that is not once.

    `learned_keys` stand before every row in each layer (prefix tuning); virtual tokens of a prompt
    count as its own.
    """
    count, readings = rows.lengths.shape
    answers = int(rows.tokens.sum())
    return {
        "epochs": epochs,
        "rows": count,
        "tokens": int(rows.lengths.sum()),
        "squares": int((rows.lengths**2).sum()),
        "learned_keys": learned_keys,
        **({"answers": answers} if answers != count else {}),
        **({"readings": readings} if readings > 1 else {}),
    }


class Phases:
    """Seconds spent in named phases; entering one again adds to it."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to phase `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@contextmanager
def measured_together(parts: Sequence[Phases], name: str) -> Iterator[None]:
    """Add the time that the block takes to phase `name`, an equal part to each of `parts`."""
    whole = Phases()
    try:
        with whole.measure(name):
            yield
    finally:
        for each in parts:
            each.seconds[name] = each.seconds.get(name, 0.0) + whole.seconds[name] / len(parts)


def prediction_frame(
    cell: dict, seed: int, epoch: int, item: EvaluationSet, scores: "Scores"
) -> pd.DataFrame:
    """Return one prediction (schemas.predictions_schema) per row of an evaluation set, without the
    columns that `mark_epochs` adds.

    `scores` are those of its rows, in the same order. Raises UserError, naming the row, where a
    score is not a number.
    """
    _check_scores(cell, seed, item, scores)
    ids, gold = item.rows["id"].to_numpy(), item.rows["label"].to_numpy()
    predicted = np.asarray(item.merge)[scores.best_words(ids)]
    names = np.array(item.label_names, dtype=object)
    words = {f"logprob_{i}": scores.logprobs[:, i] for i in range(scores.logprobs.shape[1])}
    columns = {**cell, "seed": seed, "epoch": epoch, "evaluation_set": item.name}
    tokens = {f"tokens_{i}": scores.tokens[:, i] for i in range(scores.tokens.shape[1])}
    columns |= {"id": ids, "label": gold, "gold": names[gold], "predicted": names[predicted]}
    columns |= {"correct": predicted == gold, **words, **tokens}
    columns |= {"logsumexp": scores.logsumexp, "argmax_is_label": scores.argmax_is_label}
    return pd.DataFrame(columns)


def mark_epochs(predictions: pd.DataFrame, last: int, best: int) -> pd.DataFrame:
    """Return the predictions of a seed with columns that tell which are of its `last` epoch and
    which of the one that is `best` on its curve: known once all epochs are scored."""
    epoch = predictions["epoch"]
    return predictions.assign(last=epoch == last, best=epoch == best)


def curve_frame(
    cell: dict, seed: int, epoch: int, item: EvaluationSet, scores: "Scores", sampled: bool = False
) -> pd.DataFrame:
    """Return the counts (schemas.CURVES) of one epoch and evaluation set, by part.

    `item` is the set, or the curve's sample of it where `sampled`. The prediction is the label word
    that ranks highest (`patterns.best_words`), mapped through the set's `merge`; a gold label's
    probability is the sum over the words that count as it. Raises UserError as `prediction_frame`
    does.
    """
    _check_scores(cell, seed, item, scores)
    gold, counted = item.rows["label"].to_numpy(), np.asarray(item.merge)
    correct = counted[scores.best_words(item.rows["id"].to_numpy())] == gold
    is_gold = counted[None, :] == gold[:, None]
    logprobs = np.where(is_gold, scores.logprobs.astype(np.float64), -np.inf)
    part, n = item.row_parts.of, item.row_parts.sizes

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(part, weights=values, minlength=len(n))

    vocabulary = np.full(len(n), np.nan)
    if scores.argmax_is_label is not None:
        vocabulary = total(correct & scores.argmax_is_label).astype(np.int64)
    counts = {
        "n": n,
        "correct": total(correct).astype(np.int64),
        "correct_vocabulary": vocabulary,
        "mean_logprob": total(np.logaddexp.reduce(logprobs, axis=1)) / n,
    }
    run = {**cell, "seed": seed, "epoch": epoch, "evaluation_set": item.name, "sampled": sampled}
    keys = item.row_parts.keys.astype(object)
    keys = keys.where(keys != "", None).astype({"label": "int16"})
    return keys.assign(**run, **counts)[schemas.CURVES.names]


def content_free_facts(
    job: "AdaptationJob", seed: int, scores: "Mapping[int, Scores]"
) -> dict[str, dict]:
    """Return for the manifest what label words of inputs without content are ranked by: epoch →
    input → words; nothing where none were scored. Raises UserError as `prediction_frame` does."""
    texts, facts = job.content_free.rows["text_a"], {}
    for epoch, found in sorted(scores.items()):
        _check_scores(job.cell, seed, job.content_free, found)
        facts[str(epoch)] = dict(zip(texts, found.ranking.tolist(), strict=True))
    return {"content_free": facts} if facts else {}


def _check_scores(cell: dict, seed: int, item: EvaluationSet, scores: "Scores") -> None:
    if len(item.rows) != len(scores.logprobs):
        raise ValueError(
            f"set '{item.name}' has {len(item.rows)} rows but {len(scores.logprobs)} scores"
        )
    normaliser = 0.0 if scores.logsumexp is None else scores.logsumexp
    wrong = np.flatnonzero(np.isnan(scores.logprobs).any(axis=1) | np.isnan(normaliser))
    if len(wrong):
        raise UserError(
            f"{'/'.join(map(str, cell.values()))}: seed {seed}, set '{item.name}', row with id "
            f"{item.rows['id'].iloc[wrong[0]]}: the score is not a number ({len(wrong)} such rows)"
        )


def process_facts(model, trainable: Sequence[str] = ()) -> dict:
    """Return the facts of a process for the manifest: device, dtype, parameters, peak memory.

    `trainable` names the parameters that are trained. Memory is in MiB: the GPU's, as allocated by
    PyTorch, or the process's resident memory on a CPU.
    """
    from ..models.parts import element_count

    parameters = dict(model.named_parameters())
    device = next(iter(parameters.values())).device
    return host_facts(device) | {
        "parameters": {
            "total": sum(map(element_count, parameters.values())),
            "trainable": sum(element_count(parameters[name]) for name in trainable),
            "modules": sorted({name.rpartition(".")[0] for name in trainable}),
        },
    }


def device_name(device: "torch.device | None" = None) -> str:
    """Return the kind and the name of a device; without one, of the processor."""
    if device is None or device.type != "cuda":
        return f"cpu: {platform.machine()}"
    import torch

    return f"cuda: {torch.cuda.get_device_name(device)}"


def host_facts(device: "torch.device | None" = None) -> dict:
    """Return a device, without one the processor, and the peak memory (MiB) there."""
    peak = peaks.peak(device) / 2**20
    return {"device": device_name(device), "peak_memory_mib": round(peak, 1)}


def manifest(job: "AdaptationJob", seeds: dict[int, "FinishedSeed"]) -> dict:
    """Return a run's manifest: its cell, settings, inputs, environment and each seed's facts."""
    infos = [seeds[seed].info for seed in sorted(seeds)]
    facts = infos[0]["facts"] if infos else {}
    peak = max((info["facts"]["peak_memory_mib"] for info in infos), default=None)
    phases = sorted({phase for info in infos for phase in info["seconds"]})
    return {
        **job.cell,
        "seeds": {str(seed): _seed_entry(job.status[seed], seeds.get(seed)) for seed in job.seeds},
        "settings": job.settings,
        "batch_tokens": job.batch_tokens,
        "placement": asdict(job.placement),
        "code": job.code,
        "packages": _packages(),
        "python": platform.python_version(),
        "device": facts.get("device"),
        "dtype": job.model["dtype"],
        "threads": job.threads,
        "world_size": job.processes.size,
        "checksums": job.checksums,
        "parameters": facts.get("parameters"),
        "peak_memory_mib": peak,
        "memory": {
            "predicted_gpu_mib": round(job.predicted_gpu_mb * 1e6 / 2**20, 1) or None,
            "measured_gpu_mib": peak if str(facts.get("device")).startswith("cuda") else None,
        },
        "seconds": {
            phase: round(sum(info["seconds"].get(phase, 0.0) for info in infos), 3)
            for phase in phases
        },
    }


def _seed_entry(status: str, seed: "FinishedSeed | None") -> dict:
    if seed is None:
        return {"status": status}
    common = ("device", "parameters")
    facts = {key: value for key, value in seed.info["facts"].items() if key not in common}
    seconds = {phase: round(value, 3) for phase, value in seed.info["seconds"].items()}
    return {"status": status, "seconds": seconds, **facts}


def _packages() -> dict[str, str]:
    installed = {package.metadata["Name"] for package in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in installed}


def write_run(job: "AdaptationJob", seeds: dict[int, "FinishedSeed"]) -> None:
    """Write predictions, curves and, last, the manifest of a job from its finished seeds.

    A seed that does not fit has no rows. Raises ValueError, before anything is written, unless
    every evaluation row has exactly one prediction per seed and kept epoch.
    """
    schema = schemas.predictions_schema(len(job.labels))
    predictions = _together([seed.frames["predictions"] for seed in seeds.values()], schema.names)
    curves = _together([seed.frames["curves"] for seed in seeds.values()], schemas.CURVES.names)
    _check_complete(job, seeds)
    ranks = schemas.ranking_metadata(job.pattern.rank_by, job.pattern.characters)
    storage.write_table(job.output.predictions, predictions, schema, **ranks)
    storage.write_table(job.output.curves, curves, schemas.CURVES)
    tables = [job.output.predictions, job.output.curves]
    if job.elsewhere:
        measured = [seed.frames["forgetting"] for seed in seeds.values()]
        rows = _together(measured, schemas.FORGETTING.names)
        storage.write_table(job.output.forgetting, rows, schemas.FORGETTING)
        tables.append(job.output.forgetting)
    files = storage.checksums_of(*tables)
    storage.write_json(job.output.manifest, {**manifest(job, seeds), "files": files})


def _together(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _check_complete(job: "AdaptationJob", seeds: dict[int, "FinishedSeed"]) -> None:
    ids = {item.name: item.sorted_ids for item in job.evaluation}
    for number, seed in seeds.items():
        frame = seed.frames["predictions"]
        for epoch in frame["epoch"].unique() if len(frame) else [0]:
            of_epoch = frame[frame["epoch"] == epoch]
            for name, expected in ids.items():
                predicted = np.sort(
                    of_epoch.loc[of_epoch["evaluation_set"] == name, "id"].to_numpy()
                )
                if not np.array_equal(predicted, expected):
                    raise ValueError(
                        f"{job.name}: seed {number}, epoch {epoch}, set '{name}': {len(predicted)} "
                        f"predictions for {len(expected)} rows, or not one for each"
                    )
