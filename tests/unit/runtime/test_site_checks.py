"""What SLURM is asked about a job before it is submitted, and what a node can be asked itself."""

import os
from pathlib import Path

import pytest
from fewshot.runtime import site_checks
from fewshot.runtime.site import Site
from slurm_commands import SITE, calls, stand_in

JOB = {
    "slurm_account": "lab",
    "slurm_partition": "gpu",
    "runtime": 60,
    "mem_mb": 5000,
    "nodes": 2,
    "constraint": "nvlink&ib",
    "qos": "long",
    "tasks": 8,
    "cpus_per_gpu": 6,
    "gpu": 8,
    "gpu_model": "a100",
    "slurm_extra": "--signal=TERM@300 --gpus-per-node=a100:4",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return the folder of stand-ins for SLURM's commands, which are on PATH."""
    monkeypatch.setenv("PATH", str(stand_in(tmp_path)))
    return tmp_path


def test_sbatch_is_asked_with_all_that_a_job_will_ask_for(folder):
    """What is left out is found by the first submission, hours of downloads later."""
    assert site_checks.check_site(Site(**SITE), [JOB]) == ([], [])
    [[test, *options, wrap, command]] = calls(folder, "sbatch")
    assert (test, wrap, command) == ("--test-only", "--wrap", "true")
    assert options == [
        *("--account=lab", "--partition=gpu", "--time=60", "--mem=5000", "--nodes=2"),
        *("--constraint=nvlink&ib", "--qos=long", "--ntasks=8", "--cpus-per-gpu=6"),
        *("--gpus=a100:8", "--signal=TERM@300", "--gpus-per-node=a100:4"),
    ]


def test_what_a_job_does_not_ask_for_is_no_option():
    given = {"slurm_partition": "cpu", "gpu": 0}
    assert site_checks.options({**dict.fromkeys(JOB), **given}) == ["--partition=cpu"]
    assert site_checks.options({"gpu": 2, "gpu_model": None}) == ["--gpus=2"]


def test_a_scratch_that_cannot_be_written_to_is_told_of(tmp_path, monkeypatch):
    """Root may write everywhere: so the owner's bits of the mode are asked in its place."""
    monkeypatch.setattr(os, "access", lambda path, how: os.stat(path).st_mode >> 6 & how == how)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    site = Site(**{**SITE, "scratch": str(scratch)}, path="site.yaml")
    assert site_checks.check_entries(site) == []
    for mode in (0o500, 0o600):  # Without the last bit nothing in it can be opened.
        scratch.chmod(mode)
        (line,) = site_checks.check_entries(site)
        assert line == f"site.yaml: scratch: {scratch} cannot be written to"
