"""The seeds of an adaptation job: each is run once and kept, then all are assembled."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from .. import storage
from ..models.files import verify_files
from ..runtime.resume import STATE, FinishedSeed, SeedStore
from . import outputs
from .job import AdaptationJob

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeedResult:
    """What a method gives for one seed.

    `predictions` and `curves` have the columns of `schemas`; `facts` describe the process for the
    manifest (device, parameters, …), `seconds` are per phase; `files` writes the adapters.
    `forgetting` (schemas.FORGETTING) is measured outside the task, where a study does so.
    `content_free` has the counts (`outputs.prompt_tokens`) of inputs without content by epoch, of
    which the manifests of folds alone tell.
    """

    predictions: pd.DataFrame
    curves: pd.DataFrame
    facts: dict
    seconds: dict[str, float]
    files: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    forgetting: pd.DataFrame | None = None
    content_free: dict[str, dict] = field(default_factory=dict)


Runner = Callable[[Sequence[int]], Iterable[tuple[int, SeedResult]]]
"""Runs some seeds of a job, and gives each with its result as soon as that is there."""


def one_by_one(run: Callable[[int], SeedResult]) -> Runner:
    """Return the function of some seeds that runs each of them by the function of one."""
    return lambda seeds: ((seed, run(seed)) for seed in seeds)


def run_seeds(
    job: AdaptationJob, start: Callable[[SeedStore | None], Callable[[int], SeedResult]]
) -> None:
    """Do as `run_stacks` with `start` that returns the function of one seed."""
    run_stacks(job, lambda store: one_by_one(start(store)))


def run_stacks(job: AdaptationJob, start: Callable[[SeedStore | None], Runner]) -> None:
    """Run the seeds that are not finished yet, then write the job's outputs.

    `start` loads what all seeds share and returns the function of those that are left to do; it is
    called only where there are any, in the first process with the store. A seed that does not fit
    gives no rows and is named in the manifest.
    """
    fitting = [seed for seed in job.seeds if job.status[seed] == "ok"]
    first = job.processes.rank == 0
    job.processes.connect()
    owner = {"run": str(Path(job.output.manifest).parent), "model": job.cell["model"]}
    with SeedStore.open(STATE, job.fingerprint, owner) if first else nullcontext() as store:
        todo = job.processes.broadcast(
            [seed for seed in fitting if not store.has(seed)] if first else []
        )
        LOG.info("%s: %d of %d seeds to do, %d do not fit", job.name, len(todo), len(job.seeds),
                 len(job.seeds) - len(fitting))  # fmt: skip
        if todo and first and job.model_manifest:
            verify_files(job.model_manifest)
        results, begin = start(store)(todo) if todo else (), time.perf_counter()
        for number, (seed, result) in enumerate(results, 1):
            if first:
                save_result(store, seed, result)
            LOG.info("%s: seed %d done (%d of %d) after %.1f s", job.name, seed, number, len(todo),
                     time.perf_counter() - begin)  # fmt: skip
        if first:
            _assemble(job, {seed: store.load(seed) for seed in fitting})
            store.discard()
    job.processes.disconnect()


def save_result(store: SeedStore, seed: int | str, result: SeedResult) -> None:
    """Store what a method gives for a seed, or for a part of one, by its name."""
    frames = {"predictions": result.predictions, "curves": result.curves}
    frames |= {} if result.forgetting is None else {"forgetting": result.forgetting}
    info = {"facts": result.facts, "seconds": result.seconds, "content_free": result.content_free}
    store.save(seed, frames, info, result.files)


def _assemble(job: AdaptationJob, seeds: dict[int, FinishedSeed]) -> None:
    """Write the outputs from the stored seeds: the same bytes whether or not one was resumed."""
    folder = getattr(job.output, "adapters", None)
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for seed in seeds.values():
        for name, path in seed.files.items():
            with storage.atomic(Path(folder, name)) as partial:
                partial.write_bytes(path.read_bytes())
    outputs.write_run(job, seeds)
