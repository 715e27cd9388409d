"""Fixtures that several tests share."""

import os
from contextlib import chdir
from pathlib import Path

# Jobs are kept off the network by their scripts; tests that load models have none.
os.environ["HF_HUB_OFFLINE"] = "1"
# Weights that a test saves would otherwise draw a bar on the stderr that the test reads.
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest
import simulate
from fewshot.analysis.evidence import Evidence
from fewshot.report import partial
from fewshot.runtime.machine import installed_gpus
from hub_server import LOOPBACK, HubServer
from huggingface_hub.utils import close_session
from hypothesis import settings
from project import made_once

# A busy machine must not fail a test for being slow.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder with real slices of MNLI, RTE and HANS; skip where there is none."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FAIRSHOT_TEST_DATA", default))
    if not (folder / "rte_train.jsonl").is_file():
        pytest.skip(f"no real rows in {folder}; set FAIRSHOT_TEST_DATA to their folder")
    return folder


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Return an empty folder of a project, which is the current one."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def hub_server(monkeypatch, tmp_path_factory):
    """Return a loopback Hub without repositories; its clients do not wait between attempts.

    A proxy of the environment is not asked for it; what is locked or cached is so for one test.
    """
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("NO_PROXY", LOOPBACK)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    locked = tmp_path_factory.mktemp("config") / "revisions.yaml"
    monkeypatch.setattr("fewshot.downloads.revisions.FILE", locked)
    cache = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
    close_session()  # The client looks for proxies when it is made.
    with HubServer() as server:
        monkeypatch.setattr("time.sleep", server.waits.append)
        yield server
    close_session()


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Return a function that puts an nvidia-smi first on PATH which finds the given GPUs.

    Each is a line "number, identifier, MiB". Locks of GPUs lie in a folder of the test's own.
    """

    def install(*lines: str, status: int = 0) -> None:
        path = tmp_path / "smi" / "nvidia-smi"
        path.parent.mkdir(exist_ok=True)
        answer = "\n".join(["cat << END", *lines, "END"])
        path.write_text(f"#!/bin/sh\n{answer}\nexit {status}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        installed_gpus.cache_clear()

    (tmp_path / "locks").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "locks"))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    installed_gpus.cache_clear()
    yield install
    installed_gpus.cache_clear()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Keep the tests of a file in one process, so that their fixtures are made once; and those of
    the finished study, for which another process would wait."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = "finished" if "finished" in item.fixturenames else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory) -> Path:
    """Return a folder with the simulated study's runs; tests only read it."""
    folder, _ = made_once(tmp_path_factory, "simulated", simulated)
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Evidence:
    """Return the metrics, fit table, manifests and logs of the simulated study."""
    _, evidence = made_once(tmp_path_factory, "simulated", simulated)
    return evidence


@pytest.fixture(scope="session")
def sampled_study(tmp_path_factory) -> Evidence:
    """Return the evidence of one task and family whose curves count 60 rows of each set."""
    _, evidence = made_once(
        tmp_path_factory, "sampled", lambda folder: simulated(folder, one_family(), curve_rows=60)
    )
    return evidence


@pytest.fixture(scope="session")
def half_study(tmp_path_factory) -> Evidence:
    """Return the evidence of the same pairs where a half of the rows chooses the best epoch."""
    _, evidence = made_once(
        tmp_path_factory, "half", lambda folder: simulated(folder, one_family(), by_half=True)
    )
    return evidence


def simulated(folder: Path, pairs: list[dict] | None = None, **written) -> Evidence:
    """Write runs of the simulated study, all or those of some pairs, and return its evidence."""
    pairs = pairs or simulate.pairs()
    simulate.write_study(folder, pairs, **written)
    settings = {"study": "sim", **({"best_epoch": "held-out"} if "by_half" in written else {})}
    with chdir(folder):
        return partial.collect(partial.PartialStudy(settings, simulate.CATALOG, {}, {}, pairs))


def one_family() -> list[dict]:
    return [
        pair for pair in simulate.pairs() if (pair["task"], pair["model"][:3]) == ("nli", "opt")
    ]
