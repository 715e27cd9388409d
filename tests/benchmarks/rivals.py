"""Rivals of the scorer that are installed apart from it: `make rivals`.

Each has an environment of its own, so that its pins need not agree with the project's; it is
measured by `engines.py` there, on the same weights, tokens and threads.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from fewshot.errors import UserError

from . import cases, harness, shapes

LOG = logging.getLogger(__name__)
FOLDER = cases.ROOT / ".snakemake" / "rivals"
RIVALS = {
    "ctranslate2": "ctranslate2",
    "ctranslate2-int8": "ctranslate2",
    "vllm": "vllm",
}
"""The environment of each system, a folder below `FOLDER`."""


def interpreter(folder: Path, system: str) -> Path:
    """Return the Python of a rival's environment, there or not."""
    return folder / RIVALS[system] / "bin" / "python"


def installed(folder: Path, systems: Iterable[str]) -> list[str]:
    """Return the systems without the rivals that are not installed; one line tells of each.

    Raises UserError where none is left.
    """
    found = []
    for system in systems:
        if system not in RIVALS or interpreter(folder, system).exists():
            found.append(system)
        else:
            missing = interpreter(folder, system)
            LOG.warning("%s is left out: no %s; `make rivals` installs it", system, missing)
    if not found:
        raise UserError("--systems: none of them is installed; `make rivals` installs rivals")
    return found


def run(asked: argparse.Namespace, about: dict, case: cases.Case) -> dict:
    """Return what `engines.measure` finds for a rival; raises UserError where the rival fails.

    `about` has system, model and dtype. The rival reads the model that `shapes.build` makes from a
    folder, which is removed afterwards.
    """
    tokenizer = cases.tokenizer(asked.tokenizers, shapes.family(about["model"]))
    texts = [case.context + text for text in case.texts]
    prompts, tokens = cases.tokenize(tokenizer, case.pattern, texts)
    job = {**about, **harness.options(asked, "repeats", "seconds", "clock")}
    job |= {"prompts": prompts, "shared": cases.shared_tokens(prompts)}
    job |= {"tokens": tokens, "window": cases.WINDOW}
    with tempfile.TemporaryDirectory(prefix="rival-") as folder:
        shapes.build(about["model"], about["dtype"], asked.device).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        command = [str(interpreter(asked.rivals, about["system"])), "-m", "benchmarks.engines"]
        here = {"PYTHONPATH": str(Path(__file__).parents[1])}
        found = harness.call(command, {**job, "folder": folder}, here)
    return {**found, "logprobs": np.array(found["logprobs"], dtype=np.float32)}
