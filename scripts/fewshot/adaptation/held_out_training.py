"""Held-out scores of the shots of methods that train on them (see `held_out`)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..prompts.window import OK
from ..runtime.resume import SeedStore
from ..runtime.stop import Stop
from .held_out import fold_jobs, read_held_out_job, seed_folds, together
from .job import AdaptationJob
from .outputs import Phases
from .seeds import Runner, SeedResult, save_result
from .setup import InitialModel, Member, load_setup, set_up_from
from .training import train_members, train_seeds


def cross_validate(smk) -> None:
    """Score the held-out rows of all seeds of one job, and write its outputs.

    Raises UserError where there are too few shots for that. Told to end, it does as
    `training.fine_tune`. No prompt of a fold is another than those of all shots, which fit.
    """
    train_seeds(read_held_out_job(smk, uses_context=False), start_training)


def start_training(job: AdaptationJob, stop: Stop, store: SeedStore | None) -> Runner:
    """Load the model once and return the function that trains on each fold of the seeds' draws.

    Folds are trained together as seeds are, those of several seeds too. Finished folds, and
    checkpoints within one, are kept until the seed is finished.
    """
    phases = Phases()
    with phases.measure("load"):
        origin = load_setup(job).origin
    fitting = [seed for seed in job.seeds if job.status[seed] == OK]
    folds = {seed: _members(job, origin, seed) for seed in fitting}
    check = store.check if store else lambda: None

    def run(todo: Sequence[int]) -> Iterator[tuple[int, SeedResult]]:
        names = [member.name for seed in todo for member in folds[seed]]
        found = job.processes.broadcast(_finished(store, names))
        every = [member for of_seed in folds.values() for member in of_seed]
        left = [name for name in names if name not in found]
        results = train_members(every, left, job.state, phases, stop, check)
        for seed in todo:
            mine = [member.name for member in folds[seed]]
            while not found.keys() >= {*mine}:
                name, found[name] = next(results)
                if store:
                    save_result(store, name, found[name])
            parts = [found.pop(name) for name in mine]
            yield seed, together(parts, seed_folds(job, seed), job.name)

    return run


def _members(job: AdaptationJob, origin: InitialModel, seed: int) -> list[Member]:
    """Return what is trained for a seed: a member for each fold of its draw."""
    setups = (set_up_from(part, origin) for part in fold_jobs(job, seed))
    return [
        Member(replace(setup, keeps_curve=True), seed, f"fold{number}")
        for number, setup in enumerate(setups)
    ]


def _finished(store: SeedStore | None, names: Sequence[str]) -> dict[str, SeedResult]:
    """Return by name what folds gave that were finished before the job was interrupted."""
    kept = {name: store.load(name) for name in names if store.has(name)} if store else {}
    return {
        name: SeedResult(each.frames["predictions"], each.frames["curves"], **each.info)
        for name, each in kept.items()
    }
