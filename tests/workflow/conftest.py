"""A small study, run once for all workflow tests that only look at or replan it."""

import shutil

import pytest
from project import Project, run_once

PAGES = {
    "figures": ["id-ood-scatter", "accuracy-by-k", "learning-curves", "hans-by-subcase"],
    "tables": ["headline", "comparison", "accuracy", "costs", "coverage"],
}


def shrink(project: Project) -> None:
    """Turn the demo into a study of seconds: one model, one task, few rows, seeds and pages."""

    def study(content):
        content.update(
            models=["opt-micro"],
            tasks=["synth-mnli"],
            seeds="8-9",
            grid=[
                {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 4]},
                {"methods": ["quick-ft", "quick-lora"], "patterns": ["minimal"], "k": [4]},
            ],
            main={"k": 4},
            **PAGES,
        )

    def tasks(content):
        content["synth-mnli"]["source"]["sizes"] = {"train": 120, "validation": 60}
        content["synth-hans"]["source"]["sizes"] = {"validation": 60}

    def methods(content):
        quick = {"epochs": 3, "curve_epochs": "each"}
        content["quick-ft"] = {"base": "tiny-pattern-ft", "title": "Fine-tuning", **quick}
        content["quick-lora"] = {"base": "tiny-lora", "title": "LoRA", **quick}

    project.edit("config/config.yaml", study)
    project.edit("config/tasks.yaml", tasks)
    project.edit("config/methods.yaml", methods)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """Return the small study, run to its end; tests must copy it before they change it."""

    def build(project):
        shrink(project)
        project.run()

    return run_once(tmp_path_factory, "finished", build)


@pytest.fixture
def study(finished, tmp_path) -> Project:
    """Return a copy of the finished study that a test may change; times of files are kept."""
    folder = tmp_path / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Project(folder)


@pytest.fixture
def fresh(tmp_path) -> Project:
    """Return the small study with nothing run."""
    project = Project.create(tmp_path / "project")
    shrink(project)
    return project
