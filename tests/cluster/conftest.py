"""A cluster for all of these tests, and projects that are run on it with `--profile slurm`."""

from pathlib import Path

import pytest
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
