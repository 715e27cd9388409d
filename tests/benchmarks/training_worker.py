"""Measure the training of one system, in a process of its own: `training_worker JOB RESULT`.

JOB and RESULT are JSON files (`apart.py`); `measure` names their keys.
"""

import gc
from collections.abc import Callable
from dataclasses import replace

import torch
from fewshot import storage
from fewshot.models.tokenizer import load_tokenizer
from fewshot.prompts.patterns import restore_pattern
from torch import nn

from . import apart, shapes, trainers, trainings
from .measuring import MIB, passes, peak, reset_peak
from .trainings import Trained, Work

System = Callable[[nn.Module, Work], Trained]

SYSTEMS: dict[str, System] = {
    "fairshot": trainings.fairshot,
    "trainer-padded": trainers.trainer_padded,
    "trainer-dynamic": trainers.trainer_dynamic,
}


def measure(job: dict) -> dict:
    """Return losses [epochs] and logprobs [rows, labels] of the last pass; for each pass the
    seconds of its training (`train`) and of its evaluations (`score`), with the steps and the
    scored rows of one; the seconds of each pass over other rows (`other`); and peak_mib.

    `job` has system, model, dtype, device, threads, tokenizer (a manifest), pattern, task, seed,
    the files `shots`, `own` and `other` of schemas.ROWS, settings, batch_tokens, repeats, seconds
    and scratch. A pass trains anew from the same weights; passes end after `repeats`, or once
    their training and evaluations have used up `seconds`, but there is one at least. `peak_mib`
    is the memory in MiB beyond the weights and the rows, over all passes; on a CPU fairshot's
    holds a second copy of the weights, which the next seed would start from.
    """
    torch.set_num_threads(job["threads"])
    system, work = SYSTEMS[job["system"]], _read(job)
    dtype = job["dtype"] if job["system"] == "fairshot" else "float32"
    # Whatever is loaded on first use comes before what is measured.
    system(shapes.build(f"tiny-{shapes.family(work.model)}", dtype), work.short())
    runs, most = _train(system, work, dtype, job["repeats"], job["seconds"])
    last = runs[-1]
    other = last.scorer(storage.read_table(job["other"]))
    spent, _ = passes(other, work.device, job["repeats"], job["seconds"])
    return {
        "losses": last.losses,
        "logprobs": last.logprobs.tolist(),
        "steps": last.steps,
        "train": [run.train_seconds for run in runs],
        "score": [run.score_seconds for run in runs],
        "scored_rows": last.scored_rows,
        "other": spent,
        "peak_mib": most,
    }


def _train(
    system: System, work: Work, dtype: str, repeats: int, seconds: float
) -> tuple[list[Trained], float]:
    """Return the passes, the last with its scorer, and the peak of memory, after a short one."""
    runs, held, most, trained = [], None, 0, None
    for part in [work.short(), *[work] * repeats]:
        if runs and sum(run.train_seconds + run.score_seconds for run in runs) >= seconds:
            break
        # Nothing of the pass before may be held: a model and its trainer refer to each other.
        trained = None
        gc.collect()
        model = shapes.build(work.model, dtype)
        before = reset_peak(work.device)
        if held is None:
            held = before + (_bytes(model) if work.device == "cuda" else 0)
        trained = system(model, part)
        most = max(most, peak(work.device))
        del model
        if part is work:
            runs.append(replace(trained, scorer=None))
    return [*runs[:-1], trained], max(0.0, most - held) / MIB


def _read(job: dict) -> Work:
    names = ("task", "model", "seed", "settings", "dtype", "device", "threads", "batch_tokens")
    return Work(
        **{name: job[name] for name in names},
        tokenizer=load_tokenizer(job["tokenizer"]),
        pattern=restore_pattern(job["pattern"]),
        shots=storage.read_table(job["shots"]),
        own=storage.read_table(job["own"]),
        scratch=job["scratch"],
    )


def _bytes(model: nn.Module) -> int:
    return sum(each.numel() * each.element_size() for each in model.parameters())


if __name__ == "__main__":
    apart.serve(measure)
