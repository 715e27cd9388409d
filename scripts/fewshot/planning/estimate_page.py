"""The estimate of a study as a page to read and a table of its adaptation jobs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from .. import storage
from ..analysis import result_schemas
from ..formatting import BLANK, size_text
from ..report.table_text import markdown_section
from ..runtime.time_limits import attempts_needed
from ..schemas import UNADAPTED
from .job_time import UNCERTAINTY

SHORT = 600.0
"""Seconds below which a job is short beside the time that it waits in a queue."""


def write_estimate(
    rows: Sequence[Mapping[str, object]], facts: Mapping[str, object], output
) -> str:
    """Write the estimate as Parquet, CSV and Markdown (`output.table`, `.csv`, `.md`).

    `rows` and `facts` are those of `estimate.py`. Return the page.
    """
    jobs = pd.DataFrame(list(rows), columns=result_schemas.ESTIMATE.names)
    storage.write_table(output.table, jobs, result_schemas.ESTIMATE)
    with storage.atomic(output.csv) as partial:
        jobs.to_csv(partial, index=False)
    text = page(jobs, facts)
    with storage.atomic(output.md) as partial:
        Path(partial).write_text(text, "utf-8")
    return text


def page(jobs: pd.DataFrame, facts: Mapping[str, object]) -> str:
    """Return the page in Markdown: jobs, hours by model and method, remarks."""
    jobs = jobs.assign(method=jobs["method"].replace(UNADAPTED, "before any adaptation"))
    device = facts["device"]
    counts = "Adaptation jobs, and the results that they leave"
    hours = f"{device}-hours of adaptation jobs"
    parts = [
        f"# Estimate of study '{facts['study']}' for {facts['machine']}\n",
        markdown_section(counts, _counts(jobs)),
        markdown_section(hours, _hours(jobs)),
        "\n".join(f"- {line}" for line in remarks(jobs, facts)) + "\n",
    ]
    return "\n".join(parts)


def _counts(jobs: pd.DataFrame) -> list[dict[str, str]]:
    held = jobs["held_out"].astype(bool)
    names = jobs["method"].mask(held, jobs["method"] + ", shots held out")
    parts = [*jobs.groupby(names, sort=False), ("total", jobs)]
    return [
        {
            "method": method,
            "jobs": f"{len(part):,}",
            "finished": f"{part['finished'].sum():,}",
            "to do": f"{(~part['finished']).sum():,}",
            "results": size_text(part["result_bytes"].sum()),
        }
        for method, part in parts
    ]


def _hours(jobs: pd.DataFrame) -> list[dict[str, str]]:
    methods = jobs["method"].unique()

    def row(name: str, part: pd.DataFrame) -> dict[str, str]:
        by_method = {method: _sum(part[part["method"] == method]) for method in methods}
        return {"model": name, **by_method, "all": _sum(part), "to do": _sum(_todo(part))}

    return [*(row(*each) for each in jobs.groupby("model", sort=False)), row("total", jobs)]


def _todo(jobs: pd.DataFrame) -> pd.DataFrame:
    return jobs[~jobs["finished"]]


def _sum(jobs: pd.DataFrame) -> str:
    return hours_text(jobs["device_hours"].sum()) if len(jobs) else BLANK


def hours_text(hours: float) -> str:
    """Return hours with two digits or more, as 0.012, 1.2 and 1,234."""
    if hours >= 9.95:
        return f"{hours:,.0f}"
    return f"{hours:.1f}" if hours >= 0.95 else f"{hours:.2g}"


MARGIN = (
    f"Times were never measured on a GPU: they may be off by a factor of {UNCERTAINTY:.0f} either "
    f"way. Time limits are {UNCERTAINTY:.0f} times what is predicted."
)
OTHER_JOBS = (
    "`snakemake -n` lists all jobs that would run: those not named here need no model, and take "
    "seconds to minutes. `snakemake plan_memory` tells where each model and method runs."
)
NO_GPU = (
    "No GPU is named or found: jobs are planned for one thread of this machine each. The study's "
    "key `machine` names another machine, as profiles/slurm/site.yaml does."
)


def remarks(jobs: pd.DataFrame, facts: Mapping[str, object]) -> Iterator[str]:
    """Yield the remarks below the tables."""
    yield MARGIN
    if not facts["named"]:
        yield NO_GPU
    yield (
        f"Models take {size_text(facts['model_bytes'])} to download, data "
        f"{size_text(facts['data_bytes'])}; results {size_text(jobs['result_bytes'].sum())}."
    )
    todo = _todo(jobs)
    if short := (todo["seconds"] < SHORT).sum():
        yield (
            f"{short:,} of {len(todo):,} jobs to do are predicted to take less than ten minutes, "
            "little beside the time in a queue."
        )
    if facts["most_hours"] is not None:
        yield from _long(todo, facts["most_hours"], facts["device"].lower())
    if unfit := (~jobs["fits"]).sum():
        yield (
            f"{unfit:,} jobs are not expected to fit their model's window, and count as start-up "
            "alone; `snakemake window` tells which do."
        )
    yield OTHER_JOBS


def _long(todo: pd.DataFrame, hours: float, kind: str) -> Iterator[str]:
    """Yield how many jobs take longer than one time limit of the cluster."""
    attempts = [attempts_needed(seconds, 60 * hours) for seconds in todo["seconds"]]
    if long := sum(count > 1 for count in attempts):
        yield (
            f"{long:,} jobs are predicted to take longer than {hours:g} hours ({kind}_max_hours), "
            f"up to {max(attempts)} times as long as one attempt may: each attempt goes on where "
            f"the one before ended, with `--retries {max(attempts) - 1}` or started again."
        )
