"""The table and the figure of latencies, of made-up measurements."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.latency_schema import LATENCY
from fewshot.report import partial
from fewshot.report.figures.registry import make_figure
from fewshot.report.tables.registry import make_table
from registries import copy_registries, load, message

BASELINE = {"title": "Majority", "family": "label_counts", "kind": "label-counts", "trained": False,
            "baseline": "no model"}  # fmt: skip
CATALOG = {**simulate.CATALOG, "methods": {**simulate.CATALOG["methods"], "majority": BASELINE}}
WAYS = {
    "icl": [("context cached", "", True), ("whole prompts", "", True)],
    "ft": [("", "merged", False)],
    "lora": [("", "unmerged", True), ("", "merged", True)],
}


def measured(model: str, method: str, k: int, number: int, way: tuple) -> dict:
    """Return a row: `number` ms alone, a tenth of it in batches, quartiles 10 % around them."""
    reading, adapter, restored = way
    row = dict.fromkeys(LATENCY.names, 1)
    row |= {"protocol": "fair", "task": "nli", "model": model, "method": method, "k": k}
    row |= {"pattern": "minimal", "status": "ok", "reading": reading, "merging": adapter}
    row |= {"restored": restored, "device": "cpu: test", "dtype": "float32", "memory_kind": "all"}
    for name, value in (("single", number), ("batch", number / 10)):
        row |= {f"{name}_ms": value, f"{name}_ms_low": 0.9 * value, f"{name}_ms_high": 1.1 * value}
    sizes = {"single_peak_mib": 100.0, "batch_peak_mib": 250.0, "batch_growth_mib": 50.0}
    return row | sizes | {"kept_bytes": 3_000_000 * number, "model_bytes": 5e9}


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    rows = [
        measured(model, method, 16, number + 1, way)
        for model in simulate.MODELS
        for number, (method, way) in enumerate(
            (method, way) for method, ways in WAYS.items() for way in ways
        )
    ]
    rows += [measured("opt-l", "icl", 32, 7, WAYS["icl"][0])]
    unfit = {**rows[0], "k": 32, "model": "pythia-s", "status": "does not fit", "single_ms": np.nan}
    return Evidence(latency=pd.DataFrame([*rows, unfit])[LATENCY.names])


def test_the_table_has_a_row_for_each_way(evidence):
    table = make_table("latency", evidence, CATALOG, {})
    assert table.read == ("latency",)
    assert len(table.numbers) == len(evidence.latency) and len(table.text) == 4 * 5 + 1
    [row] = table.text.query(
        "Model == 'OPT large' and Method == 'LoRA' and Adapter == 'merged'"
    ).to_dict("records")
    assert row == {
        "section": "NLI", "Model": "OPT large", "Method": "LoRA", "Shots": "16", "Prompts": "–",
        "Adapter": "merged", "Batch 1 (ms)": "5 [4.5, 5.5]", "Full batch (ms)": "0.5 [0.45, 0.55]",
        "Memory": "262 MB", "of it reading": "52 MB", "Kept": "15 MB", "Weights": "5.0 GB",
    }  # fmt: skip
    marked = table.text[table.text["Batch 1 (ms)"].str.endswith("†")]
    assert set(marked["Method"]) == {"Pattern-based fine-tuning"} and len(marked) == 4
    assert "†: the run keeps no weights" in table.note
    assert "cpu: test (1 thread, float32)" in table.note
    assert "Not measured, as they adapt no model here: Majority." in table.note
    assert "Of 1 cell no draw fits the window." in table.note
    empty = make_table("latency", Evidence(), CATALOG, {})
    assert empty.text.empty and empty.note == ""


def test_the_figure_shows_the_ways_of_the_largest_models(evidence):
    spec = make_figure("latency", evidence, CATALOG, {}, "T")
    points = [row for rows in spec["datasets"].values() for row in rows if "ms" in row]
    assert {row["size"] for row in points} == {"OPT large", "Pythia large"}
    found = {(row["label"], row["size"]): row for row in points if row["ms"] >= 1}
    assert found["In-context learning · whole prompts", "OPT large"]["ms"] == 2
    assert found["LoRA · merged", "OPT large"]["low"] == 4.5
    assert not found["Pattern-based fine-tuning · merged", "OPT large"]["restored"]
    assert {round(row["ms"], 3) for row in points} == {0.1, 0.2, 0.3, 0.4, 0.5, 1, 2, 3, 4, 5}
    [shown] = [
        {row["label"] for row in rows} for rows in
        [[row for row in points if row["size"] == "OPT large"]]
    ]  # fmt: skip
    assert len(shown) == 5, "at the main number of shots"
    other = make_figure("latency", evidence, CATALOG, {"k": 32}, "T")
    assert {row["ms"] for rows in other["datasets"].values() for row in rows if "ms" in row} == {
        7, 0.7
    }  # fmt: skip
    assert "No latency was measured yet" in str(make_figure("latency", Evidence(), CATALOG, {}, ""))


def test_latencies_are_in_the_report_of_a_study_that_asks_for_them(tmp_path):
    folder = copy_registries(tmp_path)
    study = load(folder)
    assert "latency" not in study.figures and "latency" not in study.tables
    assert "latency" in study.on_demand["table"] and "latency" in study.on_demand["figure"]
    assert not any("latency" in names for names in study.unmet.values())
    study = load(folder, latency={"in_report": True})
    assert "latency" in study.figures and "latency" in study.tables
    assert study.on_demand == {"figure": {}, "table": {}}
    assert "table 'latency' needs measured latencies (key latency: {in_report: true})" in message(
        folder, tables=["latency"]
    )


def test_a_partial_report_reads_what_was_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("results/latency/runs/fair/one/seeds0-4.parquet")
    path.parent.mkdir(parents=True)
    path.touch()
    jobs = [{"folder": f"results/runs/fair/{name}/seeds0-4"} for name in ("one", "two")]
    pairs = [{"task": "nli", "model": "opt-l", "jobs": jobs}]
    plan = partial.PartialStudy({"study": "sim"}, CATALOG, {}, {}, pairs)
    assert partial.existing_files(plan)["latency"] == [str(path)]
