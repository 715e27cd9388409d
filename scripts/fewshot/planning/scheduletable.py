"""A schedule as a page to read and a table of its adaptation jobs."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from .. import records
from ..analysis import schemas
from ..report.typeset import BLANK, Table, to_markdown, to_text
from ..study.cells import Job
from . import chain
from .planremarks import remarks
from .schedule import Planned, Schedule
from .timing import PHASES

SIZES = (8, 32, 128)
"""GPUs, or cores, that the least wall-clock time is told for."""
WIDTH = 100


def frame(schedule: Schedule) -> pd.DataFrame:
    """Return a row (schemas.SCHEDULE) for each adaptation job."""
    calibrated = schedule.kind in schedule.plan.calibration.kinds
    rows = [_row(each) | {"calibrated": calibrated} for each in schedule.jobs]
    return pd.DataFrame(rows, columns=schemas.SCHEDULE.names)


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


def write(schedule: Schedule, folder: str | Path) -> str:
    """Write schedule.parquet, .csv and .md into `folder`; return the page as text to print."""
    folder, jobs = Path(folder), frame(schedule)
    records.write_table(folder / "schedule.parquet", jobs, schemas.SCHEDULE)
    with records.atomic(folder / "schedule.csv") as partial:
        jobs.to_csv(partial, index=False)
    with records.atomic(folder / "schedule.md") as partial:
        Path(partial).write_text(page(schedule, markdown=True), "utf-8")
    return page(schedule, markdown=False)


def page(schedule: Schedule, markdown: bool) -> str:
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


def tables(schedule: Schedule) -> Iterator[tuple[str, Table]]:
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


def _counts(schedule: Schedule) -> list[dict[str, str]]:
    counts = schedule.counts()
    counts["total"] = tuple(map(sum, zip(*counts.values(), strict=True)))
    return [
        {"rule": rule, "jobs": f"{jobs:,}", "finished": f"{jobs - todo:,}", "to do": f"{todo:,}"}
        for rule, (jobs, todo) in counts.items()
    ]


def _hours(schedule: Schedule) -> list[dict[str, str]]:
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


def _least(schedule: Schedule, longest: float) -> list[dict[str, str]]:
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
