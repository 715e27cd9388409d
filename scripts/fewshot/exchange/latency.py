"""Latency and memory of a finished cell as it would be deployed: of each way to read its prompts,
and with its adapter beside the weights or folded into them.

Nothing is timed before the answers of a way are those of the run. What is timed is reading
tokenized rows, one by one and in full batches, up to the log-probabilities of their label words.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from .. import storage
from ..adaptation.job import batch_tokens_on
from ..adaptation.outputs import device_name
from ..adaptation.weights import trained_bytes
from ..analysis.latency_schema import CACHED, LATENCY, NO_CONTEXT, WHOLE
from ..errors import UserError
from ..models.load import pick_device
from ..models.parts import learned_prefix, virtual_ids
from ..prompts.window import OK
from ..scoring.reader import out_of_memory
from ..scoring.scores import Scores
from .adapted_model import AdaptedModel, RowReading
from .cells import read_finished
from .folding import fold
from .peak_memory import watched
from .ready import Ready, filling, first_rows, ready, shares_context, wait

LOG = logging.getLogger(__name__)

UNMERGED, MERGED, NO_ADAPTER = "unmerged", "merged", ""
"""Where what was trained is: beside the weights; in them; or neither, where nothing was trained, or
a prefix or prompt that stands before the rows."""
EXACT, ROUNDED = 1e-5, 0.1
"""How much a log-probability may differ from the stored one, relative to it beyond 1: in float32,
and in 16 bits, where a folded adapter alone moves some by 0.04."""
SHORT_ROW = 8
"""Tokens of a row at least, by which it is known how many rows may fill a batch."""


def measure(
    told: Mapping, own_weights: bool, rows: int, repeats: int, threads: int
) -> pd.DataFrame:
    """Return a row (latency_schema.LATENCY) for each way in which a finished cell can be deployed.

    `told` is what `study.exchange_inputs.told_job` tells; the first seed that fits is taken. With
    `own_weights` the method trains weights of the model itself. `rows` are read one by one, at
    least as many in full batches, `repeats` times after one pass to warm up. Raises UserError where
    the run was made otherwise than the study says now, where a way has other answers than it, and
    where memory runs out.
    """
    manifest = read_finished(told)
    seeds = {int(seed): entry["status"] for seed, entry in manifest["seeds"].items()}
    fitting = sorted(seed for seed, status in seeds.items() if status == OK)
    if not fitting:
        first = min(seeds)
        return _frame([{**told["cell"], "seed": first, "status": seeds[first]}])
    torch.set_num_threads(threads)
    try:
        model = AdaptedModel(told, fitting[0], start=True)
        gc.collect()  # What it was made from is no memory of its answers.
        cell = _Measured(told, manifest["device"], own_weights, model, rows, repeats)
        return _frame(list(cell.ways()))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise UserError(
            f"{told['folder']}: memory ran out; latencies are measured in one process, on one GPU "
            "if there is any"
        ) from None


class _Measured:
    """A cell whose ways are measured, one after the other, with the same rows."""

    def __init__(
        self, told: Mapping, ran_on: str, own_weights: bool, model: AdaptedModel, rows: int,
        repeats: int,
    ):  # fmt: skip
        self.told, self.ran_on, self.own_weights, self.model = told, ran_on, own_weights, model
        self.rows, self.repeats = rows, repeats
        self.tokens = batch_tokens_on(told["batch_tokens"], pick_device().type)
        prepared = storage.read_rows(told["evaluation"][0]["path"])
        prepared = prepared.head(max(rows, self.tokens // SHORT_ROW))
        self.ids = prepared["id"].to_numpy()
        self.reading = model.reading(prepared)
        self.stored = _stored(told, model.seed)
        # What is trained is known before anything is folded.
        parts = [model.model, model.head] if model.trained else []
        self.trained_bytes = sum(trained_bytes(part) for part in parts if part is not None)

    def ways(self) -> Iterator[dict]:
        """Yield the measures of each way; an adapter that can be is folded at the end, for good."""
        model = self.model.model
        in_front = learned_prefix(model) is not None or virtual_ids(model)
        merging = UNMERGED if self.model.trained and not in_front else NO_ADAPTER
        if self.own_weights:
            merging = MERGED
        yield from self._readings(merging)
        if merging == UNMERGED and fold(model):
            yield from self._readings(MERGED)

    def _readings(self, merging: str) -> Iterator[dict]:
        few = [first_rows(each, 1) for each in self.reading.prompts]
        shared, readings = shares_context(self.model.model, few, self.model.head), [NO_CONTEXT]
        if _shows_shots(self.reading, self.model.trained):
            readings = [CACHED, WHOLE] if shared else [WHOLE]
        for name in readings:
            LOG.info("%s: %s", self.told["folder"], " · ".join(filter(None, (name, merging))))
            yield self._way(name, merging, shared and name != WHOLE)

    def _way(self, name: str, merging: str, shared: bool) -> dict:
        model, reading, device = self.model, self.reading, pick_device()
        one_by_one = min(self.rows, len(self.ids))
        count = max(one_by_one, filling(reading.prompts[0], self.tokens, shared))
        prompts = [first_rows(each, count) for each in reading.prompts]
        with ready(model.model, model.head, reading.job, prompts, name == WHOLE) as way:
            # These passes warm up too. Only the first of a kind tells its own memory: what a full
            # batch has taken may stay with the process.
            with watched(device) as single_peak:
                single = way.one_by_one(one_by_one)
            with watched(device) as full_peak:
                full = way.every()
            difference = self._check(", ".join(filter(None, (name, merging))), single, full)
            alone = self._timed(way.one, range(one_by_one), device)
            passes = self._timed(lambda _: way.every(), range(1), device)
            context = sum(len(each.prefix) for each in prompts)
            own = [len(suffix) for each in prompts for suffix in each.suffixes]
            return {
                **self.told["cell"],
                "seed": model.seed,
                "status": OK,
                "reading": name,
                "merging": merging,
                "restored": model.restored,
                **_machine(device, self.told["model"]["dtype"]),
                "batch_tokens": self.tokens,
                "context_tokens": context,
                "row_tokens": sum(own) / count,
                "difference": difference,
                **_spread("single", alone),
                "single_rows": one_by_one,
                **_spread("batch", passes / count),
                "batch_rows": count,
                "batches": way.batches,
                "splits": way.splits,
                "repeats": self.repeats,
                "memory_kind": single_peak.kind,
                "single_peak_mib": single_peak.mib,
                "single_growth_mib": single_peak.growth_mib,
                "batch_peak_mib": full_peak.mib,
                "batch_growth_mib": full_peak.growth_mib,
                **self._bytes(way, merging, name),
            }

    def _timed(self, read: Callable, rows: range, device: torch.device) -> np.ndarray:
        """Return the milliseconds of each call of `read` [repeats × rows]."""
        seconds = []
        for _ in range(self.repeats):
            for row in rows:
                wait(device)
                start = time.perf_counter()
                read(row)
                wait(device)
                seconds.append(time.perf_counter() - start)
        return 1000 * np.array(seconds)

    def _bytes(self, way: Ready, merging: str, name: str) -> dict:
        """Return the bytes that are read and kept; a folded adapter makes a model of one's own."""
        model, cell = self.model, {"context_bytes": self.reading.context_bytes}
        cell["cache_bytes"] = way.cache_bytes if name == CACHED else 0
        cell["trained_bytes"] = self.trained_bytes
        cell["model_bytes"] = _tensor_bytes(model.model) + _tensor_bytes(model.head)
        folded = merging == MERGED and not self.own_weights
        kept = cell["model_bytes"] if folded else self.trained_bytes
        return {**cell, "kept_bytes": cell["context_bytes"] + cell["cache_bytes"] + kept}

    def _check(self, way: str, single: Scores, full: Scores) -> float:
        """Return the largest difference of log-probabilities, of rows read alone and together, from
        those of the run; where it keeps no weights, of the former from the latter.

        Differences are relative beyond 1. Raises UserError, naming the row, where one is more than
        rounding, or where another label is the best.
        """
        most = EXACT if self.told["model"]["dtype"] == "float32" else ROUNDED
        where = f"{self.told['folder']}: seed {self.model.seed}, {way or 'as it is read'}"
        source = "stored" if self.model.restored else "read beside other rows"
        labels = np.array(self.model.labels)
        count, few = len(full.logprobs), min(self.rows, len(full.logprobs))
        expected = full.logprobs.astype(float)
        answers = labels[full.best_words(self.ids[:count])]
        if self.model.restored:
            stored = self.stored.loc[self.ids[:count]]
            expected = stored.filter(regex=r"^logprob_\d+$").to_numpy(float)
            answers = stored["predicted"].astype(str).to_numpy()
        largest = 0.0
        for scores, rows in ((single, few), (full, count)):
            found = scores.logprobs[:rows].astype(float)
            differences = np.abs(found - expected[:rows]) / np.maximum(1, np.abs(expected[:rows]))
            differences = np.nan_to_num(differences, nan=np.inf)
            best = labels[scores.best_words(self.ids[: len(scores.logprobs)])][:rows]
            other = (best != answers[:rows]) & ~tied(scores.ranking[:rows], most)
            wrong = np.flatnonzero((differences > most).any(axis=1) | other)
            if len(wrong):
                row = wrong[0]
                raise UserError(
                    f"{where}: row {self.ids[row]}: its answer is {best[row]} with "
                    f"{np.round(found[row], 6).tolist()}, not {answers[row]} with "
                    f"{np.round(expected[row], 6).tolist()} as {source}; nothing is timed. "
                    f"{self._help()}"
                )
            largest = max(largest, float(differences.max()))
        return largest

    def _help(self) -> str:
        """Return what to do about another answer than it has to be."""
        here = device_name(pick_device())
        if not self.model.restored:
            return f"Valid: another dtype in models.yaml, or another device than {here}"
        if self.ran_on != here:
            return f"The run was made on {self.ran_on}, here is {here}: measure on such a device"
        return "Remove the run's manifest.json, so that its job runs again"


def tied(ranking: np.ndarray, most: float) -> np.ndarray:
    """Return of each row whether its two best labels may change places, bool [rows].

    `ranking` [rows, labels] is largest for the answer; each value may be off by `most`, relative to
    it beyond 1.
    """
    second, first = np.sort(ranking, axis=1)[:, -2:].T
    rounding = most * (np.maximum(1, np.abs(first)) + np.maximum(1, np.abs(second)))
    return first - second < rounding


def _stored(told: Mapping, seed: int) -> pd.DataFrame:
    """Return a run's predictions of its own evaluation set after its last epoch, by id."""
    frame = storage.read_table(Path(told["folder"], "predictions.parquet"))
    own = frame["evaluation_set"] == told["evaluation"][0]["set"]
    return frame[frame["last"] & own & (frame["seed"] == seed)].set_index("id")


def _shows_shots(reading: RowReading, trained: bool) -> bool:
    """Return whether rows are read behind shots, in context or as training saw them."""
    shown = not trained or reading.job.settings.get("score_context", False)
    return bool(shown and reading.job.shots)


def _tensor_bytes(part: nn.Module | None) -> int:
    """Return the bytes of a module's parameters and buffers, tied ones once."""
    if part is None:
        return 0
    tensors = {each.data_ptr(): each for each in part.state_dict().values()}
    return sum(each.numel() * each.element_size() for each in tensors.values())


def _spread(name: str, milliseconds: np.ndarray) -> dict[str, float]:
    """Return the median and the quartiles of milliseconds per row."""
    low, median, high = np.quantile(milliseconds, [0.25, 0.5, 0.75])
    return {f"{name}_ms": median, f"{name}_ms_low": low, f"{name}_ms_high": high}


def _machine(device: torch.device, dtype: str) -> dict:
    """Return what answers were computed on."""
    return {"device": device_name(device), "threads": torch.get_num_threads(), "dtype": dtype}


def _frame(rows: list[dict]) -> pd.DataFrame:
    """Return rows with all columns; what one lacks is null."""
    frame = pd.DataFrame(rows).reindex(columns=LATENCY.names).astype(object)
    return frame.where(frame.notna(), None)
