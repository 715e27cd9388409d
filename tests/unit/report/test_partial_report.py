"""The report of an unfinished study: what is missing or broken is told, and why."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import report_partial
import simulate
from fewshot import storage
from fewshot.report import partial
from fewshot.report.tables import registry as tables
from test_report import CATALOG, ENTRIES, SETTINGS


def plan(pairs):
    figures = {"id-ood-scatter": ENTRIES["figures"]["id-ood-scatter"]}
    tables = {name: ENTRIES["tables"][name] for name in ("headline", "coverage")}
    return partial.PartialStudy(SETTINGS, CATALOG, figures, tables, pairs)


@pytest.mark.slow
def test_a_partial_report_works_with_nothing_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = plan(simulate.pairs())
    smk = SimpleNamespace(
        params=SimpleNamespace(
            study=planned.settings,
            catalog=planned.catalog,
            figures=planned.figures,
            tables=planned.tables,
            pairs=planned.pairs,
        )
    )
    report_partial.main(smk)
    folder = tmp_path / "results/sim/partial"
    assert "0 of 56 cells are complete." in (folder / "summary.txt").read_text()
    assert "This report is partial" in (folder / "report.html").read_text()
    assert (folder / "figures/id-ood-scatter.png").stat().st_size > 1000
    assert "missing" in (folder / "tables/headline.md").read_text()


def test_a_missing_run_shows_the_last_line_of_its_log(study):
    assert study.logs == {
        ("rte", "opt-s", "lora", "minimal", 32): "ERROR step 12: the loss is not a number"
    }


@pytest.fixture
def two_runs(tmp_path, monkeypatch) -> dict:
    """Return a pair of which a run in context and one of fine-tuning are here."""
    monkeypatch.chdir(tmp_path)
    simulate.write_prepared(tmp_path)
    pair = simulate.pairs([0, 1])[0]
    pair["jobs"] = [job for job in pair["jobs"] if job["k"] == 16][:2]
    for job in pair["jobs"]:
        simulate.write_run(tmp_path, pair, job, epochs=2)
    return pair


def test_a_broken_run_counts_as_missing_and_says_why(two_runs):
    Path(two_runs["jobs"][1]["folder"], "predictions.parquet").write_bytes(b"PAR1 cut off")
    found = partial.collect(plan([two_runs]))
    status = found.metrics.groupby("method")["status"].agg(set).to_dict()
    assert status == {"icl": {"ok"}, "ft": {"missing"}}
    assert "it has changed since it was written" in found.logs["nli", "opt-s", "ft", "minimal", 16]


def test_what_broken_runs_and_files_measured_elsewhere_is_left_out(two_runs, caplog):
    cell = {"protocol": "fair", "task": "nli", "model": "opt-s", "pattern": "minimal", "k": 16}
    text = {"seed": 0, "source": "wiki", "kind": "text", "shots": 0, "id": [1, 2], "tokens": 5,
            "correct": None}  # fmt: skip
    for job in two_runs["jobs"]:
        told = {**cell, "method": job["method"], **text, "loss": 2.5}
        pd.DataFrame(told).to_parquet(Path(job["folder"], "forgetting.parquet"))
    first = Path("results/unadapted/sim/opt-s.parquet")
    first.parent.mkdir(parents=True)
    pd.DataFrame({**cell, "method": "none", **text, "loss": 2.0}).to_parquet(first)
    found = partial.collect(plan([two_runs])).forgetting
    assert found.set_index("method")["change"].to_dict() == {"icl": 0.5, "ft": 0.5}
    Path(two_runs["jobs"][1]["folder"], "predictions.parquet").write_bytes(b"PAR1 cut off")
    assert list(partial.collect(plan([two_runs])).forgetting["method"]) == ["icl"]
    first.write_bytes(b"PAR1 cut off")
    assert partial.collect(plan([two_runs])).forgetting.empty
    assert "a measure outside the tasks is left out: results/unadapted/sim" in caplog.text


def test_a_partial_report_names_the_sources_of_what_is_measured_elsewhere():
    elsewhere = {"texts": {"wiki": "W"}, "tasks": {"rte": "RTE", "boolq": "B"}}
    assert partial._sources({**CATALOG, "forgetting": elsewhere})[-2:] == ["boolq", "wiki"]
    assert partial._sources(CATALOG) == [*CATALOG["tasks"]]


def test_held_out_scores_that_are_missing_are_told_beside_a_complete_cell(two_runs):
    for job in two_runs["jobs"]:
        job |= {
            "held_out": job["folder"].replace("results/runs", "results/held-out/4"),
            "cross_validation": 4,
        }
    choice = {"choice": "one", "k": 16, "jobs": two_runs["jobs"]}
    log = Path("results/logs", *Path(two_runs["jobs"][1]["held_out"]).parts[1:])
    log.parent.mkdir(parents=True)
    log.with_name(f"{log.name}.log").write_text("ERROR fold 3: no memory\n")
    found = partial.collect(plan([{**two_runs, "choices": [choice]}]))
    assert set(found.metrics["status"]) == {"ok"}, "their own runs are there"
    assert found.logs == {
        ("nli", "opt-s", "icl", "minimal", 16): "its shots, held out: not started: no log",
        ("nli", "opt-s", "ft", "minimal", 16): "its shots, held out: ERROR fold 3: no memory",
    }
    table = tables.make_table("coverage", found, CATALOG, {})
    assert table.note.startswith("2 of 2 cells are complete. Of 2 of these the scores of held-out")
    assert table.text["Last line of the log"].tolist() == list(found.logs.values())


def test_a_run_that_never_started_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert partial.last_line("results/runs/x/seeds0-4") == partial.NOT_STARTED
    Path("results/logs/runs/x").mkdir(parents=True)
    Path("results/logs/runs/x/seeds0-4.log").write_text("one\ntwo\n\n")
    assert partial.last_line("results/runs/x/seeds0-4") == "two"


def test_runs_of_two_models_on_other_draws_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate.write_prepared(tmp_path)
    pairs = [pair for pair in simulate.pairs([0]) if pair["task"] == "nli"][:2]
    for pair, digest in zip(pairs, ("aa", "bb"), strict=True):
        pair["jobs"] = [job for job in pair["jobs"] if (job["method"], job["k"]) == ("ft", 16)]
        simulate.write_run(tmp_path, pair, pair["jobs"][0], epochs=2)
        path = Path(pair["jobs"][0]["folder"], "manifest.json")
        draws = {"shots": {"0": digest}, "draw": "fair"}
        storage.write_json(path, {**storage.read_json(path), "checksums": draws})
    found = partial.collect(plan(pairs))
    status = found.metrics.groupby("model")["status"].agg(set).to_dict()
    assert status == {pairs[0]["model"]: {"ok"}, pairs[1]["model"]: {"missing"}}
    (said,) = found.logs.values()
    assert "its shots of seed 0 are not those of" in said
