"""Measure how long a job needs to its first forward pass: `make bench-startup`.

Each program runs in a process of its own, from its start until a tiny model embeds its first
tokens. Seconds are those of the processor, so that other work on the machine counts little:

    transformers    imports torch and transformers, loads tokenizer and model, and reads a text
    in-context      a job of this project on the same model
    fine-tuning     a job that trains all weights
    lora            a job that trains LoRA, for which peft is imported
"""

import argparse
import pickle
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from job_files import write_job
from tiny import TARGETS

BARE = "transformers"
FIRST = """
import pickle, sys, time, torch
def first(*given):
    print(time.process_time(), flush=True)
    sys.exit()
torch.nn.Embedding.forward = first
"""
LOADED = """
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
AutoModelForCausalLM.from_pretrained(sys.argv[1])(**tokenizer("a text", return_tensors="pt"))
"""
JOB = "import {script}; {script}.main(pickle.load(open(sys.argv[1], 'rb')))"
JOBS = {
    "in-context": ("run_in_context", {"family": "in_context"}),
    "fine-tuning": ("fine_tune", {}),
    "lora": ("fine_tune", {"family": "lora", "targets": TARGETS["opt"]}),
}


def seconds(program: str, argument: Path) -> float:
    """Return the seconds of the processor until the program's model embeds something."""
    command = [sys.executable, "-c", FIRST + program, str(argument)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return float(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        sys.exit(f"error: no forward pass: {done.stderr.strip()}")


def main() -> None:
    """Measure each program some times, in turn, and print medians beside that of transformers."""
    parser = argparse.ArgumentParser(prog="bench-startup", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs to take the median of")
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        programs = {BARE: (LOADED, Path(folder, "lora", "model"))}
        for name, (script, settings) in JOBS.items():
            path = Path(folder, name)
            smk = write_job(path, k=4, seeds=(0,), **settings)
            Path(path, "smk").write_bytes(pickle.dumps(smk))
            programs[name] = (JOB.format(script=script), path / "smk")
        runs = [{name: seconds(*each) for name, each in programs.items()} for _ in range(repeats)]
    medians = {name: statistics.median(run[name] for run in runs) for name in programs}
    found = pd.DataFrame({"CPU s to the first forward": medians})
    found["x"] = found.iloc[:, 0] / medians[BARE]
    print(found.to_string(float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
