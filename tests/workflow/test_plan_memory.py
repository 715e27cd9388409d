"""The memory plan as a target: a table in three formats, in seconds, without weights."""

import pandas as pd
import pytest
from project import Project

TARGET = "plan_memory"
STUDY = ("--configfile", "config/paper.yaml")


@pytest.mark.slow
def test_the_papers_plan_is_written_and_follows_the_machine(tmp_path):
    project = Project.create(tmp_path / "project")
    study = (*STUDY, project.machine())
    project.run(TARGET, *study)
    folder = project.folder / "results/paper"
    plan = pd.read_parquet(folder / "memory_plan.parquet")
    assert len(plan) == 13 * 6 and plan["shape_known"].all()
    assert (plan["gpu_gb"] <= 80).all() and (plan["gpu_gb"] > 0).all()
    assert (plan["gpus"] >= 1).all() and (plan["nodes"] <= 2).all()
    assert len(pd.read_csv(folder / "memory_plan.csv")) == len(plan)
    assert "2 nodes of 4 × 80 GB GPUs" in (folder / "memory_plan.md").read_text()
    log = (project.folder / "results/logs/paper/memory_plan.log").read_text()
    assert "opt-30b: 29974540288 parameters, 360349696 in the largest layer" in log
    assert project.planned(TARGET, *study) == [], "nothing changed"
    project.machine(gpu_memory_gb=141)
    assert [rule for rule, _ in project.planned(TARGET, *study)] == [TARGET]


@pytest.mark.weekly
def test_a_wrong_shape_is_refused_before_anything_runs(tmp_path):
    project = Project.create(tmp_path / "project")
    project.edit("config/models.yaml", lambda models: models["opt-13b"]["config"].update(ffn_dim=1))
    output = project.snakemake("--dry-run", *STUDY, project.machine())
    assert output.code == 1
    assert "model 'opt-13b': parameters is 12853473280, but a model of its config has" in (
        output.output
    )
