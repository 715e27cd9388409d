"""Studies of the simulated results (simulate.py) with the shipped figures and tables: with a set
out of domain, as the shipped tasks have, or without any, as one's own data usually are."""

import shutil
from contextlib import chdir
from pathlib import Path

import simulate
import stored
import yaml
from fewshot.report import partial, report
from fewshot.report.figures.registry import make_figure
from fewshot.study.catalog import catalog_of
from fewshot.study.load import load_study
from fewshot.study.study import Study
from fewshot.validation import read_yaml

CONFIG = Path(__file__).parents[1] / "config"
BASES = {"icl": "in-context", "ft": "pattern-ft", "lora": "lora"}
GRID = [
    {"methods": ["icl"], "patterns": ["minimal"], "k": [0, 16, 32]},
    {"methods": ["ft", "lora"], "patterns": ["minimal"], "k": [16, 32]},
]


def registries(train: Path, dev: Path) -> dict[str, dict]:
    """Return the entries that a person adds for models, methods and a data set of their own, whose
    rows are in the files `train` and `dev`."""
    models = {
        name: {**entry, "hub": f"us/{name}", "revision": "0" * 40, "window": 1024}
        for name, entry in simulate.MODELS.items()
    }
    methods = {
        name: {"base": BASES[name], "title": entry["title"]}
        for name, entry in simulate.METHODS.items()
        if name != "lora"
    }
    own = {
        "title": "Own rows",
        "source": {"local": {"train": str(train), "dev": str(dev)}},
        "splits": {"train": "train", "validation": "dev"},
        "text": ["first", "second"],
        "label": "label",
        "labels": {"entailment": 0, "contradiction": 1},
        "verbalizers": {"yes-no": ["Yes", "No"]},
    }
    return {"models": models, "methods": methods, "tasks": {"nli": own}}


def load(folder: Path, **keys) -> Study:
    """Return the study `mine` of the task "nli", with `keys` in its file; `folder` is empty."""
    for path in CONFIG.glob("*.yaml"):
        shutil.copy2(path, folder)
    files = [folder / f"{split}.jsonl" for split in ("train", "dev")]
    for path in files:
        path.touch()
    for name, entries in registries(*files).items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**read_yaml(path), **entries}, sort_keys=False))
    config = {
        "study": "mine",
        "models": list(simulate.MODELS),
        "tasks": ["nli"],
        "seeds": "0-4",
        "grid": GRID,
        "main": {"k": 16},
    }
    return load_study({**config, **keys}, str(folder), "mine.yaml")


def results(study: Study, folder: Path) -> report.ReportInputs:
    """Return what the report of a study is written about, of results simulated in `folder`."""
    used = {(cell.model, cell.method, cell.k) for cell in study.cells}
    pairs = [
        {
            **pair,
            "evaluation": [stored.scored_set("nli")],
            "jobs": [
                job for job in pair["jobs"] if (pair["model"], job["method"], job["k"]) in used
            ],
        }
        for pair in simulate.pairs()
        if pair["task"] == "nli" and pair["model"] in study.settings["models"]
    ]
    simulate.write_study(folder, pairs)
    catalog = catalog_of(study)
    entries = (study.figures, study.tables)
    with chdir(folder):
        evidence = partial.collect(partial.PartialStudy(study.settings, catalog, *entries, pairs))
    specs = {
        name: make_figure(entry["function"], evidence, catalog, entry["options"], entry["title"])
        for name, entry in study.figures.items()
    }
    return report.ReportInputs(study.settings, catalog, *entries, evidence, specs)
