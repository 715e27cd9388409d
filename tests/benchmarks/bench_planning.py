"""Measure how long Snakemake plans studies of growing size: `make bench-planning`.

Each study has variants of LoRA on 13 models, 4 tasks and 5 numbers of shots, ten seeds a job, and
nothing of it has run. Each plan is a process of its own:

    study           `snakemake -n all`
    batch           `snakemake -n runs --batch runs=1/10`: what one of ten starts plans
    Snakemake       a Snakefile with as many jobs of as many files and without any function of
                    this project

Seconds are those of the processor, so that other work on the machine counts little; memory is the
most that the process held. `x` is the processor's time for each job beside that of the last plan,
Snakemake alone unless others are named.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import yaml
from fewshot.validation import read_yaml

ROOT = Path(__file__).parents[2]
SHOTS = [2, 16, 32, 64, 128]
PLANS = ["study", "batch", "Snakemake"]
TASKS = ["mnli", "rte", "qqp", "cola"]
ALONE = """
rule all:
    input:
        expand("runs/{{job}}/manifest.json", job=range({jobs})),

rule run:
    input:
        ["model.json", "weights.json", "own.parquet", "other.parquet", "train.parquet"],
        lambda w: [f"shots/k{{int(w.job) % 20}}/seed{{seed}}.parquet" for seed in range(10)],
    output:
        "runs/{{job}}/manifest.json",
        "runs/{{job}}/predictions.parquet",
        "runs/{{job}}/curves.parquet",
        directory("runs/{{job}}/adapters"),
    log:
        "logs/{{job}}.log",
    params:
        job="{{job}}",
    shell:
        "true"

rule sample:
    output:
        "shots/k{{k}}/seed{{seed}}.parquet",
    shell:
        "true"

rule read:
    output:
        "{{name}}.{{kind,json|parquet}}",
    wildcard_constraints:
        name="[a-z]+",
    shell:
        "true"
"""


def study_of(jobs: int) -> dict:
    """Return the configuration of a study with at least so many adaptation jobs."""
    models = read_yaml(ROOT / "config/paper.yaml")["models"]
    variants = math.ceil(jobs / (len(models) * len(TASKS) * len(SHOTS)))
    names = [f"lora-{number}" for number in range(variants)]
    entries = {
        name: {"base": "lora", "alpha": 8 + number, "title": f"LoRA {number}"}
        for number, name in enumerate(names)
    }
    return {
        "study": "planned",
        "models": models,
        "tasks": TASKS,
        "seeds": "0-9",
        "grid": [
            {"methods": ["in-context"], "patterns": ["minimal"], "k": [16]},
            {"methods": names, "patterns": ["minimal"], "k": SHOTS},
        ],
        "define": {"methods": entries},
    }


def plan(arguments: Iterable[str], folder: Path) -> dict[str, float]:
    """Plan in `folder` with these arguments of Snakemake; return jobs, seconds and MiB."""
    command = [sys.executable, "-m", "snakemake", "-n", *arguments]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, cwd=folder, stdout=told, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        told.seek(0)
        text = told.read()
    if process.returncode:
        sys.exit(f"error: {' '.join(command)}: {text.strip()[-2000:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "jobs": int(re.search(r"^total +(\d+)", text, re.MULTILINE)[1]),
        "CPU s": usage.ru_utime + usage.ru_stime,
        "wall s": seconds,
        "MiB": usage.ru_maxrss / unit,
    }


def compare(jobs: int, batches: int, plans: Iterable[str], folder: Path) -> pd.DataFrame:
    """Return what the `plans` of a study of so many jobs took, one row each."""
    config = folder / "study.yaml"
    config.write_text(yaml.safe_dump(study_of(jobs)))
    (folder / "Snakefile").write_text(ALONE.format(jobs=jobs))
    ours = ["--configfile", str(config)]
    starts = {
        "study": (["all", *ours], ROOT),
        "batch": (["runs", "--batch", f"runs=1/{batches}", *ours], ROOT),
        "Snakemake": (["all", "--cores", "1"], folder),
    }
    rows = {name: plan(*starts[name]) for name in plans}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("plan").reset_index()
    each = frame["CPU s"] / frame["jobs"]
    return frame.assign(**{"CPU ms/job": 1000 * each, "x": each / each.iloc[-1], "asked": jobs})


def main() -> None:
    """Plan studies of the sizes asked for and print a table."""
    parser = argparse.ArgumentParser(
        prog="bench-planning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = "adaptation jobs of each study (default: 1000 5000)"
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 5000], help=text)
    text = "how many starts the runs of a study are divided into (default: 10)"
    parser.add_argument("--batches", type=int, default=10, help=text)
    parser.add_argument("--plans", nargs="+", default=PLANS, choices=PLANS, help="default: all")
    asked = parser.parse_args()
    for jobs in asked.jobs:
        with tempfile.TemporaryDirectory(prefix="bench-planning-") as folder:
            found = compare(jobs, asked.batches, asked.plans, Path(folder))
        print(found.to_string(index=False, float_format="{:,.1f}".format), flush=True)


if __name__ == "__main__":
    main()
