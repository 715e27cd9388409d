"""Measure training beside transformers' Trainer: `make bench-training`.

The same cell (pattern-based fine-tuning on a draw of RTE rows, minimal pattern, batches of 32, each
epoch followed by an evaluation on RTE's validation rows) is run by three systems, with models of
published shapes and random weights (speed and memory do not depend on their values):

    fairshot         this project's loop and scorer, at the study's `batch_tokens`
    trainer-padded   transformers' Trainer as Mosbach et al. 2023 set it: every row padded to 256
                     tokens, logits at all positions, evaluation in batches of 10
    trainer-dynamic  the same, rows padded to the longest of their batch

Rows, order of the batches, AdamW, rate, clipping and loss are the same and there is no dropout, so
that losses and final log-probabilities must be too; differences from fairshot's are columns. The
draw is the first whose rows all have 256 tokens or fewer: where the Trainer pads, nothing is cut.

Each measurement runs in a process of its own on the same threads: a short training to warm up, then
whole trainings from the same weights. Seconds are of the median training; building the model and
tokenizing are not timed. HANS rows are scored after the last. The peak of memory is what training
and evaluation take beyond the weights.
"""

import argparse
import gc
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from fewshot.adaptation import setup as setup_module
from fewshot.adaptation import training
from fewshot.prompts.set_queries import SetQueries
from fewshot.runtime.placement import Placement
from torch import nn

from . import cases, clocks, harness, shapes, trainer
from .clocks import MIB
from .harness import OURS, Column, Target
from .trainer import PADDED, Trained, Work

TASK, OTHER = "rte", "hans"
PATTERN, METHOD = "minimal", "pattern-ft"

NUMBER, COUNT = pa.float64(), pa.int32()
COLUMNS = {
    **harness.COMMON,
    "k": Column(COUNT, "rows that are trained on", "k"),
    "step_s": Column(NUMBER, "median seconds of an optimiser step", "s/step", "{:.3f}", -1),
    "eval_rows_per_s": Column(NUMBER, "RTE rows scored, median", "RTE rows/s", "{:.1f}", 1),
    "hans_rows_per_s": Column(NUMBER, "HANS rows scored, median", "HANS rows/s", "{:.1f}", 1),
    "peak_mib": Column(NUMBER, "peak beyond the weights, MiB", "peak MiB", "{:,.0f}", -1),
    "evaluation_share": Column(NUMBER, "share of evaluation in the time", "evaluation", "{:.0%}"),
    "final_loss": Column(NUMBER, "mean loss of the last epoch", "final loss", "{:.6f}"),
    "loss_diff": Column(NUMBER, "an epoch's loss from fairshot's, at most", "loss diff", "{:.1e}"),
    "logprob_diff": Column(
        NUMBER, "a label's log-probability from fairshot's, at most", "logprob diff", "{:.1e}"
    ),
    "passes": Column(COUNT, "trainings that were timed", "passes"),
    "losses": Column(pa.list_(NUMBER), "mean loss of each epoch"),
    "seed": Column(COUNT, "data seed of the draw"),
    "epochs": Column(COUNT, "epochs, each followed by an evaluation"),
    "batch_size": Column(COUNT, "rows of an optimiser step"),
    "learning_rate": Column(NUMBER, "rate after the warm-up"),
    "steps": Column(COUNT, "optimiser steps of a pass"),
    "longest": Column(COUNT, "tokens of the longest training row"),
    "rows": Column(COUNT, "RTE rows of each evaluation"),
    "hans_rows": Column(COUNT, "HANS rows"),
}
TARGETS = [
    Target({"system": "trainer-padded"}, "step_s_ratio", least=4.0),
    Target({"system": "trainer-dynamic"}, "step_s_ratio", least=2.5),
    Target({"system": "trainer-padded"}, "eval_rows_per_s_ratio", least=5.0),
    Target({"system": "trainer-padded"}, "hans_rows_per_s_ratio", least=15.0),
    Target({"system": "trainer-padded"}, "peak_mib_ratio", least=1 / 0.6),
    Target({"dtype": "float32"}, "loss_diff", most=1e-4),
    Target({"dtype": "float32"}, "logprob_diff", most=1e-3),
]
"""Differences in float32 up to which training is the same come last.

Single log-probabilities of the two Trainers differ from each other by 1e-4 after an epoch. Adam
divides a gradient by its own size, which should let rounding move weights whose gradient is next to
nothing; losses, which average over rows, agree more closely.
"""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = harness.parser("training", __doc__, ["opt-125m"], 120.0)
    add = made.add_argument
    rate = cases.method_settings(METHOD)["learning_rate"]
    add("--k", nargs="+", type=int, default=[128], metavar="K", help="rows (default: 128)")
    add("--epochs", type=int, default=2, help="epochs of a training (default: 2)")
    add("--learning-rate", type=float, default=rate, help=f"default: {rate:g}, as {METHOD} has")
    add("--rows", type=int, default=277, help="RTE rows to score (default: 277, all)")
    add("--hans-rows", type=int, default=300, help="HANS rows to score (default: 300)")
    harness.choose(made, "dtype", ["float32", "bfloat16"], ["float32"])
    return harness.parse(made, argv)


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table, and return the exit code."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, ["model", "dtype", "k"])
    # Every file that is needed, and every draw, is looked for before anything is measured.
    jobs = [job_of(asked, model, k) for model in asked.models for k in asked.k]
    for dtype in asked.dtype:
        for job, about in jobs:
            reference = None
            for system in SYSTEMS:  # fairshot comes first: the others are compared with it
                found = harness.run("bench_training", {**job, "system": system, "dtype": dtype})
                reference = reference or found
                row = {**about, "system": system, "dtype": dtype}
                table.add(asked, {**row, **summarise(found, reference, about)})
    return table.finish(TARGETS, asked.check)


def job_of(asked: argparse.Namespace, model: str, k: int) -> tuple[dict, dict]:
    """Return what a worker reads, but for system and dtype, and the columns about it."""
    tokenizer = cases.tokenizer(asked.tokenizers, shapes.family(model))
    pattern = cases.bound_pattern(TASK, PATTERN)
    seed, shots = cases.draw_within(asked.data, tokenizer, pattern, TASK, k, PADDED)
    own, other = (
        cases.spread_rows(asked.data, tokenizer, pattern, task, count, PADDED)
        for task, count in ((TASK, asked.rows), (OTHER, asked.hans_rows))
    )
    chosen = {"epochs": asked.epochs, "learning_rate": asked.learning_rate}
    settings = {**cases.method_settings(METHOD), **chosen}
    about = {"model": model, "k": k, "seed": seed, **chosen, "batch_size": settings["batch_size"]}
    about |= {"rows": len(own), "hans_rows": len(other)}
    about["longest"] = max(cases.query_lengths(tokenizer, pattern, shots))
    job = {**harness.options(asked, "repeats", "seconds", "tokenizers"), "other": other}
    job |= {"model": model, "seed": seed, "pattern": pattern, "settings": settings}
    job |= {"task": TASK, "shots": shots, "own": own}
    job["batch_tokens"] = job["batch_tokens"] or cases.study_batch_tokens(asked.device)
    return job, about


def summarise(found: dict, reference: dict, about: dict) -> dict:
    """Return the measured columns of a row from what a worker found and what fairshot's found."""
    trained, scored = statistics.median(found["train"]), statistics.median(found["score"])
    difference = {
        column: float(np.abs(np.array(found[name]) - np.array(reference[name])).max())
        for column, name in (("loss_diff", "losses"), ("logprob_diff", "logprobs"))
    }
    return {
        "step_s": trained / found["steps"],
        "eval_rows_per_s": found["scored_rows"] / scored,
        "hans_rows_per_s": about["hans_rows"] / statistics.median(found["other"]),
        "evaluation_share": scored / (trained + scored),
        "final_loss": found["losses"][-1],
        "passes": len(found["train"]),
        **difference,
        **{name: found[name] for name in ("losses", "peak_mib", "steps")},
    }


def measure(job: dict) -> dict:
    """Return losses [epochs] and logprobs [rows, labels] of the last pass; for each pass the
    seconds of its training (`train`) and of its evaluations (`score`), with the steps and the
    scored rows of one; the seconds of each pass over other rows (`other`); and peak_mib.

    A pass trains anew from the same weights; passes end after `repeats`, or once their training and
    evaluations have used up `seconds`, but there is one at least. `peak_mib` is the memory in MiB
    beyond the weights and the rows, over all passes; on a CPU fairshot's holds a second copy of the
    weights, which the next seed would start from.
    """
    torch.set_num_threads(job["threads"])
    system, family = SYSTEMS[job["system"]], shapes.family(job["model"])
    given = {each.name: job[each.name] for each in fields(Work) if each.name in job}
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = cases.tokenizer(job["tokenizers"], family)
        work = Work(**given, tokenizer=tokenizer, scratch=scratch)
        dtype = job["dtype"] if job["system"] == OURS else "float32"
        # Whatever is loaded on first use comes before what is measured.
        system(shapes.build(f"tiny-{family}", dtype), work.short())
        runs, most = _train(system, work, dtype, job)
        last = runs[-1]
        spent, _ = clocks.passes(last.scorer(job["other"]), job)
    return {
        **{name: getattr(last, name) for name in ("losses", "logprobs", "steps", "scored_rows")},
        "train": [run.train_seconds for run in runs],
        "score": [run.score_seconds for run in runs],
        "other": spent,
        "peak_mib": most,
    }


def _train(
    system: Callable[[nn.Module, Work], Trained], work: Work, dtype: str, job: dict
) -> tuple[list[Trained], float]:
    """Return the passes, the last with its scorer, and the peak of memory, after a short one."""
    runs, held, most, trained = [], None, 0, None
    for part in [work.short(), *[work] * job["repeats"]]:
        if runs and sum(r.train_seconds + r.score_seconds for r in runs) >= job["seconds"]:
            break
        # Nothing of the pass before may be held: a model and its trainer refer to each other.
        trained = None
        gc.collect()
        model = shapes.build(work.model, dtype)
        before = clocks.reset_peak(work.device)
        if held is None:
            weights = sum(each.numel() * each.element_size() for each in model.parameters())
            held = before + (weights if work.device == "cuda" else 0)
        trained = system(model, part)
        most = max(most, clocks.peak(work.device))
        del model
        if part is work:
            runs.append(replace(trained, scorer=None))
    return [*runs[:-1], trained], max(0.0, most - held) / MIB


def fairshot(model: nn.Module, work: Work) -> Trained:
    """Train with this project's loop. `scorer` reads with the weights from before: the job lets go
    of its trained copy, and other values take as long."""
    given = ("task", "model", "pattern", "settings", "dtype", "batch_tokens", "threads")
    job = cases.adaptation_job(
        work.seed,
        work.shots,
        work.own,
        # The engine refuses bfloat16 at stage 0.
        Placement(0 if work.dtype == "float32" else 1),
        method=METHOD,
        **{name: getattr(work, name) for name in given},
    )
    setup = setup_module.set_up(replace(job, queries=SetQueries(work.tokenizer)), lambda: model)
    with tempfile.TemporaryDirectory(dir=work.scratch) as folder:
        result = training.train_seed(setup, work.seed, Path(folder))
    curve = result.curves[result.curves["evaluation_set"] == "train"].sort_values("epoch")
    last = result.predictions["epoch"] == work.settings["epochs"]
    words = [f"logprob_{label}" for label in range(len(job.labels))]

    def scorer(rows: pd.DataFrame) -> Callable[[], object]:
        queries = cases.texts(work.pattern, rows)
        made = cases.scorer(work.tokenizer, work.pattern, "", queries)
        weights = model.to(work.device)
        return lambda: made.run(weights, work.batch_tokens)

    return Trained(
        losses=(-curve["mean_logprob"]).tolist(),
        logprobs=result.predictions.loc[last, words].to_numpy(),
        steps=result.facts["steps"],
        train_seconds=result.seconds["train"],
        score_seconds=sum(result.seconds.get(each, 0.0) for each in ("curve", "score")),
        scored_rows=result.facts["scored_rows"],
        scorer=scorer,
    )


SYSTEMS = {
    OURS: fairshot,
    "trainer-padded": trainer.trainer_padded,
    "trainer-dynamic": trainer.trainer_dynamic,
}

if __name__ == "__main__":
    harness.start(main)
