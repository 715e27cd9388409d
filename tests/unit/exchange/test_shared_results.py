"""A study's results for the Hub and in the schema of Every Eval Ever, from a simulated study."""

import json
import os
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import simulate
import yaml
from exported import SOURCES, published_schema, simulated, sources
from fewshot import storage
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.summary import at_level
from fewshot.errors import UserError
from fewshot.exchange import every_eval_ever, results
from fewshot.exchange.shared_results import Context
from fewshot.report.tables.accuracy import accuracy
from huggingface_hub import parse_eval_result_entries
from jsonschema import Draft7Validator

SCHEMA = yaml.safe_load(Path(__file__).with_name("every_eval_ever.yaml").read_text("utf-8"))
CELL = ("nli", "pythia-l", "lora", 16)
NAMES = ("task", "model", "method", "k")


def cell_of(record: dict) -> tuple:
    told = record["evaluation_results"][0]["generation_config"]["additional_details"]
    return *(told[name] for name in ("task", "model", "method")), int(told["k"])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return simulated(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def exported(study, tmp_path_factory):
    """Return the folder of the exports, the path of each cell's record, and what was told."""
    folder = tmp_path_factory.mktemp("exported")
    context = Context("sim", simulate.CATALOG, sources(), "EleutherAI", "https://example.org/sim")
    rows = {name: f"results/data/{name}/validation.parquet" for name in ("nli", "hans")}
    with chdir(study.folder):
        told = results.write(
            folder / "hub", folder / "shared", context, study.metrics, study.jobs, rows
        )
    paths = sorted((folder / "shared").rglob("*.json"))
    records = {cell_of(storage.read_json(path)): path for path in paths}
    return SimpleNamespace(folder=folder, context=context, told=told, records=records, rows=rows)


def results_of(exported, cell: tuple) -> dict[str, dict]:
    record = storage.read_json(exported.records[cell])
    return {each["evaluation_result_id"]: each for each in record["evaluation_results"]}


def test_every_cell_with_results_has_a_record(exported, study):
    planned = {tuple(job[name] for name in NAMES) for job in study.jobs}
    assert set(exported.records) == planned - {simulate.UNFIT} and simulate.UNFIT in planned
    assert (exported.told.cells, exported.told.without) == (3, 1)
    assert exported.told.not_on_hub == 3, "hans comes from an address"


def test_scores_are_means_over_seeds_with_the_intervals_of_the_tables(exported, study):
    found = results_of(exported, CELL)
    rows = at_level(study.metrics)
    rows = rows[(rows["selection"] == "last") & (rows["evaluation_set"] == "hans")]
    rows = rows[(rows["model"] == CELL[1]) & (rows["method"] == CELL[2])]
    told = found["hans/accuracy"]["score_details"]
    assert told["score"] == pytest.approx(rows["accuracy"].mean()) and len(rows) == 5
    assert json.loads(told["details"]["by_seed"]) == {
        str(seed): value for seed, value in zip(rows["seed"], rows["accuracy"], strict=True)
    }
    table = accuracy(Evidence(metrics=study.metrics), simulate.CATALOG).numbers
    table = table[(table["model"] == CELL[1]) & (table["method"] == CELL[2])]
    table = table[table["selection"] == "last"]
    [own] = table[table["evaluation_set"] == "hans"].to_dict("records")
    interval = told["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == (own["low"], own["high"])
    assert told["uncertainty"]["num_samples"] == own["rows"] == 240
    error = told["uncertainty"]["standard_error"]["value"]
    assert interval["lower"] < told["score"] - error < told["score"] + error < interval["upper"]
    area = found["hans/auroc"]
    assert area["metric_config"]["metric_id"] == "auroc"
    assert area["score_details"]["score"] == pytest.approx(rows["roc_area"].mean())
    spread = rows["roc_area"].std() / np.sqrt(5)
    assert area["score_details"]["uncertainty"]["standard_error"]["value"] == pytest.approx(spread)


def test_a_record_tells_model_data_and_settings(exported):
    path = exported.records[CELL]
    record = storage.read_json(path)
    where = path.relative_to(exported.folder / "shared").parts
    assert where[:4] == ("data", "fairshot-sim", "EleutherAI", "pythia-l")
    assert record["model_info"]["additional_details"]["revision"] == "1" * 40
    assert "trained on 16 shots" in record["model_info"]["additional_details"]["adaptation"]
    assert record["source_metadata"]["evaluator_relationship"] == "first_party"
    found = results_of(exported, CELL)
    assert found["nli/accuracy"]["source_data"]["hf_repo"] == SOURCES["nli"]["hub"]
    assert found["hans/accuracy"]["source_data"]["url"] == SOURCES["hans"]["url"]
    told = found["nli/accuracy"]["generation_config"]["additional_details"]
    assert told["seeds"] == "5 of 5 draws of shots" and told["checkpoint"] == "last"
    assert json.loads(told["settings"])["epochs"] == 3
    partly = simulate.PARTLY_UNFIT[:4]
    told = results_of(exported, partly)["nli/accuracy"]["generation_config"]["additional_details"]
    assert told["seeds"] == "4 of 5 draws of shots"
    assert told["checkpoint"] == "nothing is trained"


@pytest.mark.parametrize("kind", ["ours", "published"])
def test_records_and_rows_are_valid(exported, kind):
    """By a closed schema of the documented fields that are used, and by the published one."""
    for part, glob in (("record", "*.json"), ("row", "*.jsonl")):
        schema = SCHEMA[part] if kind == "ours" else published_schema(part)
        validator = Draft7Validator(schema)
        for path in list((exported.folder / "shared").rglob(glob))[:6]:
            for line in path.read_text().splitlines()[:50] if part == "row" else [path.read_text()]:
                errors = [error.message for error in validator.iter_errors(json.loads(line))]
                assert errors == []


def test_single_rows_are_counted_by_the_accuracy_they_point_to(exported):
    path = exported.records[CELL]
    record, found = storage.read_json(path), results_of(exported, CELL)
    told = record["detailed_evaluation_results"]
    file = exported.folder / "shared" / told["file_path"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert file == path.with_name(f"{path.stem}_samples.jsonl")
    assert told["total_rows"] == len(lines) == 5 * (120 + 240)
    assert told["checksum"] == storage.sha256(file)
    for name in ("nli/accuracy", "hans/accuracy"):
        own = [line for line in lines if line["evaluation_result_id"] == name]
        right = np.mean([line["evaluation"]["score"] for line in own])
        assert right == pytest.approx(found[name]["score_details"]["score"])
    assert {line["evaluation_id"] for line in lines} == {record["evaluation_id"]}
    first = lines[0]
    assert first["input"]["raw"] == "a\nb" and first["output"]["raw"][0] in ("first", "second")


def test_the_hub_gets_percent_with_what_it_has_no_field_for_as_notes(exported):
    path = (
        exported.folder / "hub/fair/nli/pythia-l/lora/minimal/k16/.eval_results/fairshot-sim.yaml"
    )
    [entry] = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    score = results_of(exported, CELL)["nli/accuracy"]["score_details"]
    interval = score["uncertainty"]["confidence_interval"]
    assert entry.dataset_id == SOURCES["nli"]["hub"] and entry.task_id == "nli"
    assert entry.value == pytest.approx(100 * score["score"], abs=1e-4)
    assert entry.source_url == "https://example.org/sim" and entry.date.endswith("Z")
    low, high = (100 * interval[side] for side in ("lower", "upper"))
    assert f"mean of 5 draws of 16 shots; 95 % interval {low:.1f} to {high:.1f}" in entry.notes
    assert "120 rows of entailment/contradiction, split validation; LoRA on NLI" in entry.notes
    shown = exported.folder / "hub/fair/nli/pythia-l/icl/minimal/k0/.eval_results/fairshot-sim.yaml"
    [entry] = yaml.safe_load(shown.read_text())
    assert entry["notes"].startswith("Accuracy × 100; 95 % ")
    assert "checkpoint" not in entry["notes"]


def test_the_same_results_give_the_same_bytes_and_others_another_record(exported, study, tmp_path):
    folders = tmp_path / "hub", tmp_path / "shared"
    with chdir(study.folder):
        results.write(*folders, exported.context, study.metrics, study.jobs, exported.rows)
    for kind in ("hub", "shared"):
        first, second = (
            {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if
             path.is_file()}
            for folder in (exported.folder / kind, tmp_path / kind)
        )  # fmt: skip
        assert first == second and first
    manifest = storage.read_json(study.folder / study.jobs[-1]["folder"] / "manifest.json")
    runs = SimpleNamespace(manifests=[{**manifest, "files": {"predictions.parquet": "other"}}])
    other = every_eval_ever.path_of(exported.context, {"model": "pythia-l"}, runs)
    assert other.name not in {each.name for each in exported.records.values()}


def test_single_rows_of_an_oracle_are_refused(exported, study, tmp_path):
    catalog = {**simulate.CATALOG, "main": {"k": 16, "selection": "best-out-of-domain"}}
    context = Context("sim", catalog, sources())
    folders = tmp_path / "hub", tmp_path / "shared"
    with chdir(study.folder), pytest.raises(UserError, match="single rows of 'best-out"):
        results.write(*folders, context, study.metrics, study.jobs, exported.rows)


def test_a_manifest_tells_the_commit_and_its_file_the_time(exported, study, tmp_path):
    storage.write_json(tmp_path / "manifest.json", {"revision": "2" * 40})
    entry = {"hub": "a/b", "revision": "main", "manifest": str(tmp_path / "manifest.json")}
    context = Context("sim", {}, {"models": {"m": entry}, "tasks": {}})
    assert context.model_source("m") == {"hub": "a/b", "revision": "2" * 40}
    record = storage.read_json(exported.records[CELL])
    written = os.stat(study.folder / study.jobs[-1]["folder"] / "manifest.json").st_mtime
    assert record["retrieved_timestamp"] == str(int(written))
