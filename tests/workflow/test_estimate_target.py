"""What a study costs, as a target."""

import pandas as pd
import pytest
from project import ROOT, Project

COSTS = " ".join((ROOT / "config/README.md").read_text().split())
TARGET = "estimate"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project.create(tmp_path_factory.mktemp("estimates") / "project")


@pytest.mark.slow
def test_the_papers_estimate_is_printed_and_written(project):
    study = ("--configfile", "config/paper.yaml", project.machine())
    output = project.run(TARGET, *study)
    folder = project.folder / "results/paper"
    page = (folder / "estimate.md").read_text()
    assert page in output and page.startswith("# Estimate of study 'paper' for 2 nodes of 4 × 80")
    assert "| total | 1,252 | 0 | 1,252 |" in page and "snakemake plan_memory" in page
    stored = pd.read_parquet(folder / "estimate.parquet")
    assert len(stored) == len(pd.read_csv(folder / "estimate.csv")) == 1252
    assert (stored["seconds"] > 0).all() and (stored["limit_minutes"] >= 30).all()
    hours = stored.groupby("model", observed=True)["device_hours"].sum()
    assert f"over two nodes, they are {round(hours.sum(), -1):,.0f} GPU-hours" in COSTS
    largest = f"({hours['gpt-neox-20b']:.0f} and {hours['opt-30b']:.0f} hours in all)"
    assert largest in COSTS
    assert stored.loc[~stored["fits"], "task"].eq("rte").all()
    cell = ["task", "model", "method", "pattern"]
    by_shots = stored[stored["fits"]].sort_values("k").groupby(cell, observed=True)
    assert by_shots["device_hours"].apply(lambda hours: hours.is_monotonic_increasing).all()
    assert project.planned(TARGET, *study) == [], "nothing changed"
    project.machine(gpu_memory_gb=141)
    assert [rule for rule, _ in project.planned(TARGET, *study)] == [TARGET]


@pytest.mark.weekly
def test_a_finished_study_has_nothing_left(study):
    """Once a run is gone, the page is written again."""
    output = study.run(TARGET)
    assert "| quick-ft | 1 | 1 | 0 |" in output and "| total | 4 | 4 | 0 |" in output
    assert "No GPU is named or found" in output and study.planned(TARGET) == []
    run = "results/runs/fair/synth-mnli/opt-micro/quick-ft/minimal/k4/seeds8-9/manifest.json"
    (study.folder / run).unlink()
    assert "| quick-ft | 1 | 0 | 1 |" in study.run(TARGET)
