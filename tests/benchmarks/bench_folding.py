"""Measure what folding adapters into the weights saves: `make bench-folding`.

The scorer reads random rows of 64 tokens behind 40 that they share, with a model of published shape
and random weights: as it is, with an adapter beside its weights, and with the same folded into
them. Passes of all take turns in one process, after one of each to warm up; rows/s is of the median
pass. Differences are of log-probabilities, folded or not.
"""

import argparse
import copy
import statistics

import numpy as np
import pyarrow as pa
import torch
from fewshot.exchange.folding import fold
from fewshot.methods import ia3, lora
from fewshot.prompts.tokenize import Prompts
from fewshot.rng import generator
from fewshot.scoring.score import score
from torch import nn

from . import clocks, harness, shapes
from .harness import Column

NUMBER = pa.float64()
COLUMNS = {
    **harness.COMMON,
    "adapter": Column(pa.string(), "what is added to the model", "adapter"),
    "base": Column(NUMBER, "rows per second of the model alone", "model", "{:.2f}"),
    "beside": Column(NUMBER, "rows per second, adapter unfolded", "beside", "{:.2f}"),
    "folded": Column(NUMBER, "rows per second, adapter folded", "folded", "{:.2f}"),
    "beside_ratio": Column(NUMBER, "beside / base", "beside / model", "{:.3f}"),
    "folded_ratio": Column(NUMBER, "folded / base", "folded / model", "{:.3f}"),
    "max_abs_diff": Column(NUMBER, "log-probability, folded or not", "max diff", "{:.1e}"),
}
LORA = {"alpha": 16, "dropout": 0.0, "dora": False}
SOME = {"opt": ["q_proj", "v_proj"], "pythia": ["query_key_value"]}
ALL = {
    "opt": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "pythia": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
}
ADAPTERS = ("lora", "lora-all", "ia3")
SHARED, OWN, ROWS = 40, 64, 24


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = harness.parser("folding", __doc__, ["opt-125m"])
    harness.choose(made, "dtype", ["float32", "bfloat16"], ["float32", "bfloat16"])
    harness.choose(made, "adapters", list(ADAPTERS), list(ADAPTERS))
    made.add_argument("--repeats", type=int, default=3, help="passes of each (default: 3)")
    harness.clock(made)
    return harness.parse(made, argv)


def main(argv: list[str]) -> int:
    """Print and store rows/s of each adapter, beside the weights and folded, and their ratios."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, [])
    shared = {**harness.options(asked, "repeats", "clock"), "system": harness.OURS}
    for model in asked.models:
        for dtype in asked.dtype:
            for adapter in asked.adapters:
                about = {"model": model, "dtype": dtype, "adapter": adapter}
                found = harness.run("bench_folding", {**shared, **about})
                rates = {kind: ROWS / each for kind, each in found["seconds"].items()}
                ratios = {f"{kind}_ratio": rates[kind] / rates["base"] for kind in list(rates)[1:]}
                row = {**about, **rates, **ratios, "max_abs_diff": found["max_abs_diff"]}
                table.add(asked, row)
    return table.finish([], False)


def adapted(base: nn.Module, adapter: str, family: str) -> nn.Module:
    """Return a copy of a model with an adapter that changes what it computes."""
    model, noise = copy.deepcopy(base), generator("folding")
    if adapter == "ia3":
        ia3.adapt(model, {})
        ia3.draw(model, noise)
    else:
        targets, rank = (ALL, 64) if adapter == "lora-all" else (SOME, 8)
        lora.adapt(model, {**LORA, "targets": targets[family], "rank": rank})
        lora.draw(model, noise)
    with torch.no_grad():
        for each in model.parameters():
            if each.requires_grad:
                added = noise.normal(0.0, 0.01, tuple(each.shape)).astype(np.float32)
                each += torch.from_numpy(added).to(each)
    return model.eval()


def prompts_of(vocabulary: int) -> Prompts:
    """Return rows of random tokens behind a context, each with two words of a token."""
    draw = generator("rows")
    tokens = draw.integers(3, vocabulary, (ROWS, OWN)).tolist()
    context = tuple(draw.integers(3, vocabulary, SHARED).tolist())
    return Prompts(tuple(range(ROWS)), context, list(map(tuple, tokens)), [((5,), (6,))] * ROWS)


def measure(job: dict) -> dict:
    """Return the median seconds of passes by the model alone (`base`), with the adapter `beside`
    its weights and `folded`, and the largest difference of the latter two."""
    torch.set_num_threads(job["threads"])
    base = shapes.build(job["model"], job["dtype"], job["device"])
    model = adapted(base, job["adapter"], shapes.family(job["model"]))
    prompts = prompts_of(base.config.vocab_size)
    models = {"base": base, "beside": model, "folded": copy.deepcopy(model)}
    fold(models["folded"])
    taken, found = {kind: [] for kind in models}, {}
    for _ in range(1 + job["repeats"]):
        for kind, times in taken.items():
            seconds, scores = clocks.timed(
                lambda read=models[kind]: score(
                    read, prompts, batch_tokens=job["batch_tokens"] or 1024
                ),
                job["device"],
                job["clock"],
            )
            times.append(seconds)
            found[kind] = scores.logprobs
    return {
        "seconds": {kind: statistics.median(times[1:]) for kind, times in taken.items()},
        "max_abs_diff": float(np.abs(found["folded"] - found["beside"]).max()),
    }


if __name__ == "__main__":
    harness.start(main)
