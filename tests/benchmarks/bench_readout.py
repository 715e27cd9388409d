"""Measure what logits in float32 cost a 16-bit model: `make bench-readout`.

The scorer reads real RTE rows behind a draw of k shots, with a model of published shape and random
weights: once with the head as the model has it, whose logits are rounded to 16 bits, and once with
`Float32Linear`. Passes of both take turns in one process, after one of each to warm up; rows/s is
of the median pass.
"""

import argparse
import statistics

import pyarrow as pa
import torch
from fewshot.models.parts import Float32Linear, use_float32_head
from torch import nn

from . import cases, clocks, harness, shapes
from .harness import Column

COLUMNS = {
    **harness.COMMON,
    "k": Column(pa.int32(), "shots", "k"),
    "rounded": Column(pa.float64(), "rows per second, 16-bit logits", "16 bits", "{:.2f}"),
    "exact": Column(pa.float64(), "rows per second, float32 logits", "float32", "{:.2f}"),
    "ratio": Column(pa.float64(), "exact / rounded", "ratio", "{:.3f}"),
}


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = harness.parser("readout", __doc__, ["opt-125m", "pythia-160m"], 60.0)
    made.add_argument("--k", nargs="+", type=int, default=[0, 16], metavar="K", help="shots")
    harness.choose(made, "dtype", ["bfloat16", "float16"], ["bfloat16"])
    made.add_argument("--rows", type=int, default=64, help="rows (default: 64)")
    harness.clock(made)
    return harness.parse(made, argv, ("k",))


def main(argv: list[str]) -> int:
    """Print and store rows/s of both readouts and their ratio, per model and number of shots."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, [])
    for model in asked.models:
        tokenizer = cases.tokenizer(asked.tokenizers, shapes.family(model))
        for k in asked.k:
            case = cases.make_case(asked.data, tokenizer, "rte", k)
            case = case.take(range(min(asked.rows, len(case.texts))))
            for dtype in asked.dtype:
                about = {"system": harness.OURS, "model": model, "dtype": dtype}
                job = {
                    **harness.options(asked, "seconds", "tokenizers", "clock"),
                    **about,
                    "case": case,
                }
                found = harness.run("bench_readout", job)
                rows = {name: len(case.texts) / seconds for name, seconds in found.items()}
                ratio = rows["exact"] / rows["rounded"]
                table.add(asked, {**about, "k": k, **rows, "ratio": ratio})
    return table.finish([], asked.check)


def measure(job: dict) -> dict:
    """Return the median seconds of passes with 16-bit logits (`rounded`) and float32 (`exact`)."""
    torch.set_num_threads(job["threads"])
    case, device = job["case"], job["device"]
    model = shapes.build(job["model"], job["dtype"], device)
    tokenizer = cases.tokenizer(job["tokenizers"], shapes.family(job["model"]))
    prompts = cases.scorer(tokenizer, case.pattern, case.context, case.texts)
    use_float32_head(model)

    def run() -> None:
        prompts.run(model, job["batch_tokens"] or 1024)

    head, taken = model.get_output_embeddings(), {"rounded": [], "exact": []}
    while len(taken["exact"]) < 2 or sum(map(sum, taken.values())) < job["seconds"]:
        for kind, times in zip((nn.Linear, Float32Linear), taken.values(), strict=True):
            head.__class__ = kind
            times.append(clocks.timed(run, device, job["clock"])[0])
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    harness.start(main)
