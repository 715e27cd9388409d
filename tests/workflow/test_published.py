"""A small study by the published code's rules, run to its end."""

import json

import pandas as pd
import pytest
from fewshot.data.shots import draw_fine_tuning, draw_in_context

RUNS = "results/runs/mosbach2023/synth-mnli/opt-micro"
CUT = 18
"""Tokens that the prompts of fine-tuning are cut to; some of the rows have more."""


@pytest.mark.slow
def test_methods_see_their_own_draws_and_cut_prompts_are_counted(fresh):
    fresh.edit(
        "config/methods.yaml", lambda content: content["quick-ft"].update(truncate=CUT, epochs=1)
    )
    fresh.edit(
        "config/config.yaml",
        lambda content: content.update(
            protocol="mosbach2023",
            grid=[
                {"methods": ["in-context"], "patterns": ["llmft-minimal"], "k": [4]},
                {"methods": ["quick-ft"], "patterns": ["minimal"], "k": [4, 5]},
            ],
        ),
    )
    fresh.run()
    train = pd.read_parquet(fresh.folder / "results/data/synth-mnli/train.parquet")
    cells = (
        ("in-context/llmft-minimal", 4, "in-context", draw_in_context),
        ("quick-ft/minimal", 4, "fine-tuning", draw_fine_tuning),
        ("quick-ft/minimal", 5, "fine-tuning", draw_fine_tuning),
    )
    for cell, k, kind, draw in cells:
        manifest = json.loads(
            (fresh.folder / RUNS / cell / f"k{k}/seeds8-9/manifest.json").read_text()
        )
        for seed in (8, 9):
            path = f"results/shots/mosbach2023-{kind}/synth-mnli/k{k}/seed{seed}.parquet"
            stored = pd.read_parquet(fresh.folder / path)
            expected = draw(train, k, 2, "synth-mnli", seed)
            assert stored["id"].tolist() == expected["id"].tolist()
            assert manifest["seeds"][str(seed)]["status"] == "ok"
            truncated = manifest["seeds"][str(seed)].get("truncated")
            assert (truncated is None) == (kind == "in-context")
            assert truncated is None or truncated["synth-mnli"] > 0
    coverage = (fresh.folder / "results/demo/tables/coverage.md").read_text()
    assert "3 of 3 cells are complete. Their methods cut prompts in 4 runs" in coverage
