"""Costs of finished seeds from made-up manifests, by hand, and written as stored."""

import json
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import compute_metrics
import pandas as pd
import pytest
import simulate
from fewshot import storage
from fewshot.analysis import flops, result_schemas, run_costs
from fewshot.analysis.flops import Counts, ModelSize, TrainingPasses

CELL = {"protocol": "fair", "task": "nli", "model": "opt-s"}
PAIR = next(p for p in simulate.pairs() if (p["task"], p["model"]) == ("nli", "opt-s"))
MODEL = run_costs.flops_model(PAIR["size"], PAIR["evaluation"])
SIZE = ModelSize(**PAIR["size"])


def write(folder: Path, method: str, k: int = 16, **changes) -> list[dict]:
    """Write a manifest and return its job."""
    job = next(each for each in PAIR["jobs"] if (each["method"], each["k"]) == (method, k))
    job = {**job, "folder": str(folder / method)}
    content = simulate.manifest(PAIR, job, 6, None) | changes
    storage.write_json(Path(job["folder"], "manifest.json"), content)
    return [job]


def costs(folder: Path, method: str, **changes) -> pd.DataFrame:
    return run_costs.compute_costs(CELL, write(folder, method, **changes), MODEL)


def test_results_made_elsewhere_have_no_costs(tmp_path):
    """Zero seconds would be a number that nobody measured."""
    unknown = {"world_size": None, "peak_memory_mib": None, "seconds": {}}
    frame = costs(tmp_path, "icl", settings={"family": "imported"}, **unknown)
    assert frame.empty and list(frame) == result_schemas.COSTS.names


def test_in_context_costs_by_hand(tmp_path):
    frame = costs(tmp_path, "icl")
    assert frame["seed"].tolist() == simulate.SEEDS
    row, shared, own = frame.iloc[0], 1 + 30 * 16, 24
    layers, width = 12, 768
    attended = own * shared + own * (own + 1) / 2
    cached = 2 * 12 * layers * width**2 * own + 4 * layers * width * attended + 2 * 50_000 * width
    context = 24 * layers * width**2 * shared + 4 * layers * width * shared * (shared + 1) / 2
    assert row["flops_context"] == context
    assert row["flops_cached"] == pytest.approx(cached, rel=1e-12)
    assert row["flops_uncached"] == pytest.approx(cached + context, rel=1e-12)
    assert (row["context_tokens"], row["row_tokens"]) == (shared, own)
    assert row["rows"] == row["scored_rows"] == 120 + 240
    assert row["cache_bytes"] == 2 * layers * width * shared * 4
    assert row["disk_bytes"] == 120 * 16
    assert row[["steps", "epochs", "train_tokens", "flops_train"]].eq(0).all()


def test_training_costs_by_hand(tmp_path):
    row = costs(tmp_path, "ft").iloc[0]
    counts = Counts(16, 0, 16 * 25, 16 * 25**2)
    expected = flops.training(SIZE, counts, 6, TrainingPasses(3, 3, 3), SIZE.readout)
    assert row["flops_train"] == expected
    rough = 6 * SIZE.weights * 6 * 16 * 25
    assert rough < expected < 1.2 * rough
    assert (row["steps"], row["epochs"], row["train_tokens"]) == (6, 6, 400)
    assert row["scored_rows"] == 7 * 360
    assert row["disk_bytes"] == 4 * 125_000_000


def test_adapters_cost_less_to_train_and_to_keep(tmp_path):
    ft, lora = (costs(tmp_path, method).iloc[0] for method in ("ft", "lora"))
    assert 0.6 < lora["flops_train"] / ft["flops_train"] < 0.8
    assert lora["disk_bytes"] == 4 * lora["trainable"]
    assert lora["flops_cached"] == ft["flops_cached"]


def test_loading_is_shared_by_the_seeds_of_a_job(tmp_path):
    jobs = write(tmp_path, "ft")
    path = Path(jobs[0]["folder"], "manifest.json")
    content = json.loads(path.read_text())
    for seed, entry in content["seeds"].items():
        entry["seconds"] = {"train": 60.0, "curve": 5.0, "keep": 1.0}
        entry["seconds"] |= {"load": 10.0} if seed == "0" else {}
    content["seeds"]["4"] = {"status": "does not fit"}
    content["world_size"] = 2
    storage.write_json(path, content)
    frame = run_costs.compute_costs(CELL, jobs, MODEL)
    assert frame["seed"].tolist() == [0, 1, 2, 3]
    assert frame["seconds_load"].eq(2.5).all() and frame["seconds_other"].eq(1.0).all()
    assert frame["device_seconds"].eq(2 * 68.5).all()


def test_a_classification_head_takes_the_place_of_the_readout(tmp_path):
    plain = costs(tmp_path, "ft").iloc[0]
    settings = {"family": "full", "head": "classification", "classifier": "linear"}
    row = costs(tmp_path, "ft", settings=settings).iloc[0]
    assert plain["flops_cached"] - row["flops_cached"] == 2 * (50_000 - 2) * 768


def test_an_unknown_shape_is_counted_by_its_parameters_alone(tmp_path):
    model = run_costs.flops_model({"weights": 125_000_000}, PAIR["evaluation"])
    row = run_costs.compute_costs(CELL, write(tmp_path, "icl"), model).iloc[0]
    assert not row["shape_known"]
    assert row["flops_uncached"] == pytest.approx(2 * 125e6 * (1 + 30 * 16 + 24))
    assert pd.isna(row["cache_bytes"])


def test_a_manifest_without_counts_gives_nulls_that_are_stored(tmp_path):
    jobs = write(tmp_path, "ft") + write(tmp_path, "icl")
    for job in jobs:
        path = Path(job["folder"], "manifest.json")
        content = json.loads(path.read_text())
        for entry in content["seeds"].values():
            for name in ("scoring", "training", "kept_bytes", "peak_memory_mib", "scored_rows"):
                entry.pop(name, None)
        storage.write_json(path, content | {"peak_memory_mib": None, "memory": None})
    frame = run_costs.compute_costs(CELL, jobs, MODEL)
    storage.write_table(tmp_path / "costs.parquet", frame, result_schemas.COSTS)
    found = storage.read_table(tmp_path / "costs.parquet")
    assert found[["flops_cached", "disk_bytes", "rows", "peak_memory_mib"]].isna().all(axis=None)
    assert found.groupby("method", observed=True)["flops_train"].count().to_dict() == {
        "ft": 0, "icl": 5,
    }  # fmt: skip
    assert found["seconds_train"].sum() == 300


def test_a_job_without_a_manifest_has_no_costs(tmp_path):
    jobs = [{**PAIR["jobs"][0], "folder": str(tmp_path / "none")}]
    frame = run_costs.compute_costs(CELL, jobs, MODEL)
    assert frame.empty and list(frame) == result_schemas.COSTS.names


def test_results_made_elsewhere_have_no_known_cost(tmp_path):
    settings = {"family": "imported", "prompts": "?"}
    frame = costs(tmp_path, "icl", settings=settings, world_size=None, seconds={})
    assert frame.empty and list(frame) == result_schemas.COSTS.names


def test_the_rule_writes_costs_beside_metrics(study_folder, study, tmp_path):
    pair = next(p for p in simulate.pairs() if (p["task"], p["model"]) == ("nli", "opt-l"))
    sets = [f"results/data/{each['set']}/validation.parquet" for each in pair["evaluation"]]
    smk = SimpleNamespace(
        params=SimpleNamespace(
            **{name: pair[name] for name in (*CELL, "evaluation", "jobs", "size")}
        ),
        input=SimpleNamespace(evaluation=sets, windows="results/windows/sim/nli/opt-l.parquet"),
        output=SimpleNamespace(
            metrics=tmp_path / "m.parquet",
            outcomes=tmp_path / "o.parquet",
            costs=tmp_path / "c.parquet",
        ),
    )
    with chdir(study_folder):
        compute_metrics.main(smk)
    found = storage.read_table(tmp_path / "c.parquet")
    expected = study.costs.query("task == 'nli' and model == 'opt-l'").reset_index(drop=True)
    assert found["flops_uncached"].tolist() == expected["flops_uncached"].tolist()
    assert len(found) == 7 * 5 - 4 and found["seed"].tolist() == expected["seed"].tolist()


def test_the_study_has_the_costs_of_all_finished_seeds(study):
    overall = study.metrics.query("selection == 'last' and status == 'ok'")
    overall = overall[overall["label"].isna() & overall["group"].isna()]
    keys = ["task", "model", "method", "k", "seed"]
    expected = overall[keys].drop_duplicates().astype({"k": int, "seed": int})
    merged = study.costs[keys].astype({"k": int, "seed": int}).merge(expected, how="outer")
    assert len(study.costs) == len(expected) == len(merged) > 200
    assert list(study.costs) == result_schemas.COSTS.names
