"""Measure what grows in the metrics of one task and model: `make bench-scale`.

Fine-tuned cells of ten seeds on MNLI with HANS are simulated, as many as make up the predictions
asked for, and summarised in a process of their own. Seconds are those of its processor, memory the
most that it held; `start` is what it holds before it reads anything. Outcomes are the file from
which methods are compared, of which a task's are read together.
"""

import argparse
import multiprocessing
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
from fewshot import storage
from fewshot.analysis import metrics, result_schemas
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.study.cells import Cell, Job

from . import clocks

CELL = Cell("fair", "mnli", "opt-125m", "pattern-ft", "minimal", 2)


def simulate(folder: Path, predictions: float) -> tuple[list[dict], list[EvaluationSet], int]:
    """Store runs with at least so many predictions; return their entries, the sets, and how many
    there are."""
    import paper_grid  # It loads torch, which is no part of what is measured.

    study, entries, rows = paper_grid.grid(0.01), [], 0
    sets = paper_grid.sets_of(study, CELL.task)
    while rows < predictions:
        job = Job(replace(CELL, k=2 + 2 * len(entries)), tuple(range(10)))
        rows += paper_grid.write_run(folder, study, job, sets)
        entries.append(paper_grid.job_entry(job, folder))
    return entries, sets, rows


def summarise(folder: Path, entries: list[dict], sets: list[EvaluationSet]) -> dict[str, float]:
    """Compute metrics and outcomes of these runs, store the latter; return what that took."""
    cell = {"protocol": CELL.protocol, "task": CELL.task, "model": CELL.model}
    start, seconds = clocks.peak_mib(), time.process_time()
    found = metrics.compute_metrics(cell, entries, sets)
    path = folder / "outcomes.parquet"
    storage.write_table(path, found.outcomes, result_schemas.OUTCOMES)
    return {
        "CPU s": time.process_time() - seconds,
        "start MiB": start,
        "MiB": clocks.peak_mib(),
        "metric rows": len(found.metrics),
        "outcomes MiB": path.stat().st_size / 2**20,
    }


def main() -> None:
    """Summarise as many predictions as asked for and print a table."""
    parser = argparse.ArgumentParser(
        prog="bench-scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "predictions of a task and model (default: 1e6 1e7)"
    parser.add_argument("--predictions", type=float, nargs="+", default=[1e6, 1e7], help=text)
    found = []
    for predictions in parser.parse_args().predictions:
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as scratch:
            folder = Path(scratch)
            entries, sets, rows = simulate(folder, predictions)
            # A new process each time: the peak of memory is then that of this size.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                took = pool.apply(summarise, (folder, entries, sets))
        found.append({"predictions": rows, "cells": len(entries), **took})
        print(pd.DataFrame(found).to_string(index=False, float_format="{:,.1f}".format), flush=True)


if __name__ == "__main__":
    main()
