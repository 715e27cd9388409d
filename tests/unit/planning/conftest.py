"""The plan of a small study on a cluster, which tests only read."""

import pytest
from estimates import plan_of


@pytest.fixture(scope="session")
def plan(tmp_path_factory):
    return plan_of(tmp_path_factory.mktemp("config"))
