"""Run the same adaptation jobs twice and compare their bytes: `python -m benchmarks.bench_bytes`.

A tiny model learns in context, is trained whole and trained with LoRA, each time in a process of
its own on the same device. What is compared are predictions, curves and adapters; `alike` counts
the files that are the same.
"""

import argparse
import tempfile
from pathlib import Path

import fine_tune
import pyarrow as pa
import run_in_context
from fewshot.errors import UserError
from fewshot.storage import sha256
from job_files import write_job

from . import harness
from .harness import Column

JOBS = {
    "in-context": (run_in_context, {"family": "in_context"}),
    "full": (fine_tune, {"keep_weights": True}),
    "lora": (fine_tune, {"family": "lora"}),
}
COLUMNS = {
    "device": harness.COMMON["device"],
    "system": Column(pa.string(), "kind of job", "job"),
    "files": Column(pa.int32(), "files that each run writes, timings aside", "files"),
    "alike": Column(pa.int32(), "files with the same bytes in both runs", "alike"),
}


def main(argv: list[str]) -> int:
    """Run each job twice, print and store what is alike, and return 1 where something is not."""
    made = argparse.ArgumentParser(prog="bench-bytes", description=__doc__.split("\n")[0])
    made.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    made.add_argument("--out", type=Path, default=Path("results/benchmarks/bytes.parquet"))
    asked = harness.parse(made, argv)
    asked.threads = 1
    table = harness.Table(asked.out, COLUMNS, [])
    for name in JOBS:
        job = {"system": name, "model": "tiny", "device": asked.device, "threads": asked.threads}
        first, second = (harness.run("bench_bytes", job) for _ in range(2))
        if first.keys() != second.keys():
            raise UserError(f"{name}: its two runs wrote other files")
        alike = sum(first[file] == second[file] for file in first)
        table.add(asked, {"system": name, "files": len(first), "alike": alike})
    table.finish([], check=False)
    return int(any(row["files"] != row["alike"] for row in table.rows))


def measure(job: dict) -> dict[str, str]:
    """Return the checksum of each file that a run of the job writes, but for its manifest."""
    script, settings = JOBS[job["system"]]
    with tempfile.TemporaryDirectory() as folder:
        smk = write_job(Path(folder), **settings)
        script.main(smk)
        out = Path(smk.output.manifest).parent
        files = [path for path in sorted(out.rglob("*")) if path.is_file()]
        return {
            str(path.relative_to(out)): sha256(path) for path in files if path.suffix != ".json"
        }


if __name__ == "__main__":
    harness.start(main)
