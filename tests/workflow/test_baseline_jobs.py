"""A study held against baselines, from end to end, and in another clone."""

import shutil

import pandas as pd
import pytest
from project import Project, run_once
from small_study import shrink

pytestmark = pytest.mark.weekly

HELD = ["majority", "tfidf", "hidden-state"]
PAGES = ["headline", "comparison", "accuracy", "costs", "coverage"]


def held(project: Project) -> None:
    """Turn the demo into one model in context beside baselines."""
    shrink(project)

    def study(content):
        content["grid"] = [
            {"methods": ["in-context", *HELD], "patterns": ["minimal"], "k": [4]},
            {"methods": ["tfidf"], "patterns": ["minimal"], "k": [2]},
            {"methods": ["majority"], "patterns": ["minimal"], "k": [0]},
        ]
        content.update(figures=["id-ood-scatter"], tables=PAGES)

    project.edit("config/config.yaml", study)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Project:
    def build(project):
        held(project)
        project.run("all", "export_predictions")

    return run_once(tmp_path_factory, "held", build)


def test_every_table_has_rows_of_them_and_nothing_is_left_to_do(ran):
    runs = ran.folder / "results/runs/fair/synth-mnli"
    found = {str(path.parent.relative_to(runs)) for path in runs.rglob("manifest.json")}
    assert found == {
        *(f"none/{method}/none/k4/seeds8-9" for method in HELD[:2]),
        *("none/tfidf/none/k2/seeds8-9", "none/majority/none/k0/seeds0-0"),
        *(f"opt-micro/{method}/minimal/k4/seeds8-9" for method in ("in-context", "hidden-state")),
    }
    folder = ran.folder / "results/demo/tables"
    for name in PAGES:
        numbers = pd.read_parquet(folder / f"{name}.parquet")
        assert {*HELD} <= set(numbers["method"]), name
    compared = pd.read_parquet(folder / "comparison.parquet")
    assert set(compared["family"]) == {"baseline"} and compared["p_paired"].notna().any()
    assert (compared["reference_method"] == "in-context").all()
    assert "No model" in (ran.folder / "results/demo/summary.txt").read_text()
    assert ran.planned("all") == []


def test_an_archive_takes_them_along(ran, tmp_path):
    """Their draws too, also where no other method has as many shots."""
    reader = Project.create(tmp_path / "reader")
    archive = ran.folder / "results/demo/predictions.tar"
    reader.run("import_predictions", "--config", f"archive={archive}")
    study = ("--configfile", "results/demo/imported/study.yaml")
    rules = {rule for rule, _ in reader.planned("tables", *study)}
    assert rules <= {"compute_metrics", "compare_methods", "make_table"}
    reader.run("tables", *study)
    for name in PAGES:
        ours, theirs = (
            (each.folder / f"results/demo/tables/{name}.csv").read_bytes() for each in (ran, reader)
        )
        assert ours == theirs, name
    shutil.rmtree(reader.folder)


def test_the_plan_and_the_estimate_know_them(ran):
    ran.run("plan_memory", "estimate")
    plan = pd.read_parquet(ran.folder / "results/demo/memory_plan.parquet")
    assert set(plan["method"]) == {"in-context", "hidden-state"}
    estimate = pd.read_parquet(ran.folder / "results/demo/estimate.parquet")
    assert len(estimate) == 6 and estimate["finished"].all()
