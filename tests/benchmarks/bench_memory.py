"""Compare the memory that the plan predicts with what training takes: `make bench-memory`.

The same cells are trained and scored with several placements, each in a process of its own, on one
GPU where there is one and on the CPU otherwise. Models have published shapes and random weights,
rows have random words. Printed and stored are the predicted and the measured peak and their ratio:
on a GPU what PyTorch allocates, on a CPU what the process takes beyond its libraries and the base
weights. What runs out of memory says so; where the plan had said that it fits, that is a miss.

One process shares nothing: stages 1 to 3 show what DeepSpeed itself takes, and what offload saves.
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from fewshot.adaptation import setup as setup_module
from fewshot.adaptation import training
from fewshot.errors import UserError
from fewshot.models.architectures import architecture_of
from fewshot.models.deepspeed_zero import load_deepspeed
from fewshot.planning.memory import Demand, estimate, holding, passing, scoring, stepping
from fewshot.prompts.set_queries import SetQueries
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.study.families import added, trainable
from job_files import PATTERN, TRAINING
from tiny import WORDS, tiny_tokenizer
from transformers import AutoModelForCausalLM

from . import cases, clocks, harness
from .clocks import MIB
from .harness import Column
from .shapes import SHAPES, family

PLACEMENTS = {
    "plain": Placement(0),
    "stage 1": Placement(1),
    "stage 2": Placement(2),
    "stage 3": Placement(3),
    "fewer tokens": Placement(1, micro_tokens=1024),
    "checkpointing": Placement(1, checkpointing=True),
    "optimizer on the host": Placement(2, "optimizer"),
    "all on the host": Placement(3, "parameters", micro_tokens=1024, checkpointing=True),
}
"""What is tried: every way to save memory, alone and together."""
COLUMNS = {
    **{name: harness.COMMON[name] for name in ("model", "dtype", "device")},
    "method": Column(pa.string(), "family of the method", "method"),
    "placement": Column(pa.string(), "name of the placement", "placement"),
    "predicted_mib": Column(pa.float64(), "peak that the plan predicts", "predicted", "{:,.0f}"),
    "measured_mib": Column(pa.float64(), "peak that was measured", "measured", "{:,.0f}"),
    "ratio": Column(pa.float64(), "predicted / measured", "ratio", "{:.2f}"),
    "seconds": Column(pa.float64(), "seconds of training and scoring", "seconds", "{:.1f}"),
    "status": Column(pa.string(), "'ok', or why there is no measurement", "status"),
}
SEED, BATCH = 0, 32
TARGETS = {"opt": ["q_proj", "v_proj"], "pythia": ["query_key_value"]}


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = harness.parser("memory", __doc__, [])
    harness.choose(made, "methods", ["full", "lora", "bitfit"], ["full", "lora"])
    harness.choose(made, "dtype", ["float32", "bfloat16"], [])
    harness.choose(made, "placements", list(PLACEMENTS), [])
    made.add_argument("--k", type=int, default=32, help="rows to train on (default: 32)")
    made.add_argument("--row", type=int, default=128, help="tokens of a row (default: 128)")
    asked = harness.parse(made, argv)
    gpu = asked.device == "cuda"
    asked.models = asked.models or (["opt-1.3b", "pythia-160m"] if gpu else ["pythia-160m"])
    asked.dtype = asked.dtype or (["float32", "bfloat16"] if gpu else ["float32"])
    asked.placements = asked.placements or [
        name
        for name, place in PLACEMENTS.items()
        if gpu or (place.zero_stage < 3 and place.offload == "none")
    ]
    asked.batch_tokens = asked.batch_tokens or (16384 if gpu else 1024)
    return asked


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table; return 1 where a measurement failed."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, [])
    for job in jobs(asked):
        try:
            found = {**harness.run("bench_memory", job), "status": "ok"}
            found["ratio"] = found["predicted_mib"] / max(found["measured_mib"], 1e-9)
        except UserError as error:
            found = {"status": str(error)[:200]}
        table.add(asked, {**job, **found, "placement": job["system"]})
    table.finish([], check=False)
    return int(any(row["status"] != "ok" for row in table.rows))


def jobs(asked: argparse.Namespace) -> Iterator[dict]:
    """Yield the job of every measurement; half precision has no stage 0."""
    shared = harness.options(asked, "k", "row")
    for model in asked.models:
        for dtype in asked.dtype:
            for method in asked.methods:
                for name in asked.placements:
                    place = PLACEMENTS[name]
                    if dtype == "float32" or place.zero_stage:
                        cell = {"system": name, "model": model, "method": method, "dtype": dtype}
                        yield {**shared, **cell, "placement": place}


def measure(job: dict) -> dict:
    """Return predicted_mib, measured_mib and seconds of a training with its evaluation.

    On a GPU both figures are what PyTorch allocates; on a CPU what the process takes beyond
    libraries and base weights.
    """
    torch.set_num_threads(job["threads"])
    placement, kind = job["placement"], family(job["model"])
    load_deepspeed(ProcessGroup())
    make, *sizes = SHAPES[job["model"]]
    config = make(*sizes)
    for key in ("dropout", "hidden_dropout"):  # that of published models
        if hasattr(config, key):
            setattr(config, key, 0.1)
    settings = {
        **TRAINING,
        "family": job["method"],
        "batch_size": BATCH,
        "learning_rate": 1e-5,
        "epochs": 2,
        "rank": 8,
        "targets": TARGETS[kind],
    }
    names = ("model", "method", "dtype", "batch_tokens", "threads")
    made = cases.adaptation_job(
        SEED,
        _rows(job["k"], job["row"], "shots"),
        _rows(4 * job["k"], job["row"], "own"),
        placement,
        task="task",
        pattern=PATTERN,
        settings=settings,
        **{name: job[name] for name in names},
    )

    def source():
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, job["dtype"])).eval()

    setup = setup_module.set_up(replace(made, queries=SetQueries(tiny_tokenizer(kind))), source)
    gc.collect()
    held = clocks.reset_peak(job["device"])
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = clocks.timed(
            lambda: training.train_seed(setup, SEED, Path(folder)), job["device"]
        )
    shape = architecture_of(config.to_dict(), 2048)
    demand = Demand(
        shape=shape,
        element=getattr(torch, job["dtype"]).itemsize,
        trainable=trainable(shape, settings, 2),
        added=added(shape, settings, 2),
        rows=min(BATCH, job["k"]),
        row=job["row"] + 2,
        batch_tokens=job["batch_tokens"],
    )
    return {
        "predicted_mib": _predicted(demand, placement, job["device"]) / MIB,
        "measured_mib": (clocks.peak(job["device"]) - held) / MIB,
        "seconds": seconds,
    }


def _rows(count: int, tokens: int, stream: str) -> pd.DataFrame:
    """Return rows whose prompts have about `tokens` tokens, one a word."""
    draw = generator("benchmark", stream)
    a, b = ([" ".join(draw.choice(WORDS[:20], size=tokens // 2)) for _ in range(count)]
            for _ in range(2))  # fmt: skip
    label = (np.arange(count) % 2).astype(np.int16)
    frame = pd.DataFrame({"id": np.arange(count), "text_a": a, "text_b": b, "label": label})
    return frame.assign(group=None, subset=None, cluster=None)


def _predicted(demand: Demand, placement: Placement, device: str) -> float:
    """Return the bytes that the plan expects of what is measured."""
    if device == "cuda":
        return estimate(demand, placement, 1, 1).allocated
    phases = max(passing(demand, placement, 1), stepping(demand, placement, 1), scoring(demand))
    held = holding(demand, placement, 1)
    # The base weights were there before: what is trained is a copy, and the best epoch's another.
    copies = 2 * demand.element * demand.trainable
    return held - demand.element * demand.parameters + copies + phases


if __name__ == "__main__":
    harness.start(main)
