"""A small study, run once for all workflow tests that only look at or replan it."""

import shutil

import pytest
from project import Project, run_once
from small_study import shrink


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
def ready(study) -> Project:
    """Return the small study with everything that its runs read, and no run."""
    for folder in ("results/runs", "results/logs/runs"):
        shutil.rmtree(study.folder / folder)
    return study


@pytest.fixture
def fresh(tmp_path) -> Project:
    """Return the small study with nothing run."""
    project = Project.create(tmp_path / "project")
    shrink(project)
    return project
