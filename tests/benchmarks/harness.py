"""What the benchmarks share: their options, a process for each measurement, and their tables.

A benchmark is a module of this package with a function `measure(job)`, which is run in a process of
its own: the peak of memory is then that measurement's. Run as a program, this module is that
process: `python -m benchmarks.harness BENCHMARK FILE` reads the job from a file (pickle) and writes
what was found beside it.
"""

import argparse
import logging
import math
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from fewshot.errors import UserError
from fewshot.storage import write_table

from . import cases
from .clocks import CLOCKS
from .shapes import SHAPES

LOG = logging.getLogger(__name__)
OURS = "fairshot"


def parser(
    name: str, text: str, models: list[str], seconds: float = 0.0, valid: Sequence[str] = ()
):
    """Return a parser with the options that benchmarks share; `models` are the shapes unless told,
    of those that are `valid` (default: those with a tokenizer).

    `seconds` limits the passes of a measurement unless told; 0 for a benchmark that reads no real
    rows and takes no passes.
    """
    made = argparse.ArgumentParser(
        prog=f"bench-{name}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choose(made, "models", list(valid or SHAPES), models)
    add = made.add_argument
    add("--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: cuda if any")
    add("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    text = "that fairshot scores at once (default: as in a study)"
    add("--batch-tokens", type=int, default=0, help=text)
    out = cases.ROOT / "results" / "benchmarks" / f"{name}.parquet"
    add("--out", type=Path, default=out, metavar="FILE", help="Parquet file to write")
    if seconds:
        add("--repeats", type=int, default=3, help="passes to take the median of (default: 3)")
        text = f"a measurement's passes end after so long (default: {seconds:g})"
        add("--seconds", type=float, default=seconds, help=text)
        text = "rows: {task}/{split}.parquet or the published splits as JSON lines"
        default = cases.default_folder("data")
        add("--data", type=Path, default=default, metavar="FOLDER", help=text)
        text = "holds opt_tokenizer/ and neox_tokenizer/, or opt-125m/ and pythia-160m/"
        default = cases.default_folder("models")
        add("--tokenizers", type=Path, default=default, metavar="FOLDER", help=text)
        add("--check", action="store_true", help="exit with 1 where a target is missed")
    return made


def timing(made: argparse.ArgumentParser, seconds: float) -> None:
    """Add the options of a benchmark whose passes may be timed by the processor's clock."""
    add = made.add_argument
    add("--repeats", type=int, default=3, help="passes to take the median of (default: 3)")
    text = f"a measurement's passes end after so long (default: {seconds:g})"
    add("--seconds", type=float, default=seconds, help=text)
    add("--check", action="store_true", help="exit with 1 where a target is missed")
    clock(made)


def clock(made: argparse.ArgumentParser) -> None:
    """Add the option that says by which clock passes are timed."""
    text = "of the wall, or of the processor: on a machine that others use, with --threads 1"
    made.add_argument("--clock", choices=list(CLOCKS), default="wall", help=text)


def choose(made: argparse.ArgumentParser, name: str, valid: list[str], default: list[str]) -> None:
    """Add an option that takes one or several of some names."""
    text = f"{', '.join(valid)} (default: {' '.join(default) or 'by device'})"
    made.add_argument(
        f"--{name}", nargs="+", choices=valid, default=default, metavar="NAME", help=text
    )


def parse(
    made: argparse.ArgumentParser, argv: list[str], none: tuple[str, ...] = ()
) -> argparse.Namespace:
    """Read the command line, find the device and show progress with the time.

    Raises UserError for a GPU that is not there, and for a number that nothing can be measured
    with; of the options `none` 0 is a number too.
    """
    asked = made.parse_args(argv)
    for name, value in vars(asked).items():
        for each in value if isinstance(value, list) else [value]:
            zero = each == 0 and name in ("batch_tokens", *none)
            if type(each) in (int, float) and not (each > 0 or zero):
                raise UserError(f"--{name.replace('_', '-')} {each}: must be more than 0")
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if asked.device == "cuda" != found:
        raise UserError("--device cuda: torch finds no GPU; valid here: cpu, auto")
    asked.device = found if asked.device == "auto" else asked.device
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return asked


def options(asked: argparse.Namespace, *names: str) -> dict:
    """Return the options of that name, and those that every job has, for a job."""
    return {name: getattr(asked, name) for name in ("device", "threads", "batch_tokens", *names)}


def start(main: Callable[[list[str]], int]) -> None:
    """Run `main` on the command line and exit with its code; a user's mistake is one line."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")


def run(benchmark: str, job: dict) -> dict:
    """Return what the benchmark's `measure` finds in a process of its own.

    `job` has system, model, device ("cpu" or "cuda") and threads, and what `measure` wants besides.
    Raises UserError with the process's last words where it fails.
    """
    return call([sys.executable, "-m", "benchmarks.harness", benchmark], job)


def call(command: list[str], job: dict, changed: dict[str, str] | None = None) -> dict:
    """Return what a command finds for a job, whose file it is given; see `run`.

    `changed` are variables of its environment that differ from other measurements'.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "job"
        file.write_bytes(pickle.dumps(job))
        variables = environment(job) | (changed or {})
        done = subprocess.run([*command, str(file)], env=variables, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{job['system']} with {job['model']} failed: {_last_words(done)}")
        return pickle.loads(file.with_suffix(".found").read_bytes())


def environment(job: dict) -> dict[str, str]:
    """Return the environment of a measurement: its threads, one GPU or none, and no network."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": str(job["threads"]),
        # Several GPUs would be used at once by some systems; a GPU that is not wanted, by others.
        "CUDA_VISIBLE_DEVICES": seen if job["device"] == "cuda" else "",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
    }


def _last_words(done: subprocess.CompletedProcess) -> str:
    if done.returncode < 0:
        return f"killed by signal {-done.returncode} (9: memory may have run out)"
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


class Column(NamedTuple):
    """A column of a table: type, description, and how it is printed, if it is.

    `power` is 1 for what is better the larger it is, -1 for what is worse: fairshot's advantage
    over the row's system in it is printed too. Without one (0) nothing is compared.
    """

    kind: pa.DataType
    text: str
    heading: str = ""
    form: str = "{}"
    power: int = 0


class Target(NamedTuple):
    """What is promised of a column, in the rows that have the values of `where`."""

    where: dict
    column: str
    least: float = -math.inf
    most: float = math.inf


COMMON = {
    "model": Column(pa.string(), "shape of the model; its weights are random", "model"),
    "dtype": Column(pa.string(), "type of its weights", "dtype"),
    "device": Column(pa.string(), "'cpu' or 'cuda'"),
    "threads": Column(pa.int32(), "threads of the process"),
    "system": Column(pa.string(), "what was measured", "system"),
}
"""Columns that every table begins with."""


@dataclass
class Table:
    """Measurements, stored after each: a run that is stopped leaves what it has.

    Rows that agree in `same` are of the same work, and their systems are compared.
    """

    path: Path
    columns: dict[str, Column]
    same: list[str]
    rows: list[dict] = field(default_factory=list)

    def add(self, asked: argparse.Namespace, row: dict) -> None:
        """Add a measurement, log and store it."""
        about = {"device": asked.device, "threads": asked.threads, **row}
        self.rows.append({name: about.get(name) for name in self.columns})
        fields = [pa.field(name, each.kind, metadata={"description": each.text})
                  for name, each in self.columns.items()]  # fmt: skip
        write_table(self.path, pd.DataFrame(self.rows), pa.schema(fields))
        shown = [(each.heading, self._text(name, row[name])) for name, each in self.columns.items()
                 if each.heading and row.get(name) is not None]  # fmt: skip
        LOG.info(", ".join(f"{heading} {text}" for heading, text in shown))

    def compared(self) -> pd.DataFrame:
        """Return the rows with a column `NAME_ratio` for each that is compared: how many times
        better fairshot is than the row's system at the same work."""
        frame = pd.DataFrame(self.rows)
        for name, each in self.columns.items():
            if each.power:
                ours = frame[frame["system"] == OURS].set_index(self.same)[name]
                mine = ours.reindex(pd.MultiIndex.from_frame(frame[self.same])).to_numpy(float)
                ratio = (mine / frame[name].astype(float)) ** each.power
                frame[f"{name}_ratio"] = ratio.where(frame["system"] != OURS)
        return frame

    def render(self) -> str:
        """Return the columns that are printed as text; behind a compared one its ratio (`x`)."""
        frame, shown = self.compared(), {}
        for name, each in self.columns.items():
            if each.heading:
                shown[each.heading] = [self._text(name, value) for value in frame[name]]
            if each.power:
                ratios = frame[f"{name}_ratio"]
                shown[f"x {each.heading}"] = ["" if np.isnan(x) else f"{x:.1f}" for x in ratios]
        return pd.DataFrame(shown).to_string(index=False)

    def _text(self, name: str, value) -> str:
        return "" if pd.isna(value) else self.columns[name].form.format(value)

    def judge(self, targets: list[Target]) -> list[tuple[bool, str]]:
        """Return for each target and the systems that it is about whether the worst value of each
        reaches it, and a line that says so; what was not measured is absent."""
        frame, found = self.compared(), []
        for where, column, least, most in targets:
            rows = frame[(frame[list(where)] == pd.Series(where)).all(axis=1)]
            rows = rows[rows[column].notna()].astype({column: float})
            for key, part in rows.groupby(["model", "dtype", "system"], sort=False):
                worst = part[column].max() if least == -math.inf else part[column].min()
                reached = least <= worst <= most
                limit = f"at most {most:g}" if least == -math.inf else f"at least {least:g}"
                about = ", ".join([*key, *(f"{k} {v}" for k, v in where.items() if v not in key)])
                state = "reached" if reached else "not reached"
                found.append((reached, f"{state}: {about}: {column} {worst:.3g}, {limit}"))
        return found

    def finish(self, targets: list[Target], check: bool) -> int:
        """Print the table and what is promised; return 1 where a promise is to be kept but is not,
        else 0."""
        judged = self.judge(targets)
        lines = "\n".join(text for _, text in judged)
        print("", self.render(), lines, f"written to {self.path}", sep="\n\n")
        return int(check and not all(reached for reached, _ in judged))


if __name__ == "__main__":
    module = import_module(f"benchmarks.{sys.argv[1]}")
    job_file = Path(sys.argv[2])
    result = module.measure(pickle.loads(job_file.read_bytes()))
    job_file.with_suffix(".found").write_bytes(pickle.dumps(result))
