"""Latencies of a finished study, on demand."""

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

TARGET = "latency"


def test_a_finished_study_is_measured_without_running_anything_again(study):
    study.edit(
        "config/config.yaml", lambda config: config.update(latency={"rows": 3, "repeats": 3})
    )
    runs = study.folder / "results/runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    rules = [rule for rule, _ in study.planned(TARGET)]
    assert sorted(rules) == ["make_table", *["measure_latency"] * 4, "plot_figure"]
    study.run(TARGET)
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()} == before
    numbers = pd.read_parquet(study.folder / "results/demo/tables/latency.parquet")
    ways = numbers.groupby(["method", "k"])[["reading", "merging"]].apply(
        lambda rows: sorted(map(" ".join, rows.to_numpy()))
    )
    assert ways.to_dict() == {
        ("in-context", 0): [" "],
        ("in-context", 4): ["context cached ", "whole prompts "],
        ("quick-ft", 4): [" merged"],
        ("quick-lora", 4): [" merged", " unmerged"],
    }
    assert (numbers["difference"] < 1e-5).all() and (numbers["single_ms"] > 0).all()
    assert not numbers.set_index("method")["restored"]["quick-ft"]
    assert (study.folder / "results/demo/figures/latency.png").is_file()
    assert study.planned(TARGET) == []
