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

Each measurement runs in a process of its own (`training_worker.py`) on the same threads: a short
training to warm up, then whole trainings from the same weights. Seconds are of the median training;
building the model and tokenizing are not timed. HANS rows are scored after the last. The peak of
memory is what training and evaluation take beyond the weights.
"""

import argparse
import tempfile
from pathlib import Path

from fewshot.errors import UserError

from . import cases, options, printing, training_report
from .training_plan import METHOD, Bench, Settings
from .training_worker import SYSTEMS

MODELS = ["opt-125m"]
SECONDS = 120.0


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("bench-training", __doc__, MODELS, SECONDS)
    add = parser.add_argument
    rate = cases.method_settings(METHOD)["learning_rate"]
    add("--k", nargs="+", type=int, default=[128], metavar="K", help="rows (default: 128)")
    add("--epochs", type=int, default=2, help="epochs of a training (default: 2)")
    add("--learning-rate", type=float, default=rate, help=f"default: {rate:g}, as {METHOD} has")
    add("--rows", type=int, default=277, help="RTE rows to score (default: 277, all)")
    add("--hans-rows", type=int, default=300, help="HANS rows to score (default: 300)")
    add(
        "--systems",
        nargs="+",
        default=list(SYSTEMS),
        choices=SYSTEMS,
        metavar="SYSTEM",
        help=f"{', '.join(SYSTEMS)} (default: all; {training_report.OURS} always)",
    )
    add(
        "--dtype",
        nargs="+",
        default=["float32"],
        choices=["float32", "bfloat16"],
        metavar="TYPE",
        help="float32, bfloat16 (default: float32)",
    )
    options.add_output(parser, "training.parquet")
    return parser.parse_args(argv)


def check(asked: argparse.Namespace) -> None:
    """Raise UserError for a number that nothing can be measured with."""
    for name in ("k", "epochs", "learning_rate", "rows", "hans_rows", "repeats", "threads"):
        value = getattr(asked, name)
        for each in value if isinstance(value, list) else [value]:
            if not each > 0:
                raise UserError(f"--{name.replace('_', '-')} {each}: must be more than 0")


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table, and return the exit code."""
    asked = parse(argv)
    check(asked)
    options.log_to_terminal()
    device = options.device_of(asked)
    chosen = {name: getattr(asked, name) for name in Settings.__dataclass_fields__
              if name not in ("device", "scratch")}  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Settings(**chosen, device=device, scratch=Path(scratch)))
        table = training_report.frame(bench.run(asked.models, asked.k, asked.systems))
    found = training_report.targets(table)
    parts = [training_report.render(table), training_report.share(table), printing.summary(found)]
    print("", *parts, f"written to {asked.out}", sep="\n\n")
    return int(asked.check and not all(target.reached for target in found))


if __name__ == "__main__":
    options.start(main)
