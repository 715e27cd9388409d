"""The shipped registries with two models more, for tests of the plan to break."""

import copy
import shutil
from pathlib import Path

import yaml
from fewshot.study.load import load_study
from fewshot.study.registries import REGISTRIES
from fewshot.study.study import Study
from fewshot.validation import read_yaml
from mistakes import told

CONFIG = Path(__file__).parents[1] / "config"
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
BLOCK = {"methods": ["in-context"], "patterns": ["minimal"], "k": [2]}
STUDY = {
    "study": "mine",
    "models": ["tiny", "small"],
    "tasks": ["rte"],
    "seeds": "0-2",
    "grid": [
        {"methods": ["in-context"], "patterns": ["minimal", "gpt-3"], "k": [0, 2]},
        {"methods": ["pattern-ft", "vanilla-ft"], "patterns": ["minimal"], "k": [2]},
    ],
}


def copy_registries(folder: Path) -> Path:
    """Copy the registries into `folder`, with the models tiny and small, and return it."""
    for name in REGISTRIES:
        shutil.copy(CONFIG / f"{name}.yaml", folder)
    model = {"family": "opt", "hub": "a/b", "revision": "x", "parameters": 1, "window": 1}
    edit(folder, "models", lambda models: models.update(tiny=model, small={**model}))
    return folder


def edit(folder: Path, name: str, change) -> None:
    """Apply `change` to a parsed registry and write it back."""
    path = folder / f"{name}.yaml"
    content = read_yaml(path)
    change(content)
    text = yaml.dump(content, Dumper=DUMPER, sort_keys=False, allow_unicode=True)
    path.write_text(text, "utf-8")


def load(folder: Path, **changes) -> Study:
    """Return the study with some keys changed, checked."""
    return load_study({**copy.deepcopy(STUDY), **changes}, folder, "config/mine.yaml")


def message(folder, **changes) -> str:
    """Return the one line with which a study is refused, its registries' folder called config."""
    return told(load, folder, **changes).replace(f"{folder}/", "config/")


def edit_task(folder, task, **changes):
    edit(folder, "tasks", lambda tasks: tasks[task].update(changes))
