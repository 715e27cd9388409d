"""What SLURM is asked about a job before it is submitted, and what a node can be asked itself."""

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
