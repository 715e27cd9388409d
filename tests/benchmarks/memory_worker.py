"""Train one cell with one placement and tell its peak of memory: `memory_worker JOB RESULT`.

JOB and RESULT are JSON files; `measure` names their keys. A process of its own makes the peak that
of the placement.
"""

import gc
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from fewshot.adaptation import setup as setup_module
from fewshot.adaptation import training
from fewshot.adaptation.job import AdaptationJob
from fewshot.adaptation.outputs import Phases
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.models.architectures import architecture_of
from fewshot.models.deepspeed_zero import load_deepspeed
from fewshot.planning.memory import Demand, estimate, holding, passing, scoring, stepping
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.runtime.stop import Stop
from fewshot.study.families import added, trainable
from job_files import PATTERN, TRAINING
from tiny import WORDS, tiny_tokenizer
from transformers import AutoModelForCausalLM

from . import apart
from .measuring import MIB, peak, reset_peak
from .shapes import SHAPES, family

SEED = 0
TARGETS = {"opt": ["q_proj", "v_proj"], "pythia": ["query_key_value"]}


def measure(job: dict) -> dict:
    """Return predicted_mib, measured_mib and seconds of a training with its evaluation.

    `job` has model (a shape), method (full, bitfit or lora), dtype, device, threads, k and
    batch_size, row (tokens), batch_tokens, and placement (a mapping). On a GPU both figures are
    what PyTorch allocates; on a CPU what the process takes beyond libraries and base weights.
    """
    torch.set_num_threads(job["threads"])
    placement, processes = Placement(**job["placement"]), ProcessGroup()
    load_deepspeed(processes)
    made, config = _job(job, placement), _config(job["model"])

    def source():
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, job["dtype"])).eval()

    setup = setup_module.set_up(made, source, tiny_tokenizer(family(job["model"])))
    gc.collect()
    held = reset_peak(job["device"])
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        training.train_seed(setup, SEED, Path(folder), Phases(), Stop())
    seconds = time.perf_counter() - started
    demand = _demand(job, config)
    return {
        "predicted_mib": _predicted(demand, placement, job["device"]) / MIB,
        "measured_mib": (peak(job["device"]) - held) / MIB,
        "seconds": seconds,
        "parameters": demand.shape.parameters,
        "trainable": demand.trainable,
    }


def _config(name: str):
    """Return a shape's configuration, with the dropout of published models."""
    make, *sizes = SHAPES[name]
    config = make(*sizes)
    for key in ("dropout", "hidden_dropout"):
        if hasattr(config, key):
            setattr(config, key, 0.1)
    return config


def _settings(job: dict) -> dict:
    return {
        **TRAINING,
        "family": job["method"],
        "batch_size": job["batch_size"],
        "learning_rate": 1e-5,
        "epochs": 2,
        "rank": 8,
        "targets": TARGETS[family(job["model"])],
    }


def _job(job: dict, placement: Placement) -> AdaptationJob:
    cell = {"protocol": "fair", "task": "task", "model": job["model"], "method": job["method"]}
    return AdaptationJob(
        cell={**cell, "pattern": "minimal", "k": job["k"]},
        seeds=(SEED,),
        status={SEED: "ok"},
        labels=2,
        pattern=PATTERN,
        settings=_settings(job),
        model={"dtype": job["dtype"], "parameters": 0, "window": 2048},
        model_manifest=Path(),
        evaluation=(EvaluationSet("task", (0, 1), _rows(4 * job["k"], job["row"], "own")),),
        shots={SEED: _rows(job["k"], job["row"], "shots")},
        batch_tokens={"cpu": job["batch_tokens"], "gpu": job["batch_tokens"]},
        placement=placement,
        threads=job["threads"],
        processes=ProcessGroup(),
        checksums={},
        code="",
        output=SimpleNamespace(),
    )


def _rows(count: int, tokens: int, stream: str) -> pd.DataFrame:
    """Return rows whose prompts have about `tokens` tokens, one a word."""
    draw = generator("benchmark", stream)
    return pd.DataFrame(
        {
            "id": np.arange(count),
            "text_a": [" ".join(draw.choice(WORDS[:20], size=tokens // 2)) for _ in range(count)],
            "text_b": [" ".join(draw.choice(WORDS[:20], size=tokens // 2)) for _ in range(count)],
            "label": (np.arange(count) % 2).astype(np.int16),
            "group": None,
            "subset": None,
            "cluster": None,
        }
    )


def _demand(job: dict, config) -> Demand:
    """Return what the memory plan knows of the job, with its rows as long as they are."""
    shape = architecture_of(config.to_dict(), 2048)
    settings = _settings(job)
    return Demand(
        shape=shape,
        element=getattr(torch, job["dtype"]).itemsize,
        trainable=trainable(shape, settings, 2),
        added=added(shape, settings, 2),
        rows=min(job["batch_size"], job["k"]),
        row=job["row"] + 2,
        batch_tokens=job["batch_tokens"],
    )


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
    apart.serve(measure)
