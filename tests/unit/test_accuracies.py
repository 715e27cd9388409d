"""Headline and accuracy tables, from metric rows made by hand."""

import pandas as pd
from fewshot import schemas, tables
from fewshot.evidence import Evidence

CATALOG = {
    "models": {"opt-s": {"title": "OPT", "family": "opt", "parameters": 1e8}},
    "methods": {"ft": {"title": "Fine-tuned", "family": "full", "head": "language-model"}},
    "patterns": {"minimal": {"title": "minimal"}},
    "tasks": {
        "cola": {"title": "CoLA", "labels": ["no", "yes"], "metric": "matthews"},
        "rte": {"title": "RTE", "labels": ["yes", "no"], "metric": "accuracy"},
    },
    "main": {"k": 16, "selection": "last"},
}


def rows_of(task="cola", selection="last", mcc=(0.2, 0.4)):
    """Return metric rows of a cell with two seeds."""
    cell = {"protocol": "fair", "task": task, "model": "opt-s", "method": "ft"}
    cell |= {"pattern": "minimal", "k": 16, "selection": selection, "evaluation_set": task}
    cell |= {"domain": "in", "epoch": 1, "n": 100, "correct": 60, "majority": 0.5}
    cell |= {"accuracy": 0.6, "f1": 0.7, "status": "ok"}
    frame = pd.DataFrame([cell | {"seed": seed, "mcc": each} for seed, each in enumerate(mcc)])
    return frame.reindex(columns=schemas.METRICS.names)


def made(rows, name="headline", selection="last"):
    catalog = CATALOG | {"main": {"k": 16, "selection": selection}}
    return tables.make(name, Evidence(rows), catalog, {})


def test_the_headline_warns_of_an_epoch_chosen_by_its_rows():
    note = made(rows_of(selection="best-in-domain"), selection="best-in-domain").note
    assert "In domain, the best epoch was chosen by these very rows: read it as too high;" in note
    assert "too high" not in made(rows_of()).note
