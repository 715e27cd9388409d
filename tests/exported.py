"""What exports of the simulated study are told, and where published schemas may lie."""

import json
import os
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import simulate
from fewshot.analysis.evidence import join
from fewshot.analysis.metrics import compute_metrics
from fewshot.analysis.run_costs import compute_costs, flops_model
from fewshot.data.evaluation_sets import read_set

SOURCES = {
    "nli": {"hub": "nobody/nli", "revision": "0" * 40, "split": "validation"},
    "rte": {"hub": "nobody/rte", "revision": "0" * 40, "split": "validation"},
    "hans": {"url": ["https://example.org/hans.tsv"]},
}
FILES = {"record": "eval.schema.json", "row": "instance_level_eval.schema.json"}


def sources() -> dict[str, dict]:
    """Return where models and sets come from, as `exchange_inputs.result_sources` does."""
    hub = {name: {"hub": f"EleutherAI/{name}", "revision": "1" * 40} for name in simulate.MODELS}
    return {"models": hub, "tasks": SOURCES}


@dataclass(frozen=True)
class Simulated:
    """A few runs of the simulated study in `folder`: metrics, costs, and jobs as
    `exchange_inputs.exported_jobs` has them."""

    folder: Path
    metrics: pd.DataFrame
    costs: pd.DataFrame
    jobs: list[dict]


CELLS = {
    "pythia-l": [("icl", 0), ("icl", 32), ("lora", 16)],  # A seed of the second does not fit.
    "pythia-s": [("icl", 32)],  # No seed does.
}


def simulated(folder: Path) -> Simulated:
    """Write the runs of CELLS on task nli and count them."""
    simulate.write_prepared(folder)
    found, costs, jobs = [], [], []
    for pair in simulate.pairs():
        cell = {key: pair[key] for key in ("protocol", "task", "model")}
        chosen = CELLS.get(pair["model"], []) if pair["task"] == "nli" else []
        pair["jobs"] = [job for job in pair["jobs"] if (job["method"], job["k"]) in chosen]
        for job in pair["jobs"]:
            simulate.write_run(folder, pair, job, epochs=3)
            told = ("method", "pattern", "k", "seeds", "folder")
            jobs.append({**cell, **{key: job[key] for key in told}})
        if chosen:
            with chdir(folder):
                sets = [read_set(each["set"], each["merge"], each["path"]) for each in
                        pair["evaluation"]]  # fmt: skip
                found.append(compute_metrics(cell, pair["jobs"], sets).metrics)
                size = flops_model(pair["size"], pair["evaluation"])
                costs.append(compute_costs(cell, pair["jobs"], size))
    return Simulated(folder, join(found, found[0].columns), join(costs, costs[0].columns), jobs)


def published_schema(part: str) -> dict:
    """Return the published schema of Every Eval Ever's records or rows; skip where it is not there.

    It comes with the package every-eval-ever (MIT), which needs Python 3.12 and is no dependency.
    """
    folder = os.environ.get("FAIRSHOT_EVERY_EVAL_EVER", "")
    path = Path(folder, FILES[part])
    if not folder or not path.is_file():
        pytest.skip("set FAIRSHOT_EVERY_EVAL_EVER to the folder schemas/ of every-eval-ever 0.3.0")
    return json.loads(path.read_text("utf-8"))
