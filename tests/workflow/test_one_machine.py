"""One machine with several GPUs (pretended): one adaptation job on each, at one time."""

import re
import shutil
from datetime import datetime

import pytest

TWO = ("0, GPU-aa, 81559", "1, GPU-bb, 81559")
RUNS = "results/logs/runs/fair/synth-mnli/opt-micro"
FINE_TUNE = f"{RUNS.replace('logs/', '')}/quick-ft/minimal/k4/seeds8-9/manifest.json"
FOUR = ("--set-resources", "fine_tune:gpu=4")


def spans(project) -> list[tuple[str, datetime, datetime]]:
    """Return which GPU each adaptation job had, from when to when, as its log says."""
    found = []
    for log in sorted((project.folder / RUNS).rglob("*.log")):
        text = log.read_text()
        begin, gpu = re.search(
            r"^(.{23}) INFO GPUs of this job: \d \((\S+)\)$", text, re.M
        ).groups()
        end = re.search(r"^(.{23}) INFO the job's GPUs are free again$", text, re.M)[1]
        found.append((gpu, *(datetime.strptime(t, "%Y-%m-%d %H:%M:%S,%f") for t in (begin, end))))
    return found


@pytest.mark.weekly
def test_as_many_jobs_compute_at_once_as_there_are_gpus_and_the_same_bytes(ready, finished, smi):
    smi(*TWO)
    ready.run("runs", "--cores", "8")
    jobs = spans(ready)
    assert len(jobs) == 4 and {gpu for gpu, *_ in jobs} == {"GPU-aa", "GPU-bb"}
    for gpu, begin, _ in jobs:
        running = [each for each, start, end in jobs if start <= begin < end]
        assert len(running) <= 2 and running.count(gpu) == 1
    for kind in ("predictions.parquet", "curves.parquet", "*.safetensors"):
        files = sorted((finished.folder / "results/runs").rglob(kind))
        assert files
        for file in files:
            twin = ready.folder / file.relative_to(finished.folder)
            assert twin.read_bytes() == file.read_bytes(), "which GPU changes nothing"


@pytest.mark.weekly
def test_more_gpus_than_there_are_end_the_job_with_one_line(study, smi):
    smi(*TWO)
    (study.folder / FINE_TUNE).unlink()
    result = study.snakemake(FINE_TUNE, *FOUR)
    lines = {each for each in result.output.splitlines() if each.startswith("error: ")}
    assert lines == {"error: gpu = 4: valid: up to 2, the GPUs that are visible"}
    assert result.code == 1 and "Traceback" not in result.output
    assert "gpu=4," in study.run("--dry-run", FINE_TUNE, *FOUR), "planned, not cut down"


@pytest.mark.weekly
def test_snakemake_starts_only_as_many_as_it_is_told_to(study, smi):
    smi(*TWO)
    shutil.rmtree(study.folder / RUNS)
    manifests = [FINE_TUNE, FINE_TUNE.replace("quick-ft", "quick-lora")]
    for manifest in manifests:
        (study.folder / manifest).unlink()
    output = study.run(*manifests, "--cores", "8", "--resources", "gpu=1")
    assert re.search(r"^Provided resources: .*gpu.*1", output, re.M)
    logs = [log.read_text() for log in (study.folder / RUNS).rglob("*.log")]
    assert len(logs) == 2 and "waiting" not in "".join(logs)
    assert {gpu for gpu, *_ in spans(study)} == {"GPU-aa"}
