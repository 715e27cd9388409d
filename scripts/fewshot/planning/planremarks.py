"""What is to be known of a schedule besides its tables, a sentence or two each."""

from collections.abc import Iterator

from ..report.typeset import size_text
from .calibration import LEAST_JOBS, UNKNOWN, Factors
from .schedule import Planned, Schedule

SHORT = 600.0
"""Seconds below which a job is short beside the time that it waits in a queue."""
SPOKEN_OF = 0.01
"""Part of all predicted seconds from which on a phase that was not measured is named."""
DIFFERENCE = (
    "`snakemake plan_memory` tells where each model and method runs, and the memory that takes; "
    "this tells how many jobs there are, and how long they take."
)
DONE = "All files are there; `snakemake -n` tells whether a change makes jobs run again."
ON_DISK = (
    "Finished is what is on disk; `snakemake -n` tells whether a change makes jobs run again, too."
)
NO_GPU = (
    "No GPU is named or found: jobs are planned for one thread of this machine each. The study's "
    "key `machine` names another one, as profiles/slurm/site.yaml does."
)


def remarks(schedule: Schedule) -> Iterator[str]:
    """Yield the remarks on a schedule."""
    machine = schedule.plan.machine
    counts = schedule.counts().values()
    if any(left < whole for whole, left in counts):
        yield ON_DISK if any(left for _, left in counts) else DONE
    if not machine.has_gpu and not machine.binding:
        yield NO_GPU
    yield (
        f"To download: {size_text(schedule.download_bytes())}. Results take about "
        f"{size_text(schedule.result_bytes())}, downloads apart."
    )
    yield from _short(schedule)
    yield from _long(schedule)
    unfit = sum(not each.fits for each in schedule.jobs)
    if unfit:
        yield (
            f"{unfit:,} jobs are not expected to fit their model's window, and count as start-up "
            "alone; `snakemake fit` tells which do."
        )
    yield rests_on(schedule)
    yield DIFFERENCE


def _short(schedule: Schedule) -> Iterator[str]:
    """Yield what becomes of the jobs that are short beside a queue."""
    todo, queue = schedule.todo, schedule.queue
    if queue and queue.short_minutes and queue.together > 1:
        shared = [each for each in todo if each.shares]
        if shared:
            yield (
                f"{len(shared):,} of {len(todo):,} adaptation jobs to do are predicted to take "
                f"less than {queue.short_minutes:g} minutes and share "
                f"{submissions(shared, queue.together):,} submissions, up to {queue.together} of a "
                f"task and model in each: {_models(shared)}."
            )
        whole = [each for each in todo if not each.shares and queue.is_short(each.site, each.wall)]
        if whole:
            yield (
                f"{len(whole):,} of {len(todo):,} adaptation jobs to do are predicted to take "
                f"less than {queue.short_minutes:g} minutes, but share no submission: limits of "
                f"{queue.together} do not fit into {queue.most_minutes / 60:g} hours "
                f"({schedule.kind}_max_hours): {_models(whole)}."
            )
        return
    short = [each for each in todo if each.wall < SHORT]
    if short:
        yield (
            f"{len(short):,} of {len(todo):,} adaptation jobs to do are predicted to take less "
            f"than ten minutes, little beside the time in a queue: {_models(short)}."
        )


def submissions(shared: list[Planned], together: int) -> int:
    """Return how many submissions jobs share, up to so many of a task and model in each."""
    pairs = [(each.job.cell.task, each.job.cell.model) for each in shared]
    return sum(-(-pairs.count(pair) // together) for pair in set(pairs))


def _models(jobs: list[Planned]) -> str:
    """Return how many jobs each model has."""
    names = [each.job.cell.model for each in jobs]
    return ", ".join(f"{name} {names.count(name):,}" for name in dict.fromkeys(names))


def _long(schedule: Schedule) -> Iterator[str]:
    """Yield how many jobs take longer than all of their attempts."""
    queue = schedule.queue
    if queue is None:
        return
    long = sum(not queue.suffices(each.wall) for each in schedule.todo)
    if long:
        yield (
            f"{long:,} jobs are predicted to take longer than {queue.attempts} of "
            f"{queue.most_minutes / 60:g} hours ({schedule.kind}_max_hours), after which Snakemake "
            "gives them up: start it again, and they go on, or give it more `--retries`."
        )


def rests_on(schedule: Schedule) -> str:
    """Return what the times rest on, and how far they may be off."""
    calibration, kind = schedule.plan.calibration, schedule.kind
    unknown = f"they may be off by a factor of {UNKNOWN:.0f} either way"
    known = calibration.kinds.get(kind)
    if known is None:
        why = calibration.problem or f"no finished job on a {schedule.device} was measured"
        return (
            f"Times are not calibrated ({why}): {unknown}. `snakemake calibrate` learns from "
            "finished jobs."
        )
    low, high = calibration.bounds(kind)
    devices = ", ".join(f"{count:,} on {name}" for name, count in known.devices.items())
    spread = f"eight in ten of these took {low:.2f} to {high:.2f} times what the others predict"
    return (
        f"Times are calibrated by {known.jobs:,} finished jobs ({devices}), with models of up to "
        f"{known.parameters / 1e6:,.1f} million parameters; "
        f"{spread if known.jobs >= LEAST_JOBS else f'so few that {unknown}'}."
        f"{_unmeasured(schedule, known)}"
    )


def _unmeasured(schedule: Schedule, known: Factors) -> str:
    """Return which phases of the jobs too few finished ones tell of, if enough do of others."""
    whole = sum(each.wall for each in schedule.jobs)
    seconds = {
        phase: sum(known.unseen(each.seconds).get(phase, 0.0) for each in schedule.jobs)
        for phase in known.factors
    }
    named = [phase for phase, each in seconds.items() if each > SPOKEN_OF * whole]
    if not named or known.jobs < LEAST_JOBS:
        return ""
    return (
        f" Fewer than {LEAST_JOBS} of them tell how long {', '.join(named)} takes, "
        f"{sum(seconds.values()) / whole:.0%} of the time."
    )
