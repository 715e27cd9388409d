"""Measure one system on one set of prompts, in a process of its own: `worker JOB RESULT`.

JOB and RESULT are JSON files; `measure` names their keys. A process of its own makes the peak of
its memory the system's.
"""

import json
import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from fewshot.models import load_tokenizer
from fewshot.patterns import restore_pattern
from torch import nn

from . import shapes
from .adapter import scorer
from .systems import SYSTEMS, Job, Run

MIB = 2**20
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
    held = _reset_peak(job["device"])
    warm()
    seconds, logprobs = _passes(run, job)
    found = {
        "logprobs": logprobs.tolist(),
        "seconds": seconds,
        "peak_mib": max(0.0, _peak(job["device"]) - held) / MIB,
    }
    if job["system"] == "fairshot":
        rate = max(rate, gemm_rate(model))
        found |= _products(model, whole, statistics.median(seconds), rate)
    return found


def _passes(run: Run, job: dict) -> tuple[list[float], object]:
    seconds: list[float] = []
    while not seconds or (len(seconds) < job["repeats"] and sum(seconds) < job["seconds"]):
        _wait(job["device"])
        started = time.perf_counter()
        logprobs = run()
        _wait(job["device"])
        seconds.append(time.perf_counter() - started)
    return seconds, logprobs


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
            _wait(weight.device.type)
            started = time.perf_counter()
            for layer in layers:
                nn.functional.linear(inputs[layer.in_features], layer.weight)
            _wait(weight.device.type)
            seconds.append(time.perf_counter() - started)
    return flops / min(seconds[1:])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _reset_peak(device: str) -> int:
    """Forget the peak so far; return the bytes that are held now."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    status = Path("/proc/self/status")
    if not status.exists():
        return _peak(device)
    Path("/proc/self/clear_refs").write_text("5")
    return _status(status, "VmRSS")


def _peak(device: str) -> int:
    """Return the most bytes that were held since the last reset.

    On Linux from the process's own page: `ru_maxrss` counts what the parent held before it.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        return _status(status, "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(file: Path, key: str) -> int:
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))))
