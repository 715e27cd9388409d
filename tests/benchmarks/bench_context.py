"""Measure rows behind long contexts: `make bench-context`.

Rows of random tokens are scored behind contexts of 1,000 to 32,000, with Gemma 3 270M's shape
(three layers of 18 attend to all tokens, the others to 512) and random weights, by three systems:

    fairshot            the context in chunks; sliding layers read and keep what is in their reach
    one-piece           the same code with chunks as long as the context
    transformers-cache  the context through transformers' own forward pass and cache, which is
                        copied to each row of a batch

Each measurement runs in a process of its own. `context s` is the time to read the context, once;
`rows/s` is of the rows behind it, of the median pass; `of shortest` compares that with the shortest
context of the system. The peak of memory is what comes on top once the model is held. Slow systems
end at `--longest` tokens. Differences are of label log-probabilities, from fairshot's.
"""

import argparse
import statistics

import numpy as np
import pyarrow as pa
import torch
from fewshot.prompts.tokenize import Prompts
from fewshot.rng import generator
from fewshot.scoring import reader
from fewshot.scoring.packing import canonical_batches, length_of
from fewshot.scoring.prefix_attention import routed
from fewshot.scoring.routes import evaluating, plan_reading
from torch import nn
from transformers import DynamicCache

from . import cases, clocks, harness, shapes
from .bench_scorer import read_behind
from .clocks import MIB
from .harness import OURS, Column, Target

ROW, WORDS = 64, (11, 12)
COPIES = 8
"""Rows of a batch of transformers-cache."""
NUMBER, COUNT, TEXT = pa.float64(), pa.int32(), pa.string()
COLUMNS = {
    **harness.COMMON,
    "context": Column(COUNT, "tokens of the context", "context"),
    "rows": Column(COUNT, f"rows of {ROW} tokens that were timed", "rows"),
    "passes": Column(COUNT, "passes over the rows"),
    "context_s": Column(NUMBER, "seconds to read the context", "context s", "{:.1f}", -1),
    "rows_per_s": Column(NUMBER, "behind the context, median pass", "rows/s", "{:.2f}", 1),
    "of_shortest": Column(NUMBER, "rows_per_s by the shortest context's", "of shortest", "{:.0%}"),
    "peak_mib": Column(NUMBER, "peak beyond the weights, MiB", "peak MiB", "{:,.0f}", -1),
    "max_abs_diff": Column(NUMBER, "log-probability, at most", "max diff", "{:.1e}"),
}
TARGETS = [
    Target({"context": 8000, "system": OURS}, "of_shortest", least=0.5),
    Target({"dtype": "float32"}, "max_abs_diff", most=1e-4),
]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = harness.parser("context", __doc__, ["gemma3-270m"], valid=list(shapes.SLIDING))
    add = made.add_argument
    default = [1000, 4000, 8000, 16000, 32000]
    text = f"tokens of the contexts (default: {' '.join(map(str, default))})"
    add("--context", nargs="+", type=int, default=default, metavar="TOKENS", help=text)
    harness.choose(made, "dtype", ["float32", "bfloat16"], ["float32"])
    harness.choose(made, "systems", list(SYSTEMS), list(SYSTEMS))
    add("--longest", type=int, default=8000, help="context of slow systems (default: 8000)")
    add("--rows", type=int, default=32, help="rows to score (default: 32)")
    harness.timing(made, 30.0)
    return harness.parse(made, argv)


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table, and return the exit code."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, ["model", "dtype", "context"])
    shared = harness.options(asked, "rows", "repeats", "seconds", "clock")
    shared["batch_tokens"] = asked.batch_tokens or cases.study_batch_tokens(asked.device)
    for model in asked.models:
        for dtype in asked.dtype:
            first: dict[str, float] = {}
            for context in sorted(asked.context):
                ours = None
                for system in asked.systems:
                    if system != OURS and context > asked.longest:
                        continue
                    about = {"system": system, "model": model, "dtype": dtype, "context": context}
                    found = harness.run("bench_context", {**shared, **about})
                    ours = found["logprobs"] if system == OURS else ours
                    table.add(asked, {**about, **summarise(found, ours, asked.rows, first, system)})
    return table.finish(TARGETS, asked.check)


def summarise(found: dict, ours, rows: int, first: dict[str, float], system: str) -> dict:
    """Return a row's numbers; `first` has, or gets, the rows/s of each system's first context."""
    rate = rows / statistics.median(found["seconds"])
    row = {"rows": rows, "passes": len(found["seconds"]), "rows_per_s": rate}
    row |= {"of_shortest": rate / first.setdefault(system, rate)}
    if system != OURS and ours is not None:
        row["max_abs_diff"] = float(np.abs(found["logprobs"] - ours).max())
    return {**row, "context_s": found["context_s"], "peak_mib": found["peak_mib"]}


def measure(job: dict) -> dict:
    """Return logprobs [rows, words], context_s, seconds per pass over the rows, and peak_mib."""
    torch.set_num_threads(job["threads"])
    model = shapes.build(job["model"], job["dtype"], job["device"])
    tokens = generator("benchmark", "context").integers(20, 200, job["context"]).tolist()
    rows = generator("benchmark", "rows").integers(20, 200, (job["rows"], ROW)).tolist()
    words = [tuple((word,) for word in WORDS)] * len(rows)
    prompts = Prompts(tuple(range(len(rows))), tuple(tokens), list(map(tuple, rows)), words)
    make = SYSTEMS[job["system"]]
    # What is done once in a process, such as choosing kernels, is done before.
    short = Prompts((0, 1), prompts.prefix[:64], prompts.suffixes[:2], prompts.words[:2])
    make(model, short, job["batch_tokens"])()()
    read_context = make(model, prompts, job["batch_tokens"])
    held = clocks.reset_peak(job["device"])
    context_s, read_rows = clocks.timed(read_context, job["device"], job["clock"])
    seconds, logprobs = clocks.passes(read_rows, job)
    most = max(0.0, clocks.peak(job["device"]) - held) / MIB
    return {"logprobs": logprobs, "context_s": context_s, "seconds": seconds, "peak_mib": most}


def fairshot(model: nn.Module, prompts: Prompts, batch_tokens: int):
    """Return a function that reads the context and returns one that reads the rows."""
    plan, head = plan_reading(model, prompts), model.get_output_embeddings()
    lengths = [length_of(prompts, sequence) for sequence in plan.sequences]
    batches = canonical_batches(lengths, batch_tokens)

    def read_context():
        with evaluating(model), routed(model):
            made = reader.Reader(model, prompts, plan.route)

        def read_rows() -> np.ndarray:
            logprobs = np.zeros((len(prompts.ids), len(WORDS)), dtype=np.float32)
            with evaluating(model), routed(model):
                for batch in batches:
                    hidden, layout = made.hidden([plan.sequences[i] for i in batch])
                    found = torch.log_softmax(head(hidden).float(), dim=-1)
                    read, row, word, token = torch.from_numpy(layout.targets).T
                    logprobs[row, word] = found[read, token].cpu().numpy()
            return logprobs

        return read_rows

    return read_context


def one_piece(model: nn.Module, prompts: Prompts, batch_tokens: int):
    """Do what `fairshot` does with the context in one piece."""
    reader.CHUNK = max(len(prompts.prefix), 1)
    return fairshot(model, prompts, batch_tokens)


def transformers_cache(model: nn.Module, prompts: Prompts, batch_tokens: int):
    """Read the context by the model's own forward pass, and rows behind copies of its cache."""
    ids, shared = torch.tensor([prompts.prefix], device=model.device), len(prompts.prefix)
    rows, words = [list(own) for own in prompts.suffixes], list(WORDS)
    batches = [range(i, min(i + COPIES, len(rows))) for i in range(0, len(rows), COPIES)]

    def read_context():
        cache = DynamicCache(config=model.config)
        with torch.no_grad():
            model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        return lambda: read_behind(model, batches, words, rows, shared, cache)

    return read_context


SYSTEMS = {OURS: fairshot, "one-piece": one_piece, "transformers-cache": transformers_cache}


if __name__ == "__main__":
    harness.start(main)
