"""Write `envs/fairshot.yaml`, which conda reads, from the pins that pip reads.

`make envs` runs it; a test fails while the file is out of step. With the argument `newer` it prints
what is installed in other versions than these pins, as `make test-newest` does.
"""

import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from fewshot.errors import UserError

ENVS = Path(__file__).parents[1] / "envs"
HEAD = """\
# For `snakemake --sdm conda`: Python from conda-forge, all else by pip. `make envs` writes this
# file from requirements.txt and constraints.txt; it has the pins of both.
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def render(folder: Path = ENVS) -> str:
    """Return the file for the pins in `folder`: what is used first, then what that needs in turn.

    Raises UserError for a line that is no pin, and where the two files do not agree.
    """
    used = read_pins(folder / "requirements.txt")
    whole = read_pins(folder / "constraints.txt")
    for name, version in used.items():
        if whole.get(name) != version:
            raise UserError(
                f"{folder / 'constraints.txt'}: {name} is {whole.get(name, 'missing')}; valid: "
                f"{version}, as in requirements.txt"
            )
    return HEAD + "".join(
        f"      - {name}=={version}\n" for name, version in (used | whole).items()
    )


def read_pins(path: Path) -> dict[str, str]:
    """Return the version of each package in a file for pip, by its normalised name (PEP 503).

    Raises UserError for a line that is neither a comment nor `name==version`, and for a name that
    is given twice.
    """
    pins: dict[str, str] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.partition("#")[0].strip()
        pin = re.fullmatch(r"([\w.-]+)==([\w.!+-]+)", text)
        name = normalised(pin[1]) if pin else ""
        if text and (not pin or name in pins):
            raise UserError(
                f"{path}: line {number}: '{text}'; valid: name==version, each name once"
            )
        if pin:
            pins[name] = pin[2]
    return pins


def other_versions(pins: Mapping[str, str], installed: Mapping[str, str]) -> list[str]:
    """Return a line for each package that is installed in another version than its pin, or not.

    A local part of a version, as in 2.13.0+cpu, names a build and does not count.
    """
    found = {normalised(name): version.partition("+")[0] for name, version in installed.items()}
    return [
        f"{name} {version} → {found.get(name, 'not installed')}"
        for name, version in sorted(pins.items())
        if found.get(name) != version
    ]


def normalised(name: str) -> str:
    """Return a package's name in the form in which names are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["newer"]:
            there = {each.name: each.version for each in metadata.distributions()}
            print(*other_versions(read_pins(ENVS / "constraints.txt"), there), sep="\n")
        else:
            sys.stdout.write(render())
    except UserError as error:
        sys.exit(f"error: {error}")
