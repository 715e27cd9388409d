"""Measure one system on one set of prompts, in a process of its own: `worker JOB RESULT`.

JOB and RESULT are JSON files (`apart.py`); `measure` names their keys.
"""

import statistics
import time

import torch
from fewshot.models.tokenizer import load_tokenizer
from fewshot.prompts.patterns import restore_pattern
from torch import nn

from . import apart, shapes
from .adapter import scorer
from .measuring import MIB, passes, peak, reset_peak, wait
from .systems import SYSTEMS, Job

WARM_ROWS = 2
GEMM_TOKENS, GEMM_LAYERS = 2048, 12
GEMM_SECONDS = 1.0


def measure(job: dict) -> dict:
    """Return logprobs, seconds per pass, peak_mib and, for fairshot, products done and possible.

    `job` has system, model, dtype, device, threads, tokenizer (a manifest), pattern, context,
    texts, batch, repeats and seconds: passes end after `repeats` or once `seconds` are used up,
    but there is one at least. `peak_mib` is the memory in MiB beyond what is held once model and
    prompts are there.
    """
    torch.set_num_threads(job["threads"])
    model = shapes.build(job["model"], job["dtype"], job["device"])
    tokenizer = load_tokenizer(job["tokenizer"])
    pattern = restore_pattern(job["pattern"])
    whole = Job(tokenizer, pattern, job["context"], job["texts"], job["batch"])
    few = Job(tokenizer, pattern, job["context"], job["texts"][:WARM_ROWS], job["batch"])
    make = SYSTEMS[job["system"]]
    run, warm = make(model, whole), make(model, few)
    rate = gemm_rate(model) if job["system"] == "fairshot" else 0.0
    held = reset_peak(job["device"])
    warm()
    seconds, logprobs = passes(run, job["device"], job["repeats"], job["seconds"])
    found = {
        "logprobs": logprobs.tolist(),
        "seconds": seconds,
        "peak_mib": max(0.0, peak(job["device"]) - held) / MIB,
    }
    if job["system"] == "fairshot":
        rate = max(rate, gemm_rate(model))
        found |= _products(model, whole, statistics.median(seconds), rate)
    return found


def _products(model: nn.Module, job: Job, seconds: float, rate: float) -> dict:
    """Return what a pass and bare products reach, in 1e9 operations per second, and their ratio."""
    prompts = scorer(job.tokenizer, job.pattern, job.context, job.texts)
    flops = shapes.scoring_flops(model, prompts.prefix, prompts.own, len(job.texts))
    return {
        "gflops": flops / seconds / 1e9,
        "gemm_gflops": rate / 1e9,
        "matmul_share": flops / seconds / rate,
    }


def gemm_rate(model: nn.Module) -> float:
    """Return operations per second of the model's own matrix products, with nothing between them.

    Its first `GEMM_LAYERS` linear layers in turn (two or three blocks), on `GEMM_TOKENS` tokens,
    with its dtype, device and threads; the fastest pass within `GEMM_SECONDS` seconds, of
    three at least. Measured before and after scoring; the better of the two counts.
    """
    weight = next(model.parameters())
    layers = [m for m in model.base_model.modules() if isinstance(m, nn.Linear)][:GEMM_LAYERS]
    inputs = {
        layer.in_features: torch.randn(
            GEMM_TOKENS, layer.in_features, dtype=weight.dtype, device=weight.device
        )
        for layer in layers
    }
    flops = sum(2 * GEMM_TOKENS * m.in_features * m.out_features for m in layers)
    seconds: list[float] = []
    with torch.no_grad():
        while len(seconds) < 4 or sum(seconds[1:]) < GEMM_SECONDS:
            wait(weight.device.type)
            started = time.perf_counter()
            for layer in layers:
                nn.functional.linear(inputs[layer.in_features], layer.weight)
            wait(weight.device.type)
            seconds.append(time.perf_counter() - started)
    return flops / min(seconds[1:])


if __name__ == "__main__":
    apart.serve(measure)
