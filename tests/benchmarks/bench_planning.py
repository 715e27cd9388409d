"""Measure what planning takes: `make bench-planning`.

A dry run of config/paper.yaml in a fresh copy of the project, and a run where all is finished,
which must find nothing to do. For the latter every job's files are made up and `snakemake --touch`
records them as finished, with parameters, code and inputs, so that all reasons to run again are
looked at.

Beside it stands a bare Snakemake workflow with as many jobs, files and edges and no code of this
project: what it takes is Snakemake's own. `--studies` names larger ones: the grids of all shipped
studies in one (merged), and ten times the seeds (tenfold). Touching takes 0.1 s for each job.

Seconds are medians of this machine's wall and CPU time, memory is the most that a process held.
"""

import argparse
import logging
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from fewshot.errors import UserError
from fewshot.validation import read_yaml
from project import ROOT, Project, parse_plan

from . import apart
from .bare import touch, write_bare
from .printing import Target, aligned, summary

LOG = logging.getLogger(__name__)
SECONDS, MEGABYTES = 60, 2000
"""What planning the paper's grid may take."""
SHIPPED = ("config", "paper", "paper-qqp-cola", "mosbach2023")
NOTHING = "Nothing to be done"
UNRECORDED = "missing provenance"


@dataclass(frozen=True)
class Cost:
    """What calls of Snakemake took: medians of seconds, the largest peak in 10^6 bytes."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Finding:
    """What one kind of call took for a study, and for its bare twin."""

    study: str
    what: str
    jobs: int
    files: int
    edges: int
    ours: Cost
    bare: Cost


def paper() -> dict:
    """Return the paper's study."""
    return read_yaml(ROOT / "config/paper.yaml")


def merged() -> dict:
    """Return a study of the cells of all shipped studies, under the fair protocol."""
    parts = [read_yaml(ROOT / f"config/{name}.yaml") for name in SHIPPED]
    whole = {key: sorted({x for part in parts for x in part[key]}) for key in ("models", "tasks")}
    grid = [
        {"models": part["models"], "tasks": part["tasks"], **block}
        for part in parts
        for block in part["grid"]
    ]
    return {"study": "merged", **whole, "seeds": "0-9", "grid": grid, "main": {"k": 16}}


def tenfold() -> dict:
    """Return the paper's study with a hundred data seeds, which make ten jobs of each cell."""
    return {**paper(), "study": "tenfold", "seeds": "0-99"}


STUDIES: dict[str, Callable[[], dict]] = {"paper": paper, "merged": merged, "tenfold": tenfold}


class Bench:
    """Calls Snakemake on a study and on its bare twin, in folders below `folder`."""

    def __init__(self, folder: Path, name: str, study: dict) -> None:
        self.name, self.scratch = name, folder
        self.ours = Project.create(folder / "ours").folder
        self.bare = folder / "bare"
        (self.ours / "config/measured.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        self.options = {self.ours: ["--configfile", "config/measured.yaml"], self.bare: []}
        LOG.info("%s: listing the jobs", name)
        self.jobs = parse_plan(self.text(self.ours, "--dry-run"))
        self.twins = write_bare(self.bare, self.jobs)

    def call(self, folder: Path, *arguments: str, profile: Path | None = None) -> dict:
        """Call Snakemake in one of the two folders; raises UserError where it fails."""
        job = {
            "system": f"snakemake {' '.join(arguments)}".strip(),
            "model": f"{self.name}, {folder.name}",
            "device": "cpu",
            "threads": 1,
            "folder": str(folder),
            "arguments": ["--cores", "2", *arguments, *self.options[folder]],
            "output": str(self.scratch / "output.txt"),
            "profile": str(profile.resolve()) if profile else None,
        }
        found = apart.run("planning_worker", job, self.scratch)
        if found["code"]:
            lines = Path(job["output"]).read_text().strip().splitlines()
            raise UserError(f"{job['system']} failed ({job['model']}): {lines[-1]}")
        return found

    def text(self, folder: Path, *arguments: str) -> str:
        """Return what Snakemake says in one of the folders."""
        self.call(folder, *arguments)
        return (self.scratch / "output.txt").read_text()

    def measure(self, what: str, repeats: int, *arguments: str) -> Finding:
        """Call both in turn, so that a busy machine is busy for both."""
        taken: dict[Path, list[dict]] = {self.ours: [], self.bare: []}
        for _ in range(repeats):
            for folder, found in taken.items():
                found.append(self.call(folder, *arguments))
                LOG.info("%s, %s, %s: %.1f s", self.name, folder.name, what, found[-1]["seconds"])
        files = sum(len(job.outputs) for job in self.jobs)
        edges = sum(len(job.inputs) for job in self.jobs)
        costs = (_cost(taken[folder]) for folder in (self.ours, self.bare))
        return Finding(self.name, what, len(self.jobs), files, edges, *costs)

    def finish(self) -> None:
        """Make up the files of every job and let Snakemake record them as finished.

        Raises UserError unless both workflows then have nothing to do, for want of no record.
        """
        for folder, jobs in ((self.ours, self.jobs), (self.bare, self.twins)):
            LOG.info("%s, %s: recording %d jobs as finished", self.name, folder.name, len(jobs))
            for path in (path for job in jobs for path in job.outputs):
                touch(folder / path)
            self.call(folder, "--touch", "--forceall")
            said = self.text(folder, "--dry-run")
            if NOTHING not in said or UNRECORDED in said:
                raise UserError(
                    f"{self.name}, {folder.name}: not all jobs are recorded as finished"
                )


def _cost(found: Sequence[dict]) -> Cost:
    middle = (statistics.median(each[key] for each in found) for key in ("seconds", "cpu_seconds"))
    return Cost(*middle, max(each["peak_mb"] for each in found))


def measure_study(bench: Bench, repeats: int, finished: bool = True) -> list[Finding]:
    """Measure planning with nothing done and, where asked for, with everything done."""
    found = [bench.measure("dry run", repeats, "--dry-run")]
    if finished:
        bench.finish()
        found.append(bench.measure("nothing to do", repeats))
    return found


def render(found: Sequence[Finding]) -> str:
    """Return the findings as a table."""
    head = ("study", "call", "jobs", "files", "edges", "s", "CPU s", "MB",
            "bare s", "CPU s", "MB", "CPU ratio")  # fmt: skip
    lines = [head]
    for each in found:
        costs = [
            f"{value:,.{digits}f}"
            for cost in (each.ours, each.bare)
            for value, digits in ((cost.seconds, 1), (cost.cpu_seconds, 1), (cost.peak_mb, 0))
        ]
        counts = [f"{count:,}" for count in (each.jobs, each.files, each.edges)]
        ratio = f"{each.ours.cpu_seconds / each.bare.cpu_seconds:.2f}"
        lines.append((each.study, each.what, *counts, *costs, ratio))
    return aligned(lines)


def targets(found: Sequence[Finding]) -> list[Target]:
    """Return what is promised of the paper's study, and whether it is kept."""
    rows = [
        (f"{each.what} within {limit:,} {unit}", f"{value:,.0f} {unit}", value < limit)
        for each in found
        if each.study == "paper"
        for value, limit, unit in (
            (each.ours.seconds, SECONDS, "s"),
            (each.ours.peak_mb, MEGABYTES, "MB"),
        )
    ]
    return [Target(*row) for row in rows]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line; raises UserError for values that make no sense."""
    made = argparse.ArgumentParser(
        prog="bench-planning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--studies", nargs="+", default=["paper"], choices=STUDIES, metavar="NAME",
        help=f"{', '.join(STUDIES)} (default: paper)")  # fmt: skip
    add("--repeats", type=int, default=3, help="calls to take the median of (default: 3)")
    add("--dry-run-only", action="store_true", help="leave out the run with everything finished")
    add("--profile", type=Path, metavar="FILE", help="profile one dry run for pstats, and no more")
    add("--check", action="store_true", help="exit with 1 where a target is missed")
    asked = made.parse_args(argv)
    if asked.repeats < 1:
        raise UserError(f"--repeats {asked.repeats}: must be at least 1")
    if asked.check and "paper" not in asked.studies:
        raise UserError("--check: targets are those of the paper's study; add paper to --studies")
    return asked


def main(argv: list[str]) -> int:
    """Run the benchmark, print its table and return the exit code."""
    asked = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    found: list[Finding] = []
    for name in asked.studies:
        with tempfile.TemporaryDirectory(prefix="bench-planning-") as scratch:
            bench = Bench(Path(scratch), name, STUDIES[name]())
            if asked.profile:
                LOG.info("%s: profiling a dry run into %s", name, asked.profile)
                bench.call(bench.ours, "--dry-run", profile=asked.profile)
                return 0
            found += measure_study(bench, asked.repeats, not asked.dry_run_only)
    kept = targets(found)
    print(render(found), summary(kept), sep="\n\n")
    return int(asked.check and not all(target.reached for target in kept))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
