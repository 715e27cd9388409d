"""Measure what logits in float32 cost a 16-bit model: `make bench-readout`.

The scorer reads real RTE rows behind a draw of k shots, with a model of published shape and random
weights: once with the head as the model has it, whose logits are rounded to 16 bits, and once with
`Float32Linear`. Passes of both take turns in one process, after one of each to warm up; rows/s is
of the median pass.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from fewshot.models.parts import Float32Linear, use_float32_head
from fewshot.models.tokenizer import load_tokenizer
from torch import nn

from . import cases, options, shapes
from .adapter import scorer
from .measuring import wait


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("bench-readout", __doc__, ["opt-125m", "pythia-160m"], 60.0)
    parser.add_argument("--k", nargs="+", type=int, default=[0, 16], metavar="K", help="shots")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--rows", type=int, default=64, help="rows (default: 64)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Print rows/s of both readouts and their ratio, per model and number of shots."""
    asked = parse(argv)
    device = options.device_of(asked)
    torch.set_num_threads(asked.threads)
    print(f"rows/s in {asked.dtype}")
    print(f"{'model':12} {'k':>3} {'16 bits':>9} {'float32':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in asked.models:
            family = name.partition("-")[0]
            manifest = cases.tokenizer_manifest(asked.tokenizers, family, Path(scratch))
            tokenizer = load_tokenizer(manifest)
            model = shapes.build(name, asked.dtype, device)
            for k in asked.k:
                case = cases.make_case(asked.data, tokenizer, "rte", k)
                run = scorer(tokenizer, case.pattern, case.context, case.texts[: asked.rows]).run
                seconds = compare(run, model, asked.batch_tokens or 1024, asked.seconds)
                rows = min(asked.rows, len(case.texts))
                rounded, exact = (rows / statistics.median(times) for times in seconds)
                print(f"{name:12} {k:3} {rounded:9.2f} {exact:9.2f} {exact / rounded:6.3f}")
    return 0


def compare(
    run: Callable[..., object], model: nn.Module, batch_tokens: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Return the seconds of passes with 16-bit and with float32 logits, in turns."""
    use_float32_head(model)
    head, taken = model.get_output_embeddings(), ([], [])
    started = time.perf_counter()
    while len(taken[0]) < 2 or time.perf_counter() - started < seconds:
        for kind, times in zip((nn.Linear, Float32Linear), taken, strict=True):
            head.__class__ = kind
            wait(head.weight.device.type)
            begin = time.perf_counter()
            run(model, batch_tokens)
            wait(head.weight.device.type)
            times.append(time.perf_counter() - begin)
    return taken[0][1:], taken[1][1:]


if __name__ == "__main__":
    options.start(main)
