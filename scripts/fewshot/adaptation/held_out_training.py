"""Held-out scores of the shots of methods that train on them (see `held_out`)."""

from collections.abc import Callable
from dataclasses import replace

from ..runtime.resume import SeedStore
from ..runtime.stop import Stop
from .held_out import fold_jobs, read_held_out_job, seed_folds, together
from .job import AdaptationJob
from .outputs import Phases
from .seeds import SeedResult, save_result
from .setup import load_setup, set_up_from
from .training import train_seed, train_seeds


def cross_validate(smk) -> None:
    """Score the held-out rows of all seeds of one job, and write its outputs.

    Raises UserError where there are too few shots for that. Told to end, it does as
    `training.fine_tune`. No prompt of a fold is another than those of all shots, which fit.
    """
    train_seeds(read_held_out_job(smk, uses_context=False), start_training)


def start_training(
    job: AdaptationJob, stop: Stop, store: SeedStore | None
) -> Callable[[int], SeedResult]:
    """Load the model once and return the function that trains on each fold of a seed's draw.

    Finished folds, and checkpoints within one, are kept until the seed is finished.
    """
    phases = Phases()
    with phases.measure("load"):
        shared = load_setup(job)
    clocks = iter([phases])
    check = store.check if store else lambda: None

    def run(seed: int) -> SeedResult:
        results = []
        for number, part in enumerate(fold_jobs(job, seed)):
            name = f"{seed}.finished{number}"
            result = job.processes.broadcast(_finished(store, name))
            if result is None:
                setup = set_up_from(part, shared.origin, shared.tokenizer)
                folder = job.state / f"seed{seed}.fold{number}"
                mine = next(clocks, None)
                result = train_seed(
                    replace(setup, keeps_curve=True), seed, folder, mine, stop, check
                )
                if store:
                    save_result(store, name, result)
            results.append(result)
        return together(results, seed_folds(job, seed), job.name)

    return run


def _finished(store: SeedStore | None, name: str) -> SeedResult | None:
    """Return what a fold gave before the job was interrupted, if it was finished."""
    if store is None or not store.has(name):
        return None
    kept = store.load(name)
    frames = (kept.frames["predictions"], kept.frames["curves"])
    return SeedResult(*frames, **kept.info)
