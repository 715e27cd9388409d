"""The simulated study as a project that Snakemake takes for finished, without model or source."""

import json
import os
import time
from pathlib import Path

import pandas as pd
import simulate
import yaml
from fewshot import schemas, storage
from project import Project

MODELS = ("opt-s", "pythia-s")
PAIRS = [
    pair for pair in simulate.pairs() if pair["task"] == "nli" and pair["model"] in MODELS
]  # With a cell that does not fit, and none that is missing.
FIGURES = ("id-ood-scatter",)
TABLES = ("headline", "accuracy", "coverage", "comparison", "costs")


def registries() -> dict[str, dict]:
    """Return the registries of the simulated study; nothing that they name can be fetched."""
    hub = {"hub": "nobody/nothing", "revision": "0" * 40}
    tasks = {
        name: {
            "title": entry["title"],
            "source": {**hub, "files": {"train": "t.parquet", "validation": "v.parquet"}},
            "splits": {
                "validation": "validation",
                **({} if name == "hans" else {"train": "train"}),
            },
            "text": ["premise", "hypothesis"],
            "label": "label",
            "labels": {label: place for place, label in enumerate(entry["labels"])},
            "verbalizers": {"yes-no": ["Yes", "No"]},
            **({} if name == "hans" else {"out_of_domain": ["hans"]}),
        }
        for name, entry in simulate.TASKS.items()
    }
    training = {"loss": "vocabulary", "learning_rate": 0.001, "epochs": simulate.EPOCHS}
    training |= {"batch_size": 8, "warmup": 0.0, "weight_decay": 0.0, "gradient_clip": 1.0}
    training |= {"curve_epochs": "each", "curve_rows": "all"}
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0, "dora": False, "targets": {}}
    lora["targets"] = {family: ["q_proj"] for family in ("opt", "pythia")}
    own = {"icl": {}, "ft": {**training, "keep_weights": False}, "lora": {**training, **lora}}
    return {
        "models": {
            name: {**simulate.MODELS[name], **hub, "window": 1024, "dtype": "float32"}
            for name in MODELS
        },
        "tasks": tasks,
        "methods": {name: {**simulate.METHODS[name], **own[name]} for name in simulate.METHODS},
        "patterns": {
            "minimal": {
                "title": "Minimal",
                "template": "{text_a} {text_b} ?",
                "answer": " {label}",
                "verbalizer": "yes-no",
            }
        },
    }


def study() -> dict:
    """Return the study's settings."""
    block = {"patterns": ["minimal"]}
    return {
        "study": "sim",
        "models": list(MODELS),
        "tasks": ["nli"],
        "seeds": "0-4",
        "grid": [{"methods": [name], "k": simulate.KS[name], **block} for name in simulate.METHODS],
        "main": {"k": 16},
    }


def finished(folder: Path) -> Project:
    """Return a project whose runs are done: its registries, study.yaml and results."""
    project = Project.create(folder)
    for name, content in registries().items():
        write_yaml(folder / f"config/{name}.yaml", content)
    write_yaml(folder / "study.yaml", study())
    few_pages(project)
    simulate.write_study(folder, PAIRS)
    for name in MODELS:
        path = folder / f"results/models/{name}/weights.json"
        storage.write_json(path, {"model": name, "revision": "0" * 40, "files": {}})
    for path, frame in shots().items():
        storage.write_table(folder / path, frame, schemas.SHOTS)
    date(folder)
    return project


def few_pages(project: Project) -> None:
    """Leave few figures and tables, all of which the demo draws."""

    def change(content):
        for kind, names in (("figures", FIGURES), ("tables", TABLES)):
            content[kind] = {name: content[kind][name] for name in names}

    def draw_all(content):
        for kind in ("figures", "tables"):
            content.pop(kind, None)

    project.edit("config/figures.yaml", change)
    project.edit("config/config.yaml", draw_all)


def shots() -> dict[str, pd.DataFrame]:
    """Return path → draw, for every draw that the study names."""
    return {
        f"results/shots/fair/nli/k{k}/seed{seed}.parquet": pd.DataFrame(
            {"position": range(k), "id": range(seed, seed + k), "label": [i % 2 for i in range(k)]}
        )
        for k in (16, 32)
        for seed in simulate.SEEDS
    }


def date(folder: Path) -> None:
    """Date all results alike: written one by one, sources would be newer than their rows."""
    now = time.time_ns()
    for path in (folder / "results").rglob("*"):
        os.utime(path, ns=(now, now))


def write_yaml(path: Path, content: dict) -> None:
    """Write a configuration."""
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def write_logs(folder: Path, k: int, seeds: tuple[int, ...]) -> str:
    """Write logs as lm-evaluation-harness does, all rows of label 0 right; return their paths."""
    for name in ("nli", "hans"):
        for seed in seeds:
            path = folder / f"logs/samples_{name}_seed{seed}_2026-01-01T00-00-00.000000.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = simulate.prepared(name)
            lines = map(json.dumps, map(_line, rows["id"].tolist(), rows["label"].tolist()))
            path.write_text("".join(f"{line}\n" for line in lines))
            results = {"n-shot": {f"{name}_seed{seed}": k}, "lm_eval_version": "0.4.13"}
            path.with_name("results_2026-01-01T00-00-00.000000.json").write_text(
                json.dumps(results)
            )
    return "logs/**/samples_{set}_seed{seed}_*.jsonl"


def _line(number: int, label: int) -> dict:
    arguments = {
        f"gen_args_{i}": {"arg_0": "shown a b ?", "arg_1": word}
        for i, word in enumerate((" Yes", " No"))
    }
    return {
        "doc_id": 0,
        "doc": {"premise": "a", "hypothesis": "b", "idx": number},
        "target": str(label),
        "arguments": arguments,
        "filtered_resps": [["-0.5", "True"], ["-2.0", "False"]],
        "filter": "none",
    }
