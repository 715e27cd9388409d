"""A model, a data set, a pattern and a variant of a method: one YAML entry each, no code."""

import shutil

import pandas as pd


def test_one_entry_each(fresh):
    shutil.copytree(fresh.folder / "config/embedded/opt-micro", fresh.folder / "my-model")
    rows = [("A doctor slept .", label) for label in ("good", "bad")] * 20
    frame = pd.DataFrame(
        {"text": [f"{text} {i}" for i, (text, _) in enumerate(rows)], "mark": [m for _, m in rows]}
    )
    frame.to_csv(fresh.folder / "shots.csv", index=False)
    frame.iloc[::-1].to_csv(fresh.folder / "scored.csv", index=False)
    parameters = fresh.read("config/models.yaml")["opt-micro"]["parameters"]
    window = fresh.read("config/models.yaml")["opt-micro"]["window"]
    fresh.edit(
        "config/models.yaml",
        lambda c: c.update(
            mine={"local": "my-model", "family": "opt", "parameters": parameters, "window": window}
        ),
    )
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
                "labels": {"bad": "No", "good": "Yes"},
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
            seeds="0",
            grid=[{"methods": ["in-context", "mine"], "patterns": ["mine"], "k": [4]}],
            main={},
            figures=["accuracy-by-k"],
            tables=["accuracy", "coverage"],
        ),
    )
    fresh.run()
    metrics = pd.read_parquet(fresh.folder / "results/metrics/mine/mine/mine.parquet")
    overall = metrics[(metrics["selection"] == "last") & metrics["label"].isna()]
    overall = overall[overall["evaluation_set"] == "mine"]
    assert set(overall["method"]) == {"in-context", "mine"}
    assert (overall["n"] == 40).all()
    assert "<img src=" in (fresh.folder / "results/mine/report.html").read_text()
