"""A cluster for all of these tests, and the study that is run on it, run on this machine too."""

from pathlib import Path

import pytest
from project import Project
from runs import run_here, shrink
from testbed import Cluster, lacking


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Return a running SLURM; where this machine cannot have one, end the tests and say why."""
    if reason := lacking():
        pytest.exit(f"no SLURM can be started here: {reason}", returncode=2)
    with Cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="session")
def local(cluster, tmp_path_factory) -> Project:
    """Return the study run on this machine, the job for two nodes in two processes here.

    It asks for the cluster, so that a machine without one is told at once.
    """
    project = Project.create(tmp_path_factory.mktemp("here") / "project")
    shrink(project)
    run_here(project)
    return project
