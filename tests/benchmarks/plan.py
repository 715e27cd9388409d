"""What the benchmark measures, in which order, and how each measurement becomes a row."""

import logging
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from fewshot.models.tokenizer import load_tokenizer
from fewshot.storage import write_table

from . import apart, cases, shapes
from .report import SCHEMA, frame

LOG = logging.getLogger(__name__)

REFERENCE = "transformers-full"
SLOW = (REFERENCE, "transformers-cache", "lm-eval")
SLOW_TOKENS, SLOW_LEAST = 4000, 4
"""Tokens of the prompts that slow systems are timed on, about, and rows at least."""
BATCHES = {
    "cpu": {REFERENCE: 2048, "transformers-cache": 1024, "lm-eval": 1024},
    "cuda": {REFERENCE: 65536, "transformers-cache": 131072, "lm-eval": 65536},
}
"""Tokens of whole prompts in a batch; on a CPU the best of a few for each system, which is one row
where prompts are long."""
MNLI_SHOTS = 32
"""Shots from which on MNLI, whose texts are short, is measured as well."""


@dataclass(frozen=True)
class Settings:
    """The options of the command line that measurements depend on; see `bench_scorer.parse`."""

    tasks: list[str]
    dtype: list[str]
    device: str
    threads: int
    repeats: int
    seconds: float
    rows: int
    slow_rows: int
    all_rows: bool
    batch_tokens: int
    lm_eval_batch: int
    data: Path
    tokenizers: Path
    scratch: Path
    out: Path


@dataclass
class Bench:
    """Runs measurements one after the other, each in its own process, and collects their rows."""

    settings: Settings
    found: list[dict] = field(default_factory=list)

    def run(self, models: list[str], ks: list[int]) -> list[dict]:
        """Return the rows of report.SCHEMA; every file that is needed is looked for first."""
        tokenizers = {name: self._tokenizer(name) for name in models}
        for model in models:
            for k in ks:
                for task in self._tasks(k):
                    self._compare(model, tokenizers[model], task, k)
        return self.found

    def _tasks(self, k: int) -> list[str]:
        return [task for task in self.settings.tasks if task != "mnli" or k >= MNLI_SHOTS]

    def _tokenizer(self, model: str) -> Path:
        settings = self.settings
        family = shapes.family(model)
        return cases.tokenizer_manifest(settings.tokenizers, family, settings.scratch)

    def _compare(self, model: str, manifest: Path, task: str, k: int) -> None:
        """Measure all systems on the rows of one task behind k shots."""
        case = cases.make_case(self.settings.data, load_tokenizer(manifest), task, k)
        if case.status != "ok":
            self._add("fairshot", model, self.settings.dtype[0], case, {})
            return
        case = case.take(cases.stratified(case.lengths, self.settings.rows))
        sample = self._sample(case)
        reference = None
        first, *others = self.settings.dtype
        if first != "float32":
            part = case.take(sample)
            reference = self._measure(REFERENCE, model, "float32", manifest, part, repeats=1)
        runs = [(first, system) for system in (*SLOW, "fairshot")]
        runs += [(dtype, "fairshot") for dtype in others]
        for dtype, system in runs:
            rows = sample if system in SLOW else list(range(len(case.texts)))
            mine = case.take(rows)
            found = self._measure(system, model, dtype, manifest, mine)
            reference = reference or found
            at = [rows.index(row) for row in sample]
            found |= _difference(np.array(found["logprobs"])[at], reference["logprobs"])
            self._add(system, model, dtype, mine, found)

    def _sample(self, case: cases.Case) -> list[int]:
        settings, everything = self.settings, len(case.texts)
        mean = sum(case.lengths) / everything
        count = settings.slow_rows or max(SLOW_LEAST, round(SLOW_TOKENS / mean))
        return cases.stratified(case.lengths, everything if settings.all_rows else count)

    def _measure(
        self,
        system: str,
        model: str,
        dtype: str,
        manifest: Path,
        case: cases.Case,
        repeats: int | None = None,
    ) -> dict:
        """Run `worker.measure` in a process of its own and return what it found."""
        settings = self.settings
        job = {
            "system": system,
            "model": model,
            "dtype": dtype,
            "device": settings.device,
            "threads": settings.threads,
            "tokenizer": str(manifest),
            "pattern": asdict(case.pattern),
            "context": case.context,
            "texts": case.texts,
            "batch": self._batch(system, case),
            "repeats": repeats or settings.repeats,
            "seconds": settings.seconds,
        }
        found = apart.run("worker", job, settings.scratch)
        rate = len(case.texts) / statistics.median(found["seconds"])
        LOG.info(
            "%s, %s, %s, %s, k = %s: %.2f rows/s", model, dtype, system, case.task, case.k, rate
        )
        unit = "tokens" if system in ("fairshot", REFERENCE) else "rows"
        batch = f"{job['batch']} {unit}"
        return {**found, "rows_per_s": rate, "batch": batch, "passes": len(found["seconds"])}

    def _batch(self, system: str, case: cases.Case) -> int:
        """Return the size of a batch, in the unit that `systems.Job` states."""
        settings = self.settings
        if system == "fairshot":
            return settings.batch_tokens or cases.study_batch_tokens(settings.device)
        if system == "lm-eval" and settings.lm_eval_batch:
            return settings.lm_eval_batch
        tokens = BATCHES[settings.device][system]
        mean = sum(case.lengths) / len(case.lengths)
        return tokens if system == REFERENCE else max(1, round(tokens / mean))

    def _add(self, system: str, model: str, dtype: str, case: cases.Case, found: dict) -> None:
        """Append one row of the table; without measurements for prompts that do not fit."""
        self.found.append(
            {"rows": 0, "passes": 0, **found}
            | {"system": system, "model": model, "dtype": dtype}
            | {"device": self.settings.device, "threads": self.settings.threads}
            | {"task": case.task, "k": case.k, "seed": case.seed, "status": case.status}
            | {"shared": case.shared, "longest": max(case.lengths)}
            | ({"rows": len(case.texts)} if found else {})
        )
        # After every measurement: a run that is stopped leaves what it has.
        write_table(self.settings.out, frame(self.found), SCHEMA)


def _difference(found: np.ndarray, reference: list) -> dict:
    """Compare log-probabilities [rows, labels] of the same rows."""
    expected = np.array(reference)
    same = found.argmax(axis=1) == expected.argmax(axis=1)
    difference = float(np.abs(found - expected).max())
    return {"max_abs_diff": difference, "same_predictions": bool(same.all())}
