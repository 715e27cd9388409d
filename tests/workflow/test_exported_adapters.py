"""From a finished study to adapters that others load, and to answers on new texts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks_of
from project import Project

FOLDER = "results/demo/adapters/fair/synth-mnli/opt-micro/quick-lora/minimal/k4"


@pytest.fixture
def project(study) -> Project:
    return Project(study.folder, {"HF_TOKEN": ""})


@pytest.mark.slow
def test_a_finished_study_gives_its_adapters(project):
    assert [rule for rule, _ in project.planned("export_adapters")] == ["export_adapters"]
    output = project.run("export_adapters")
    assert "left out: quick-ft: it trains weights of the model itself" in output
    assert "2 adapters in results/demo/adapters, each with a card" in output
    for seed in (8, 9):
        files = {path.name for path in Path(project.folder, FOLDER, f"seed{seed}").iterdir()}
        assert files == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert project.planned("export_adapters") == []

    push = ("push_adapters", "--config")
    for told, line in (
        ("repository=me/mine", "error: environment: HF_TOKEN is not set"),
        ("repository=mine", "error: 'mine' is no repository; valid: snakemake push_adapters"),
    ):
        result = project.snakemake(*push, told)
        assert result.code != 0 and line in result.output and "Traceback" not in result.output


@pytest.mark.slow
def test_the_example_of_the_page_answers_new_texts(project):
    """With a cell of this study in the place of the demo's."""
    [code] = blocks_of("config/SHARING.md", "python", "finished-cell")
    assert len([line for line in code.splitlines() if line]) <= 10
    for method in ("quick-lora", "in-context"):
        run = f"results/runs/fair/synth-mnli/opt-micro/{method}/minimal/k4/seeds8-9"
        changed = re.sub(r'run = ".*"', f'run = "{run}"', code).replace("seed=0", "seed=9")
        assert changed != code
        done = subprocess.run(
            [sys.executable, "-c", f"{changed}\nassert answers.shape == (1, 3)"],
            cwd=project.folder, env=project.environment(), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert re.search(
            r"label +entailment +contradiction\n0 +(entailment|contradiction) +0\.", done.stdout
        )
