"""A study whose best epoch a half of the in-domain rows chooses, from its jobs to its pages."""

import json

import pandas as pd
import pytest
from fewshot.data import halves
from fewshot.data.evaluation_sets import read_set

TRAINED = "results/runs-held-out/fair/synth-mnli/opt-micro/{}/minimal/k4/seeds8-9"


@pytest.mark.weekly
def test_a_held_out_choice_runs_beside_what_is_there(study):
    """Fine-tuning trains anew, apart; nothing else runs again, and turning back runs nothing."""

    def held_out(content):
        content.update(best_epoch="held-out", main={"k": 4, "selection": "held-out"})
        content["tables"] = ["headline", "comparison", "model-selection"]
        content["figures"] = ["model-selection"]

    before = study.read("config/config.yaml")
    study.edit("config/config.yaml", held_out)
    planned = [rule for rule, _ in study.planned()]
    assert planned.count("fine_tune") == 2
    assert not {"run_in_context", "prepare_task", "sample_shots", "check_window"} & {*planned}
    study.run()
    path = study.folder / "results/data/synth-mnli/validation.parquet"
    item = read_set("synth-mnli", (0, 1), path)
    choice, test = (
        half(item).rows["id"] for half in (halves.half_for_choice, halves.half_for_test)
    )
    metrics = pd.read_parquet(
        study.folder / "results/metrics/demo/synth-mnli/opt-micro.parquet"
    ).query("selection == 'held-out' and k == 4 and domain == 'in' and label.isna()")
    metrics = metrics[metrics["group"].isna() & metrics["subset"].isna()]
    assert set(metrics["method"]) == {"in-context", "quick-ft", "quick-lora"}
    for row in metrics.itertuples():
        folder = TRAINED.format(row.method)
        if row.method == "in-context":
            folder = folder.replace("runs-held-out", "runs")
        rows = pd.read_parquet(study.folder / folder / "predictions.parquet")
        own = rows[(rows["evaluation_set"] == "synth-mnli") & (rows["seed"] == row.seed)]
        own = own[(own["epoch"] == row.epoch) & own["id"].isin(test)]
        words = own[[name for name in own if name.startswith("logprob_")]].to_numpy()
        assert row.n == len(own) == len(test)
        assert row.correct == (words.argmax(axis=1) == own["label"]).sum()
        settings = json.loads((study.folder / folder / "manifest.json").read_text())["settings"]
        assert settings.get("best_epoch") == (None if row.method == "in-context" else "held-out")
    curves = pd.read_parquet(study.folder / TRAINED.format("quick-ft") / "curves.parquet")
    counted = curves[(curves["evaluation_set"] == "synth-mnli") & curves["sampled"]]
    assert counted.groupby(["seed", "epoch"])["n"].sum().unique().tolist() == [len(choice)]
    page = (study.folder / "results/demo/report.html").read_text()
    assert "held out (best on the choice half)" in page and "judged by the test half" in page
    table = (study.folder / "results/demo/tables/model-selection.md").read_text()
    assert "held out (best on the choice half)" in table
    study.edit("config/config.yaml", lambda content: (content.clear(), content.update(before)))
    assert "fine_tune" not in [rule for rule, _ in study.planned()]
