"""Options that the benchmarks' command lines share, and how a benchmark is run from one."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from fewshot.errors import UserError

from . import cases
from .shapes import SHAPES


def base_parser(name: str, text: str, models: list[str] | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark; `models` are the shapes unless told."""
    made = argparse.ArgumentParser(
        prog=name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add(
        "--models",
        nargs="+",
        default=models,
        choices=SHAPES,
        metavar="NAME",
        help=f"shapes: {', '.join(SHAPES)} (default: {' '.join(models or ['by device'])})",
    )
    add("--device", default="auto", choices=["auto", "cpu", "cuda"], help="default: cuda if any")
    add("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    return made


def parser(name: str, text: str, models: list[str], seconds: float) -> argparse.ArgumentParser:
    """Return a parser with the options of benchmarks that compare systems.

    `seconds` is the limit on the passes of a measurement unless told.
    """
    made = base_parser(name, text, models)
    add = made.add_argument
    add("--repeats", type=int, default=3, help="passes to take the median of (default: 3)")
    add(
        "--seconds",
        type=float,
        default=seconds,
        help=f"no further pass once those of a measurement took so long (default: {seconds:g})",
    )
    add("--batch-tokens", type=int, default=0, help="of fairshot (default: a study's default)")
    add(
        "--data",
        type=Path,
        default=cases.default_folder("data"),
        metavar="FOLDER",
        help="rows: {task}/{split}.parquet or the published splits as JSON lines",
    )
    add(
        "--tokenizers",
        type=Path,
        default=cases.default_folder("models"),
        metavar="FOLDER",
        help="holds opt_tokenizer/ and neox_tokenizer/, or opt-125m/ and pythia-160m/",
    )
    add("--check", action="store_true", help="exit with 1 where a target is missed")
    return made


def add_output(made: argparse.ArgumentParser, name: str) -> None:
    """Add the option that names the Parquet file, `name` unless told."""
    default = cases.ROOT / "results" / "benchmarks" / name
    made.add_argument(
        "--out", type=Path, default=default, metavar="FILE", help="Parquet file to write"
    )


def device_of(options: argparse.Namespace) -> str:
    """Return "cpu" or "cuda"; raises UserError for a GPU that is not there."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" != found:
        raise UserError("--device cuda: torch finds no GPU; valid here: cpu, auto")
    return found if options.device == "auto" else options.device


def log_to_terminal() -> None:
    """Print the progress of measurements, with the time."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def start(main: Callable[[list[str]], int]) -> None:
    """Run `main` on the command line and exit with its code; a user's mistake is one line."""
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(f"error: {error}")
