"""From logs of lm-evaluation-harness to a run like any other: predictions, curves, manifest."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .. import schemas, storage
from ..adaptation import outputs
from ..data.evaluation_sets import EvaluationSet
from ..errors import UserError
from ..prompts.patterns import Pattern, ranking
from .lm_eval_logs import Expected, Logged, read_log

LOG = logging.getLogger(__name__)

SOURCE = "lm-evaluation-harness"
EPOCH = 0
"""Nothing was trained here."""


@dataclass(frozen=True)
class Seed:
    """One seed's logs: `logs[i]` is about `expected[i]`."""

    number: int
    logs: tuple[str, ...]
    expected: tuple[Expected, ...]


@dataclass(frozen=True)
class _Counts:
    """What counting reads of scores; the normaliser, which no log tells, is not among it."""

    logprobs: np.ndarray
    argmax_is_label: np.ndarray

    @property
    def logsumexp(self) -> np.ndarray:
        return np.zeros(len(self.logprobs))

    @property
    def ranking(self) -> np.ndarray:
        return ranking(self.logprobs, np.ones_like(self.logprobs), "sum")


def expect(
    pattern: Pattern,
    evaluation: Sequence[dict],
    rows: dict[str, pd.DataFrame],
    seeds: Sequence[int],
    shots: dict[int, pd.DataFrame],
    logs: Sequence[str],
    prompts: str,
) -> list[Seed]:
    """Return what each seed's logs must be about.

    `evaluation` has set and merge of each evaluation set, `rows` their prepared rows, `shots` the
    stored draw of each seed, if prompts are to show it. `logs` are ordered by seed, then by set.
    """
    found = []
    for place, seed in enumerate(seeds):
        draw = shots.get(seed, pd.DataFrame(columns=["label", "text_a", "text_b"]))
        texts = zip(draw["label"], draw["text_a"], draw["text_b"], strict=True)
        context = pattern.context([(int(label), a, b) for label, a, b in texts])
        expected = tuple(
            Expected(each["set"], rows[each["set"]], each["merge"], pattern, context, prompts)
            for each in evaluation
        )
        start = place * len(expected)
        found.append(Seed(seed, tuple(logs[start : start + len(expected)]), expected))
    return found


def write_run(
    folder: str | Path, cell: dict, seeds: Sequence[Seed], about: dict, checksums: dict
) -> None:
    """Read the logs of a cell and write its run folder, the manifest last.

    `about` has code, parameters and prompts, as the manifest wants them. Raises UserError for a
    log that is not of this cell, or not of exactly its rows.
    """
    predictions, curves, entries = [], [], {}
    for seed in seeds:
        facts = {}
        for log, expected in zip(seed.logs, seed.expected, strict=True):
            facts[expected.name] = describe(log, cell, seed.number, expected.name)
            logged = read_log(log, expected)
            predictions.append(_predictions(cell, seed.number, expected, logged))
            curves.append(_curve(cell, seed.number, expected, logged))
            LOG.info("seed %d, set '%s': %d rows of %s", seed.number, expected.name,
                     len(expected.rows), log)  # fmt: skip
        entries[str(seed.number)] = {"status": "ok", "seconds": {}, "logs": facts}
    schema = schemas.predictions_schema(len(seeds[0].expected[0].pattern.words))
    rank_by = {schemas.RANK_BY: seeds[0].expected[0].pattern.rank_by}
    folder = Path(folder)
    frame = pd.concat(predictions, ignore_index=True)
    storage.write_table(folder / "predictions.parquet", frame, schema, **rank_by, source=SOURCE)
    frame = pd.concat(curves, ignore_index=True)
    storage.write_table(folder / "curves.parquet", frame, schemas.CURVES)
    storage.write_json(folder / "manifest.json", _manifest(cell, entries, about, checksums))


def describe(log: str, cell: dict, seed: int, name: str) -> dict:
    """Return what is known of a log: its checksum, and what the results beside it say.

    The harness writes results_<date>.json beside samples_<task>_<date>.jsonl. Raises UserError
    where these say that another number of shots was shown, or that the task is another cell's.
    """
    path = Path(log)
    facts = {"file": path.name, "sha256": storage.sha256(path)}
    task, _, date = path.stem.removeprefix("samples_").rpartition("_")
    results = path.with_name(f"results_{date}.json")
    if not results.exists():
        return facts
    content = storage.read_json(results)
    shots = content.get("n-shot", {}).get(task)
    if shots is not None and shots != cell["k"]:
        raise UserError(f"{results}: task '{task}' was shown {shots} shots, not k = {cell['k']}")
    metadata = content.get("configs", {}).get(task, {}).get("metadata") or {}
    told = metadata.get("fairshot", {}) if isinstance(metadata, dict) else {}
    ours = {**cell, "seed": seed, "evaluation_set": name}
    for key, value in told.items():
        if ours.get(key) != value:
            raise UserError(f"{results}: task '{task}' has {key} {value}, not {ours.get(key)}")
    config = content.get("config", {})
    return facts | {
        "harness_task": task,
        "model_name": content.get("model_name"),
        "model_args": config.get("model_args"),
        "model_sha": config.get("model_sha"),
        "dtype": config.get("model_dtype"),
        "fewshot_seed": config.get("fewshot_seed"),
        "lm_eval": content.get("lm_eval_version"),
        "transformers": content.get("transformers_version"),
    }


def _predictions(cell: dict, seed: int, expected: Expected, logged: Logged) -> pd.DataFrame:
    words = range(logged.logprobs.shape[1])
    # Where no word was the most probable text, a word's first token may still have been.
    told = np.where(logged.greedy.any(axis=1), True, None)
    rows = {"id": expected.rows["id"].to_numpy(), "label": expected.rows["label"].to_numpy()}
    return pd.DataFrame(
        {
            **cell,
            "seed": seed,
            "epoch": EPOCH,
            "evaluation_set": expected.name,
            **rows,
            **{f"logprob_{i}": logged.logprobs[:, i] for i in words},
            **{f"tokens_{i}": None for i in words},
            "logsumexp": None,
            "argmax_is_label": told,
        }
    )


def _curve(cell: dict, seed: int, expected: Expected, logged: Logged) -> pd.DataFrame:
    """Return the counts; those over the vocabulary only where they are the same whatever the logs
    do not tell."""
    certain = logged.greedy.any(axis=1)
    least, most = (
        outputs.curve_frame(
            cell, seed, EPOCH, EvaluationSet(expected.name, expected.merge, expected.rows),
            _Counts(logged.logprobs, told),
        )
        for told in (certain, np.ones_like(certain))
    )  # fmt: skip
    counts = least["correct_vocabulary"].astype("float64")
    return least.assign(correct_vocabulary=counts.mask(counts != most["correct_vocabulary"]))


def _manifest(cell: dict, entries: dict, about: dict, checksums: dict) -> dict:
    """Return the manifest; what it cost is not known here."""
    logs = [log for entry in entries.values() for log in entry["logs"].values()]
    versions = {
        name: sorted({str(log[name]) for log in logs if log.get(name)})
        for name in ("lm_eval", "transformers")
    }
    dtypes = sorted({str(log["dtype"]) for log in logs if log.get("dtype")})
    return {
        **cell,
        "seeds": entries,
        "source": SOURCE,
        "settings": {"family": "imported", "prompts": about["prompts"]},
        "code": about["code"],
        "packages": {name: ", ".join(found) for name, found in versions.items() if found},
        "python": None,
        "device": f"elsewhere ({SOURCE})",
        "dtype": ", ".join(dtypes).removeprefix("torch.") or None,
        "threads": None,
        "world_size": None,
        "checksums": checksums,
        "parameters": {"total": about["parameters"], "trainable": 0, "modules": []},
        "peak_memory_mib": None,
        "seconds": {},
    }
