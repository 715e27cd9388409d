"""Measure the analysis of the grid of config/paper.yaml: `make bench-analysis`.

As the workflow does it: for each task and model runs are simulated and stored, metrics and outcomes
computed from them, and the predictions removed (unless --keep); for each task comparisons and
variance follow. --scale 1.0 is the whole grid; a smaller share takes the first of its models, at
least that share of them.

Seconds are wall time of this process on this machine, memory the most that it ever held.
"""

import argparse
import logging
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import paper_grid
from fewshot import storage
from fewshot.analysis import comparisons, evidence, metrics, result_schemas, variance
from fewshot.errors import UserError
from fewshot.study.catalog import catalog_of
from fewshot.study.study import Study

from .printing import aligned


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = argparse.ArgumentParser(
        prog="bench-analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--scale", type=float, default=0.1, help="share of the paper's grid (default: 0.1)")
    add("--folder", type=Path, help="where runs are simulated (default: a temporary folder)")
    add("--keep", action="store_true", help="keep predictions; needs --folder")
    asked = made.parse_args(argv)
    if not 0 < asked.scale <= 1:
        raise UserError(f"--scale {asked.scale:g}: must be above 0 and at most 1")
    if asked.keep and not asked.folder:
        raise UserError("--keep: name a --folder to keep them in")
    return asked


@dataclass
class Tally:
    """Seconds by step, rows, and bytes by kind of file."""

    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to `step`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start

    def count(self, kind: str, rows: int, size: int) -> None:
        """Add rows and bytes of one kind of file."""
        self.rows[kind] = self.rows.get(kind, 0) + rows
        self.bytes[kind] = self.bytes.get(kind, 0) + size


def analyse_grid(study: Study, folder: Path, keep: bool = False) -> Tally:
    """Simulate the study's runs in `folder` and analyse them, task by task and model by model."""
    tally = Tally()
    for task in study.settings["tasks"]:
        sets = paper_grid.sets_of(study, task)
        files = [_analyse_pair(study, task, model, sets, folder, tally, keep)
                 for model in study.settings["models"]]  # fmt: skip
        with tally.measure("compare"):
            read = evidence.read_frames
            rows = read([pair[0] for pair in files], result_schemas.METRICS.names)
            outcomes = read([pair[1] for pair in files], result_schemas.OUTCOMES.names)
            compared = comparisons.compare(rows, outcomes, sets, catalog_of(study))
        with tally.measure("variance"):
            split = variance.split_variance(rows, outcomes, sets)
        for name, frame in (("comparisons", compared), ("variance", split)):
            path = folder / f"results/statistics/{study.name}/{task}/{name}.parquet"
            storage.write_table(path, frame, getattr(result_schemas, name.upper()))
            tally.count(name, len(frame), path.stat().st_size)
        logging.info("%s: %d comparisons; %.0f MiB", task, len(compared), peak_mib())
    return tally


def _analyse_pair(study, task, model, sets, folder, tally, keep) -> tuple[Path, Path]:
    """Simulate and summarise one task and model; return the files of metrics and outcomes."""
    jobs = study.jobs_of(task, model)
    runs = folder / "results/runs"
    here = runs / study.settings["protocol"] / task / model
    with tally.measure("simulate"):
        rows = sum(paper_grid.write_run(runs, study, job, sets) for job in jobs)
    for kind in ("predictions", "curves"):
        size = sum(path.stat().st_size for path in here.rglob(f"{kind}.parquet"))
        tally.count(kind, rows if kind == "predictions" else 0, size)
    cell = {"protocol": study.settings["protocol"], "task": task, "model": model}
    entries = [paper_grid.job_entry(job, runs) for job in jobs]
    with tally.measure("metrics"):
        found = metrics.compute_metrics(cell, entries, sets)
    paths = []
    for kind in ("metrics", "outcomes"):
        path = folder / f"results/{kind}/{study.name}/{task}/{model}.parquet"
        frame = getattr(found, kind)
        with tally.measure("write"):
            storage.write_table(path, frame, getattr(result_schemas, kind.upper()))
        tally.count(kind, len(frame), path.stat().st_size)
        paths.append(path)
    if not keep:
        shutil.rmtree(runs)
    logging.info("%s, %s: %s predictions; %.0f MiB", task, model, f"{rows:,}", peak_mib())
    return paths[0], paths[1]


def peak_mib() -> float:
    """Return the most memory that this process ever held, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def render(study: Study, tally: Tally) -> str:
    """Return what the analysis of the grid took, as text."""
    head = f"{len(study.jobs):,} runs of {len(study.settings['models'])} models"
    times = [(name, f"{value:,.0f} s") for name, value in tally.seconds.items()]
    sizes = [
        (kind, f"{tally.rows[kind]:,} rows" if tally.rows[kind] else "", f"{size / 1e6:,.1f} MB")
        for kind, size in tally.bytes.items()
    ]
    return "\n\n".join([head, aligned(times), aligned(sizes), f"peak memory {peak_mib():,.0f} MiB"])


def main(argv: list[str]) -> int:
    """Run the benchmark, print its tables and return the exit code."""
    asked = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with tempfile.TemporaryDirectory(prefix="bench-analysis-") as scratch:
        study = paper_grid.grid(asked.scale)
        print(render(study, analyse_grid(study, asked.folder or Path(scratch), asked.keep)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
