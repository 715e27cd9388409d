"""The estimate of a study as a page to read and a table of its adaptation jobs."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from .. import storage
from ..analysis import result_schemas
from ..formatting import BLANK, size_text
from ..report.table_text import Table, to_markdown, to_text
from ..study.cells import Job
from . import chain
from .calibration import LEAST_JOBS, UNKNOWN, Factors
from .estimate import Planned, StudyEstimate
from .job_time import PHASES

SIZES = (8, 32, 128)
"""GPUs, or cores, that the least wall-clock time is told for."""
WIDTH = 100


def frame(schedule: StudyEstimate) -> pd.DataFrame:
    """Return a row (result_schemas.SCHEDULE) for each adaptation job."""
    calibrated = schedule.kind in schedule.plan.calibration.kinds
    rows = [_row(each) | {"calibrated": calibrated} for each in schedule.jobs]
    return pd.DataFrame(rows, columns=result_schemas.SCHEDULE.names)


def _row(each: Planned) -> dict[str, object]:
    job: Job = each.job
    return {
        **vars(job.cell),
        "first_seed": job.seeds[0],
        "last_seed": job.seeds[-1],
        "gpus": each.site.per_node * each.site.nodes,
        "nodes": each.site.nodes,
        **{f"seconds_{phase}": each.seconds[phase] for phase in PHASES},
        "seconds": each.wall,
        "device_hours": each.device_hours,
        "limit_minutes": each.minutes,
        "fits": each.fits,
        "finished": each.finished,
    }


def write_estimate(schedule: StudyEstimate, folder: str | Path) -> str:
    """Write schedule.parquet, .csv and .md into `folder`; return the page as text to print."""
    folder, jobs = Path(folder), frame(schedule)
    storage.write_table(folder / "schedule.parquet", jobs, result_schemas.SCHEDULE)
    with storage.atomic(folder / "schedule.csv") as partial:
        jobs.to_csv(partial, index=False)
    with storage.atomic(folder / "schedule.md") as partial:
        Path(partial).write_text(estimate_page(schedule, markdown=True), "utf-8")
    return estimate_page(schedule, markdown=False)


def estimate_page(schedule: StudyEstimate, markdown: bool) -> str:
    """Return the schedule as a page of Markdown, or as text of at most 100 columns."""
    study, machine = schedule.plan.study, schedule.plan.machine
    title = f"Plan of study '{study.name}' for {machine.name}"
    parts = [f"# {title}" if markdown else title]
    for heading, table in tables(schedule):
        if markdown:
            parts.append(re.sub(r"\n{3,}", "\n\n", "#" + to_markdown(table, heading, "")))
        else:
            parts.append(f"{heading}\n\n{to_text(table, WIDTH)}")
    lines = list(remarks(schedule))
    if markdown:
        parts.append("\n".join(f"- {line}" for line in lines))
    else:
        parts += [textwrap.fill(line, WIDTH) for line in lines]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def tables(schedule: StudyEstimate) -> Iterator[tuple[str, Table]]:
    """Yield heading and table of each part."""
    yield "Jobs by rule", _table(_counts(schedule))
    device = schedule.device
    yield f"{device}-hours of adaptation jobs", _table(_hours(schedule))
    links = chain.longest(schedule)
    if links:
        yield "Longest chain, without queues", _table(_chain(links))
        least = _least(schedule, chain.seconds_of(links) / 3600)
        yield f"Least wall-clock hours by number of {device}s", _table(least)


def _table(rows: list[dict[str, str]]) -> Table:
    text = pd.DataFrame(rows)
    return Table(text, text)


def _counts(schedule: StudyEstimate) -> list[dict[str, str]]:
    counts = schedule.counts()
    counts["total"] = tuple(map(sum, zip(*counts.values(), strict=True)))
    return [
        {"rule": rule, "jobs": f"{jobs:,}", "finished": f"{jobs - todo:,}", "to do": f"{todo:,}"}
        for rule, (jobs, todo) in counts.items()
    ]


def _hours(schedule: StudyEstimate) -> list[dict[str, str]]:
    study, jobs = schedule.plan.study, schedule.jobs
    models = [name for name in study.models if _chosen(jobs, model=name)]
    methods = [name for name in study.methods if _chosen(jobs, method=name)]

    def row(name: str, **of: str) -> dict[str, str]:
        each = {method: _sum(_chosen(jobs, method=method, **of)) for method in methods}
        whole = {"all": _sum(_chosen(jobs, **of)), "to do": _sum(_chosen(schedule.todo, **of))}
        return {"model": name, **each, **whole}

    return [*(row(name, model=name) for name in models), row("total")]


def _chosen(jobs: list[Planned], **of: str) -> list[Planned]:
    return [each for each in jobs if all(getattr(each.job.cell, key) == of[key] for key in of)]


def _sum(jobs: list[Planned]) -> str:
    return hours_text(sum(each.device_hours for each in jobs)) if jobs else BLANK


def hours_text(hours: float) -> str:
    """Return hours with two digits or more, as 0.012, 1.2 and 1,234."""
    if hours >= 9.95:
        return f"{hours:,.0f}"
    return f"{hours:.1f}" if hours >= 0.95 else f"{hours:.2g}"


def _chain(links: list[chain.Link]) -> list[dict[str, str]]:
    found = [*links, chain.Link("total", "", chain.seconds_of(links))]
    return [
        {"rule": each.rule, "of": each.of, "hours": hours_text(each.seconds / 3600)}
        for each in found
    ]


def _least(schedule: StudyEstimate, longest: float) -> list[dict[str, str]]:
    """Return the time below which no schedule comes: the `longest` chain, or all hours shared."""
    hours = sum(each.device_hours for each in schedule.todo)
    return [
        {
            f"{schedule.device}s": str(count),
            "hours": hours_text(max(longest, hours / count)),
            "bound by": "the longest chain"
            if longest >= hours / count
            else "the hours of all jobs",
        }
        for count in SIZES
    ]


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


def remarks(schedule: StudyEstimate) -> Iterator[str]:
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
            "alone; `snakemake window` tells which do."
        )
    yield rests_on(schedule)
    yield DIFFERENCE


def _short(schedule: StudyEstimate) -> Iterator[str]:
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


def _long(schedule: StudyEstimate) -> Iterator[str]:
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


def rests_on(schedule: StudyEstimate) -> str:
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


def _unmeasured(schedule: StudyEstimate, known: Factors) -> str:
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
