"""Measure the scorer beside other ways to score the same prompts: `make bench-scorer`.

Four systems score real rows behind real draws, with models of published shapes and random weights
(speed and memory do not depend on their values):

    fairshot            this project's scorer, at the study's `batch_tokens`
    transformers-full   whole prompts, sorted, masks and needless logits avoided (`systems.py`)
    transformers-cache  the context read once, its keys and values copied to each row of a batch
    lm-eval             lm-evaluation-harness, its class for transformers models, own batching

Each measurement runs in a process of its own (`worker.py`) on the same threads: two rows to warm
up, then passes over the rows; rows/s is of the median pass. Building the model and tokenizing are
not timed, but for lm-eval, which tokenizes inside its call. The peak of memory is what comes on top
once model and prompts are held. Slow systems read a sample of the rows, stratified by length;
`rows` says how many. Differences are of label log-probabilities, from transformers-full in float32,
on the rows that both scored.
"""

import argparse
import tempfile
from pathlib import Path

from . import options, printing, report
from .plan import Bench, Settings

MODELS = ["opt-125m", "pythia-160m"]
SECONDS = 25.0


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("bench-scorer", __doc__, MODELS, SECONDS)
    add = parser.add_argument
    add(
        "--k",
        nargs="+",
        type=int,
        default=[0, 2, 16, 32],
        metavar="K",
        help="shots, on RTE rows; 32 on MNLI rows too (default: 0 2 16 32)",
    )
    add(
        "--tasks",
        nargs="+",
        default=["rte", "mnli"],
        choices=["rte", "mnli"],
        metavar="TASK",
        help="rows (default: rte mnli)",
    )
    add(
        "--dtype",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=["float32", "bfloat16", "float16"],
        metavar="TYPE",
        help="the first for all systems, others for fairshot alone (default: float32 bfloat16)",
    )
    add("--rows", type=int, default=277, help="rows of a task at most (default: 277, all of RTE)")
    add(
        "--slow-rows",
        type=int,
        default=0,
        help="rows that slow systems are timed on (default: as many as have 4,000 tokens)",
    )
    add("--all-rows", action="store_true", help="time slow systems on all rows")
    add(
        "--lm-eval-batch",
        type=int,
        default=0,
        help="rows (default: as many as have 1,024 tokens on a CPU, its best)",
    )
    options.add_output(parser, "scorer.parquet")
    return parser.parse_args(argv)  # fmt: skip


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table, and return the exit code."""
    asked = parse(argv)
    options.log_to_terminal()
    device = options.device_of(asked)
    chosen = {name: getattr(asked, name) for name in Settings.__dataclass_fields__
              if name not in ("device", "scratch")}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Settings(**chosen, device=device, scratch=Path(scratch)))
        rows = bench.run(asked.models, asked.k)
    table = report.frame(rows)
    found = report.targets(table)
    print(f"\n{report.render(table)}\n\n{printing.summary(found)}\n\nwritten to {asked.out}")
    return int(asked.check and not all(target.reached for target in found))


if __name__ == "__main__":
    options.start(main)
