"""Compare the memory that the plan predicts with what training takes: `make bench-memory`.

The same cells are trained and scored with several placements, each in a process of its own, on one
GPU where there is one and on the CPU otherwise. Models have published shapes and random weights,
rows have random words. Printed and stored are the predicted and the measured peak and their ratio:
on a GPU what PyTorch allocates, on a CPU what the process takes beyond its libraries and the base
weights. What runs out of memory says so; where the plan had said that it fits, that is a miss.

One process shares nothing: stages 1 to 3 show what DeepSpeed itself takes, and what offload saves.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from fewshot.errors import UserError
from fewshot.runtime.placement import Placement

from . import apart, options

LOG = logging.getLogger(__name__)
PLACEMENTS = {
    "plain": Placement(0),
    "stage 1": Placement(1),
    "stage 2": Placement(2),
    "stage 3": Placement(3),
    "fewer tokens": Placement(1, micro_tokens=1024),
    "checkpointing": Placement(1, checkpointing=True),
    "optimizer on the host": Placement(2, "optimizer"),
    "all on the host": Placement(3, "parameters", micro_tokens=1024, checkpointing=True),
}
"""What is tried: every way to save memory, alone and together."""
COLUMNS = ("model", "method", "dtype", "device", "placement", "predicted_mib", "measured_mib",
           "ratio", "seconds", "status")  # fmt: skip


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = options.base_parser("bench-memory", __doc__, None)
    add = parser.add_argument
    add(
        "--methods",
        nargs="+",
        default=["full", "lora"],
        choices=["full", "lora", "bitfit"],
        metavar="METHOD",
        help="full, lora, bitfit (default: full lora)",
    )
    add(
        "--dtype",
        nargs="+",
        choices=["float32", "bfloat16"],
        metavar="TYPE",
        help="float32, bfloat16 (default: both; float32 on a CPU)",
    )
    add(
        "--placements",
        nargs="+",
        choices=PLACEMENTS,
        metavar="NAME",
        help=f"{', '.join(PLACEMENTS)} (default: all; on a CPU those without stage 3 or offload)",
    )
    add("--k", type=int, default=32, help="rows to train on, for two epochs (default: 32)")
    add("--batch-size", type=int, default=32, help="rows of a step (default: 32)")
    add("--row", type=int, default=128, help="tokens of a row (default: 128)")
    add(
        "--batch-tokens",
        type=int,
        default=0,
        help="tokens scored at once (default: 16384, on a CPU 1024)",
    )
    options.add_output(parser, "memory.parquet")
    asked = parser.parse_args(argv)
    asked.device = options.device_of(asked)
    gpu = asked.device == "cuda"
    asked.models = asked.models or (["opt-1.3b", "pythia-160m"] if gpu else ["pythia-160m"])
    asked.dtype = asked.dtype or (["float32", "bfloat16"] if gpu else ["float32"])
    asked.placements = asked.placements or [
        name
        for name, place in PLACEMENTS.items()
        if gpu or (place.zero_stage < 3 and place.offload == "none")
    ]
    asked.batch_tokens = asked.batch_tokens or (16384 if gpu else 1024)
    return asked


def jobs(asked: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Yield (placement, worker's job) of every measurement; half precision has no stage 0."""
    shared = {key: getattr(asked, key) for key in
              ("device", "threads", "k", "batch_size", "row", "batch_tokens")}  # fmt: skip
    for model in asked.models:
        for dtype in asked.dtype:
            for method in asked.methods:
                for name in asked.placements:
                    place = PLACEMENTS[name]
                    if dtype == "float32" or place.zero_stage:
                        cell = {"model": model, "method": method, "dtype": dtype}
                        yield name, {**shared, **cell, "placement": asdict(place)}


def measure(name: str, job: dict) -> dict:
    """Run a worker and return its row of the table; one that fails is told by its last line."""
    row = {**{key: job[key] for key in COLUMNS if key in job}, "placement": name, "status": "ok"}
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = apart.run("memory_worker", {**job, "system": name}, Path(folder))
        except UserError as error:
            return {**row, "status": str(error)[:200]}
    ratio = found["predicted_mib"] / max(found["measured_mib"], 1e-9)
    return {**row, **found, "ratio": ratio}


def render(table: pd.DataFrame) -> str:
    """Return the table as it is printed: MiB and seconds rounded."""
    shown = table.copy()
    for column, digits in (("predicted_mib", 0), ("measured_mib", 0), ("ratio", 2), ("seconds", 1)):
        shown[column] = shown[column].map(lambda value, n=digits: f"{value:,.{n}f}")
    return shown.to_string(index=False)


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table; return 1 where a measurement failed."""
    asked = parse(argv)
    options.log_to_terminal()
    rows = []
    for name, job in jobs(asked):
        rows.append(measure(name, job))
        LOG.info("%s %s %s, %s: %s", job["model"], job["method"], job["dtype"], name,
                 rows[-1].get("ratio", rows[-1]["status"]))  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(asked.out)
    print(f"\n{render(table)}\n\nratio: predicted / measured\n\nwritten to {asked.out}")
    return int((table["status"] != "ok").any())


if __name__ == "__main__":
    options.start(main)
