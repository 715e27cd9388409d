"""The golden study's evidence, made once."""

from contextlib import chdir

import pytest
from fewshot.analysis.evidence import Evidence
from fewshot.report import partial

from golden import study


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> Evidence:
    """Return all that the golden study's pages are made from."""
    folder = tmp_path_factory.mktemp("golden")
    study.write(folder)
    with chdir(folder):
        return partial.collect(study.plan())
