"""The catalog of a study: names, order, titles and facts that tables and figures show."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..data.entries import as_list
from ..prompts.patterns import ChannelPattern
from .families import family_of, kind_of, read_settings
from .other_tasks import fixed_pattern
from .without_model import NONE

if TYPE_CHECKING:
    from .study import Study

SHOWN_REVISION = 12
"""Characters of a revision that are shown."""


def catalog_of(study: "Study") -> dict[str, dict]:
    """Return names, order and titles of all in a study, for tables and figures: plain values."""
    used = {
        kind: {getattr(cell, kind): None for cell in study.cells}
        for kind in ("task", "model", "method", "pattern")
    }
    tasks = dict.fromkeys(name for task in used["task"] for name in study.scored_sets(task))
    models = {name: _model(study, name) for name in study.models if name in used["model"]}
    # Baselines stand below what is held against them.
    names = sorted(study.methods, key=study.is_baseline)
    methods = {name: method_entry(study, name) for name in names if name in used["method"]}
    patterns = {name: _pattern(study, name) for name in study.patterns if name in used["pattern"]}
    patterns.pop(NONE, None)
    return {
        "models": models,
        "methods": methods,
        "patterns": patterns,
        "tasks": {name: _task(study, name) for name in tasks},
        "main": {**study.settings["main"], "k": study.main_k},
        "shared_draws": study.shared_draws,
        **({"variants": study.variants} if study.variants else {}),
        **_choices(study),
        **_forgetting(study),
    }


def _choices(study: "Study") -> dict[str, dict]:
    titles = {name: {"title": title_of(name, study.choices)} for name in study.choices}
    return {"choices": titles} if titles else {}


def _forgetting(study: "Study") -> dict[str, dict]:
    """Return the titles of the texts and tasks that are measured outside the tasks, and the
    pattern that each of these tasks is asked with."""
    elsewhere = study.forgetting
    if elsewhere is None:
        return {}
    return {
        "forgetting": {
            "texts": {name: title_of(name, study.texts) for name in elsewhere.texts},
            "tasks": {name: title_of(name, study.tasks) for name in elsewhere.tasks},
            "patterns": {
                name: title_of(fixed_pattern(study, name), study.patterns)
                for name in elsewhere.tasks
            },
        }
    }


def title_of(name: str, registry: dict[str, dict]) -> str:
    """Return the name a reader sees."""
    return registry[name].get("title", name)


def shown_names(study: "Study") -> dict[str, dict[str, str]]:
    """Return wildcard → name → title. The patterns are those of the study's cells alone: a job is
    shown with its pattern only if there are several."""
    used = {cell.pattern for cell in study.cells} - {NONE}
    registries = {
        "task": study.tasks,
        "source": {**study.tasks, **study.texts},
        "text": study.texts,
        "model": study.models,
        "method": study.methods,
        "pattern": {name: entry for name, entry in study.patterns.items() if name in used},
    }
    return {
        kind: {name: title_of(name, registry) for name in registry}
        for kind, registry in registries.items()
    }


def _model(study: "Study", name: str) -> dict:
    entry = study.model(name)
    if name == NONE:
        return {key: entry[key] for key in ("title", "family", "parameters", "window", "dtype")}
    return {
        "title": title_of(name, study.models),
        "family": entry["family"],
        "parameters": entry["parameters"],
        "window": entry["window"],
        "dtype": entry["dtype"],
        "source": _source(entry),
        **{key: entry[key] for key in ("licence",) if key in entry},
        **study.chat(name),
    }


def method_entry(study: "Study", name: str) -> dict:
    """Return what a study's catalog has of a method: plain values, without any of its models."""
    entry = study.methods[name]
    settings = read_settings(entry)
    family, head = settings.pop("family"), settings.pop("head")
    settings.pop("prompts", None)
    if "targets" in settings:  # Of the families of models that the study has.
        present = {study.models[cell.model]["family"] for cell in study.cells}
        settings["targets"] = {
            key: value for key, value in settings["targets"].items() if key in present
        }
    found = {
        "title": title_of(name, study.methods),
        "family": family,
        "head": head,
        "kind": kind_of(entry),
        "trained": family_of(entry).trains,
        "settings": settings,
    }
    if family_of(entry).baseline:
        found["baseline"] = "own model" if family_of(entry).reads_model else "no model"
    if name in study.divided_methods:
        found["divided"] = True
    if study.is_imported(name):
        found["stored_draws"] = entry["prompts"] == "stored"
    return found


def _pattern(study: "Study", name: str) -> dict:
    tasks = dict.fromkeys(cell.task for cell in study.cells if cell.pattern == name)
    return {
        "title": title_of(name, study.patterns),
        "prompts": {task: _prompt(study, name, task) for task in tasks},
        **({"scores_texts": True} if study.scores_texts(name) else {}),
    }


def _prompt(study: "Study", name: str, task: str) -> dict:
    """Return what a pattern makes of a task's rows, with the texts' names in their place."""
    pattern = study.bind(name, task)
    word = pattern.words[0]
    blank = word[: len(word) - len(word.lstrip())]
    shown = replace(pattern, words=(f"{blank}{{label}}",))
    query = pattern.query("{text_a}", "{text_b}")
    if isinstance(pattern, ChannelPattern):
        query = shown.label_prompt(0) + query
    return {
        "demonstration": shown.demonstration(0, "{text_a}", "{text_b}"),
        "query": query,
        "words": list(pattern.words),
    }


def _task(study: "Study", name: str) -> dict:
    entry = study.tasks[name]
    train = entry.get("expected", {}).get("train")
    parts = {key: entry[key] for key in ("subsample", "max_characters") if key in entry}
    return {
        "title": title_of(name, study.tasks),
        "labels": list(entry["labels"]),
        "metric": entry["metric"],
        "source": _source(study.tasks[study.source_of(name)]["source"]),
        "train_rows": sum(train.values()) if isinstance(train, dict) else train,
        **parts,
    }


def _source(entry: dict) -> str:
    """Return where a model or a task comes from: a Hub name at a revision, a host, or local."""
    if "hub" in entry:
        return f"{entry['hub']} @ {entry['revision'][:SHOWN_REVISION]}"
    if "url" in entry:
        files = [file for split in entry["url"].values() for file in as_list(split)]
        addresses = [urlsplit(file["address"]) for file in files]
        return ", ".join(dict.fromkeys(f"{at.netloc} ({Path(at.path).name})" for at in addresses))
    if "synthetic" in entry:
        return f"synthetic ({entry['synthetic']})"
    return "local files"
