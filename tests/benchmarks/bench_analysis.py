"""Measure the analysis of the grid of config/paper.yaml: `make bench-analysis`.

As the workflow does it: for each task and model runs are simulated and stored, metrics and outcomes
computed from them, and the predictions removed; for each task comparisons, questions and variance
follow. --scale 1.0 is the whole grid; a smaller share takes the first of its models, at least that
share of them.

Seconds are wall time of this process on this machine, memory the most that it ever held; torch,
which the other benchmarks load, is not part of it.
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import paper_grid
from fewshot import storage
from fewshot.analysis import comparisons, contrasts, evidence, metrics, result_schemas, variance
from fewshot.errors import UserError
from fewshot.study.catalog import catalog_of
from fewshot.study.study import Study

from . import clocks

SCHEMAS = {**evidence.SCHEMAS, "outcomes": result_schemas.OUTCOMES}


@dataclass
class Tally:
    """Seconds by step, and rows and bytes by kind of file."""

    seconds: Counter = field(default_factory=Counter)
    rows: Counter = field(default_factory=Counter)
    bytes: Counter = field(default_factory=Counter)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to `step`."""
        start = time.perf_counter()
        yield
        self.seconds[step] += time.perf_counter() - start

    def store(self, path: Path, frame: pd.DataFrame, kind: str) -> Path:
        """Store a result of one kind and count it."""
        with self.measure("write"):
            storage.write_table(path, frame, SCHEMAS[kind])
        self.rows[kind] += len(frame)
        self.bytes[kind] += path.stat().st_size
        return path

    def render(self) -> str:
        """Return what was measured as text."""
        sizes = pd.DataFrame({"rows": self.rows, "MB": self.bytes}).div({"rows": 1, "MB": 1e6})
        times = pd.Series(self.seconds, name="s").to_frame()
        return "\n\n".join(each.to_string(float_format="{:,.1f}".format) for each in (times, sizes))


def analyse_grid(study: Study, folder: Path) -> Tally:
    """Simulate the study's runs in `folder` and analyse them, task by task and model by model."""
    tally = Tally()
    for task in study.settings["tasks"]:
        sets = paper_grid.sets_of(study, task)
        files = [
            _analyse_pair(study, task, model, sets, folder, tally)
            for model in study.settings["models"]
        ]
        with tally.measure("compare"):
            read = evidence.read_frames
            rows = read([pair[0] for pair in files], result_schemas.METRICS.names)
            outcomes = read([pair[1] for pair in files], result_schemas.OUTCOMES.names)
            compared = comparisons.compare(rows, outcomes, sets, catalog_of(study))
        with tally.measure("questions"):
            asked = contrasts.contrasts(rows, outcomes, sets, catalog_of(study))
        with tally.measure("variance"):
            split = variance.split_variance(rows, outcomes, sets)
        made = (("comparisons", compared), ("contrasts", asked), ("variance", split))
        for kind, frame in made:
            path = folder / f"results/statistics/{study.name}/{task}/{kind}.parquet"
            tally.store(path, frame, kind)
        logging.info("%s: %d comparisons; %.0f MiB", task, len(compared), clocks.peak_mib())
    return tally


def _analyse_pair(study, task, model, sets, folder, tally) -> list[Path]:
    """Simulate and summarise one task and model; return the files of metrics and outcomes."""
    jobs, runs = study.jobs_of(task, model), folder / "results/runs"
    with tally.measure("simulate"):
        rows = sum(paper_grid.write_run(runs, study, job, sets) for job in jobs)
    tally.rows["predictions"] += rows
    for kind in ("predictions", "curves"):
        tally.bytes[kind] += sum(path.stat().st_size for path in runs.rglob(f"{kind}.parquet"))
    cell = {"protocol": study.settings["protocol"], "task": task, "model": model}
    entries = [paper_grid.job_entry(job, runs) for job in jobs]
    with tally.measure("metrics"):
        found = metrics.compute_metrics(cell, entries, sets)
    paths = [
        tally.store(
            folder / f"results/{kind}/{study.name}/{task}/{model}.parquet",
            getattr(found, kind),
            kind,
        )
        for kind in ("metrics", "outcomes")
    ]
    shutil.rmtree(runs)
    logging.info("%s, %s: %s predictions; %.0f MiB", task, model, f"{rows:,}", clocks.peak_mib())
    return paths


def main(argv: list[str]) -> int:
    """Run the benchmark, print its tables and return the exit code."""
    made = argparse.ArgumentParser(
        prog="bench-analysis",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "share of the paper's grid (default: 0.1)"
    made.add_argument("--scale", type=float, default=0.1, help=text)
    scale = made.parse_args(argv).scale
    if not 0 < scale <= 1:
        raise UserError(f"--scale {scale:g}: must be above 0 and at most 1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    study = paper_grid.grid(scale)
    with tempfile.TemporaryDirectory(prefix="bench-analysis-") as scratch:
        tally = analyse_grid(study, Path(scratch))
    print(f"{len(study.jobs):,} runs of {len(study.settings['models'])} models", tally.render(),
          f"peak memory {clocks.peak_mib():,.0f} MiB", sep="\n\n")  # fmt: skip
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
