"""Measure the CPU's ways to compute what a scorer spends its time on: `make bench-kernels`.

Each part of a model of published shape is computed in the plain way and in the project's:

    masks     12 rows of 84 tokens among which a mask says what sees what: ordinary products, or the
              fused kernel with the mask
    context   the queries of these rows meet 1,200 keys: in float32, or in the model's type
    products  1,008 tokens meet the layers' widest weights: as PyTorch does it in this type, or as
              `wide_products` lets it be (the same where the CPU has instructions for the type); of
              float32, by oneDNN as `to_mkldnn` makes it public, or by PyTorch's default, MKL
    readout   14 positions meet the vocabulary in float32: 16-bit weights in pieces of 64 MiB, as a
              GPU has them, or of a CPU's size

Both take turns in one process, after one of each to warm up; times are medians. Errors are the
largest differences from float64, relative to its largest number.
"""

import argparse
import statistics
from collections.abc import Callable

import pyarrow as pa
import torch
from fewshot.errors import UserError
from fewshot.models import parts
from fewshot.scoring import kernels
from torch import nn

from . import clocks, harness, shapes
from .harness import Column

NUMBER = pa.float64()
COLUMNS = {
    **harness.COMMON,
    "part": Column(pa.string(), "what is computed", "part"),
    "plain_ms": Column(NUMBER, "milliseconds in the plain way", "plain ms", "{:.1f}"),
    "own_ms": Column(NUMBER, "milliseconds in the project's way", "ms", "{:.1f}"),
    "ratio": Column(NUMBER, "plain_ms / own_ms", "times faster", "{:.2f}"),
    "plain_error": Column(NUMBER, "relative error in the plain way", "plain error", "{:.0e}"),
    "own_error": Column(NUMBER, "relative error in the project's way", "error", "{:.0e}"),
}
ROWS, TOKENS, READS, KEYS = 12, 84, 14, 1200
Way = Callable[[], torch.Tensor]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line; raises UserError for a GPU, which has kernels of its own."""
    made = harness.parser("kernels", __doc__, ["opt-125m"])
    made.set_defaults(device="cpu")
    kinds = ["float32", "bfloat16", "float16"]
    harness.choose(made, "dtype", kinds, kinds[:2])
    harness.choose(made, "parts", list(PARTS), list(PARTS))
    made.add_argument("--repeats", type=int, default=7, help="passes of each (default: 7)")
    harness.clock(made)
    asked = harness.parse(made, argv)
    if asked.device != "cpu":
        raise UserError("--device cuda: these are a CPU's kernels; valid: cpu")
    return asked


def main(argv: list[str]) -> int:
    """Print and store times and errors of both ways for each part of each model."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, [])
    shared = {**harness.options(asked, "repeats", "clock"), "system": harness.OURS}
    for model in asked.models:
        for dtype in asked.dtype:
            for part in asked.parts:
                about = {"model": model, "dtype": dtype, "part": part}
                table.add(asked, {**about, **harness.run("bench_kernels", {**shared, **about})})
    return table.finish([], False)


def measure(job: dict) -> dict:
    """Return the median milliseconds and the errors of both ways, and the ratio of the times."""
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    _, width, _, heads = shapes.SHAPES[job["model"]]
    with torch.no_grad():
        *ways, exact = PARTS[job["part"]](width, heads, getattr(torch, job["dtype"]))
        taken, found = ([], []), [None, None]
        for _ in range(1 + job["repeats"]):
            for i, way in enumerate(ways):
                seconds, found[i] = clocks.timed(way, job["device"], job["clock"])
                taken[i].append(1e3 * seconds)
    plain, own = (statistics.median(times[1:]) for times in taken)
    errors = [((each - exact).abs().max() / exact.abs().max()).item() for each in found]
    return {"plain_ms": plain, "own_ms": own, "ratio": plain / own} | dict(
        zip(("plain_error", "own_error"), errors, strict=True)
    )


def masks(width: int, heads: int, dtype: torch.dtype) -> tuple[Way, Way, torch.Tensor]:
    """Return the two ways to attend where a mask says what is seen, and the exact answer."""
    query, key, value = torch.randn(3, ROWS, heads, TOKENS, width // heads).to(dtype)
    mask = torch.rand(ROWS, 1, TOKENS, TOKENS).tril() > 0.4
    mask |= torch.eye(TOKENS, dtype=torch.bool)
    scale = (width // heads) ** -0.5
    wide = (each.double() for each in (query, key, value))
    exact = kernels.attend_plainly(*wide, False, scale, mask)[0]
    given = query, key, value, False, scale, mask
    return lambda: kernels.attend_plainly(*given)[0], lambda: kernels.attend(*given)[0], exact


def context(width: int, heads: int, dtype: torch.dtype) -> tuple[Way, Way, torch.Tensor]:
    """Return the two ways to attend to a context, and the exact answer."""
    each, scale = width // heads, (width // heads) ** -0.5
    query, *held = (torch.randn(1, heads, n, each).to(dtype) for n in (ROWS * TOKENS, KEYS, KEYS))

    def attend(kind: torch.dtype) -> torch.Tensor:
        given = (tensor.to(kind) for tensor in (query, *held))
        return kernels.attend(*given, False, scale)[0].to(dtype)

    wide = (tensor.double() for tensor in (query, *held))
    exact = kernels.attend_plainly(*wide, False, scale)[0]
    return lambda: attend(torch.float32), lambda: attend(dtype), exact


def products(width: int, heads: int, dtype: torch.dtype) -> tuple[Way, Way, torch.Tensor]:
    """Return the two ways to multiply a layer's weights, and the exact answer."""
    layer = nn.Linear(width, 4 * width, dtype=dtype)
    hidden = torch.randn(ROWS * TOKENS, width).to(dtype)

    def own() -> torch.Tensor:
        with parts.wide_products(layer):
            return layer(hidden)

    def plain() -> torch.Tensor:
        if dtype != torch.float32:
            return layer(hidden)
        return nn.functional.linear(hidden.to_mkldnn(), *packed).to_dense()

    packed = [each.detach().to_mkldnn() for each in (layer.weight, layer.bias)]
    weights = (each.double() for each in (layer.weight, layer.bias))
    return plain, own, nn.functional.linear(hidden.double(), *weights)


def readout(width: int, heads: int, dtype: torch.dtype) -> tuple[Way, Way, torch.Tensor]:
    """Return the two ways to compute logits in float32, and the exact answer."""
    weight = torch.randn(50_272, width).to(dtype)
    hidden, size = torch.randn(READS, width).to(dtype), parts.BLOCKS["cpu"]

    def in_blocks(elements: int) -> torch.Tensor:
        parts.BLOCKS["cpu"] = elements
        return parts.linear_in_float32(hidden, weight, None)

    exact = hidden.double() @ weight.double().T
    return lambda: in_blocks(parts.BLOCKS["cuda"]), lambda: in_blocks(size), exact


PARTS = {"masks": masks, "context": context, "products": products, "readout": readout}


if __name__ == "__main__":
    harness.start(main)
