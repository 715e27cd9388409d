"""A model, a data set, a pattern and a variant of a method: one YAML entry each, no code; a method
family: its module and an entry of the table besides."""

import json
import shutil

import pandas as pd
import pytest
from safetensors.torch import load_file

FAMILY = '''
"""Norms: the scales of layer norms are trained, with a margin between the label words."""

from .freezing import train_only


def adapt(model, settings):
    names = [name for name, _ in model.named_parameters() if name.endswith("norm.weight")]
    return train_only(model, names, "norms", "models with layer norms")


def draw(model, generator):
    pass


def loss(answers):
    words = answers.scores()
    gold = words.gather(1, answers.labels[:, None])
    return (1.0 - gold + words).clamp(min=0).sum(dim=1)
'''
ENTRY = """
FAMILIES["norms"] = Family(
    TRAINING, trained=lambda shape, settings: (2 * shape.layers + 1) * shape.width
)
"""


def add_family(project) -> None:
    """Add a family of methods with a loss of its own, and a method of it."""
    (project.folder / "scripts/fewshot/methods/norms.py").write_text(FAMILY)
    with open(project.folder / "scripts/fewshot/study/families.py", "a") as file:
        file.write(ENTRY)
    project.edit(
        "config/methods.yaml",
        lambda c: c.update(norms={"base": "quick-ft", "family": "norms", "title": "Norms"}),
    )


@pytest.mark.slow
def test_one_entry_each(fresh):
    add_family(fresh)
    shutil.copytree(fresh.folder / "config/embedded/opt-micro", fresh.folder / "my-model")
    rows = [("A doctor slept .", label) for label in ("good", "bad")] * 20
    frame = pd.DataFrame(
        {"text": [f"{text} {i}" for i, (text, _) in enumerate(rows)], "mark": [m for _, m in rows]}
    )
    frame.to_csv(fresh.folder / "shots.csv", index=False)
    scored = frame.assign(text=frame["text"].str.replace("doctor", "nurse"))
    scored.to_csv(fresh.folder / "scored.csv", index=False)
    mine = {"local": "my-model", "family": "opt"}
    fresh.edit("config/models.yaml", lambda models: models.update(mine=mine))
    fresh.edit(
        "config/tasks.yaml",
        lambda c: c.update(
            mine={
                "source": {"local": {"shots": "shots.csv", "scored": "scored.csv"}},
                "splits": {"train": "shots", "validation": "scored"},
                "text": ["text"],
                "label": "mark",
                "labels": {"bad": "bad", "good": "good"},
            }
        ),
    )
    fresh.edit(
        "config/patterns.yaml",
        lambda c: c.update(
            mine={
                "template_one_text": "{text_a} question:",
                "answer": " {label}",
                "labels": {"bad": "No", "good": "Yes No"},
            }
        ),
    )
    fresh.edit("config/methods.yaml", lambda c: c.update(mine={"base": "quick-lora", "rank": 2}))
    fresh.edit(
        "config/config.yaml",
        lambda c: c.update(
            study="mine",
            models=["mine"],
            tasks=["mine"],
            seeds=1,
            grid=[{"methods": ["in-context", "mine", "norms"], "patterns": ["mine"], "k": [4]}],
            main={},
            figures=["accuracy-by-k"],
            tables=["accuracy", "coverage"],
        ),
    )
    fresh.run()
    metrics = pd.read_parquet(fresh.folder / "results/metrics/mine/mine/mine.parquet")
    overall = metrics[(metrics["selection"] == "last") & metrics["label"].isna()]
    overall = overall[overall["evaluation_set"] == "mine"]
    assert set(overall["method"]) == {"in-context", "mine", "norms"}
    assert (overall["n"] == 40).all()
    run = fresh.folder / "results/runs/fair/mine/mine/norms/mine/k4/seeds0-0"
    tokens = pd.read_parquet(run / "predictions.parquet")[["tokens_0", "tokens_1"]]
    assert (tokens == [1, 2]).all(axis=None)
    made = json.loads((run / "manifest.json").read_text())
    assert made["settings"]["family"] == "norms" and "loss" not in made["settings"]
    assert made["seeds"]["0"]["adapters"] == ["seed0.safetensors"]
    weights = load_file(run / "adapters/seed0.safetensors")
    assert weights and all(name.endswith("norm.weight") for name in weights)
    priced = pd.read_parquet(fresh.folder / "results/costs/mine/mine/mine.parquet")
    trained = priced.set_index("method")["trainable"]
    assert trained["norms"] == sum(each.numel() for each in weights.values()) < trained["mine"]
    assert "<img src=" in (fresh.folder / "results/mine/report.html").read_text()
