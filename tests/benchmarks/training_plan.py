"""What the training benchmark measures, in which order, and how measurements become rows."""

import logging
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from fewshot import schemas, storage
from fewshot.models.tokenizer import load_tokenizer

from . import apart, cases, shapes
from .trainers import PADDED
from .training_report import OURS, SCHEMA, frame

LOG = logging.getLogger(__name__)

TASK, OTHER = "rte", "hans"
PATTERN = "minimal"
METHOD = "pattern-ft"


@dataclass(frozen=True)
class Settings:
    """The options of the command line that measurements depend on; see `bench_training.parse`."""

    dtype: list[str]
    epochs: int
    learning_rate: float
    device: str
    threads: int
    repeats: int
    seconds: float
    rows: int
    hans_rows: int
    batch_tokens: int
    data: Path
    tokenizers: Path
    scratch: Path
    out: Path


@dataclass
class Bench:
    """Runs measurements one after the other, each in its own process, and collects their rows."""

    settings: Settings
    found: list[dict] = field(default_factory=list)

    def run(self, models: list[str], ks: list[int], systems: list[str]) -> list[dict]:
        """Return the rows of training_report.SCHEMA.

        fairshot comes first: the others are compared with it. Every file that is needed, and every
        draw, is looked for before anything is measured.
        """
        jobs = [self._job(model, k) for model in models for k in ks]
        for dtype in self.settings.dtype:
            for job, about in jobs:
                reference = None
                for system in [OURS, *(name for name in systems if name != OURS)]:
                    found = apart.run(
                        "training_worker",
                        {**job, "system": system, "dtype": dtype},
                        self.settings.scratch,
                    )
                    reference = reference or found
                    self._add(system, job, {**about, "dtype": dtype}, found, reference)
        return self.found

    def _job(self, model: str, k: int) -> tuple[dict, dict]:
        """Return what a worker reads, but for system and dtype, and the columns about it."""
        settings, family = self.settings, shapes.family(model)
        manifest = cases.tokenizer_manifest(settings.tokenizers, family, settings.scratch)
        tokenizer, pattern = load_tokenizer(manifest), cases.bound_pattern(TASK, PATTERN)
        folder = settings.data
        seed, shots = cases.draw_within(folder, tokenizer, pattern, TASK, k, PADDED)
        method = {
            **cases.method_settings(METHOD),
            "epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
        }
        about = {
            **{name: getattr(settings, name) for name in ("device", "threads", "epochs")},
            **{"model": model, "k": k, "seed": seed},
            **{name: method[name] for name in ("batch_size", "learning_rate")},
            "longest": max(cases.query_lengths(tokenizer, pattern, shots)),
        }
        files = {"shots": shots}
        for name, task, count, column in (
            ("own", TASK, settings.rows, "rows"),
            ("other", OTHER, settings.hans_rows, "hans_rows"),
        ):
            files[name] = cases.spread_rows(folder, tokenizer, pattern, task, count, PADDED)
            about[column] = len(files[name])
        job = {
            **{name: about[name] for name in ("model", "seed", "device", "threads")},
            **{name: self._write(f"{model}-{k}-{name}", rows) for name, rows in files.items()},
            **{name: getattr(settings, name) for name in ("repeats", "seconds")},
            "task": TASK,
            "settings": method,
            "pattern": asdict(pattern),
            "tokenizer": str(manifest),
            "batch_tokens": settings.batch_tokens or cases.study_batch_tokens(settings.device),
            "scratch": str(settings.scratch),
        }
        return job, about

    def _write(self, name: str, rows: pd.DataFrame) -> str:
        path = self.settings.scratch / f"{name}.parquet"
        storage.write_table(path, rows, schemas.ROWS)
        return str(path)

    def _add(self, system: str, job: dict, about: dict, found: dict, reference: dict) -> None:
        """Store a measurement as a row, and log it."""
        row = {**about, "system": system, **summarise(found, reference, about)}
        self.found.append(row)
        LOG.info(
            "%s, %s, k = %d, %s: %.3f s/step, %.1f RTE and %.1f HANS rows/s",
            *(about["model"], about["dtype"], about["k"], system, row["step_s"]),
            *(row["eval_rows_per_s"], row["hans_rows_per_s"]),
        )
        # After every measurement: a run that is stopped leaves what it has.
        storage.write_table(self.settings.out, frame(self.found), SCHEMA)


def summarise(found: dict, reference: dict, about: dict) -> dict:
    """Return the measured columns of a row from what a worker found and what fairshot's found."""
    trained, scored = statistics.median(found["train"]), statistics.median(found["score"])
    return {
        "step_s": trained / found["steps"],
        "eval_rows_per_s": found["scored_rows"] / scored,
        "hans_rows_per_s": about["hans_rows"] / statistics.median(found["other"]),
        "evaluation_share": scored / (trained + scored),
        "peak_mib": found["peak_mib"],
        "losses": found["losses"],
        "final_loss": found["losses"][-1],
        "loss_diff": _furthest(found["losses"], reference["losses"]),
        "logprob_diff": _furthest(found["logprobs"], reference["logprobs"]),
        "steps": found["steps"],
        "passes": len(found["train"]),
    }


def _furthest(one: list, other: list) -> float:
    return float(np.abs(np.array(one) - np.array(other)).max())
