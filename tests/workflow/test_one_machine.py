"""One machine with several GPUs (pretended): one adaptation job on each, at one time."""

import re
import shutil
from datetime import datetime

TWO = ("0, GPU-aa, 81559", "1, GPU-bb, 81559")
RUNS = "results/logs/runs/fair/synth-mnli/opt-micro"
FINE_TUNE = f"{RUNS.replace('logs/', '')}/quick-ft/minimal/k4/seeds8-9/manifest.json"
FOUR = ("--set-resources", "fine_tune:gpu=4")


def spans(project) -> list[tuple[str, datetime, datetime]]:
    """Return which GPU each adaptation job had, from when to when, as its log says."""
    found = []
    for log in sorted((project.folder / RUNS).rglob("*.log")):
        text = log.read_text()
        assert "waiting" not in text, "Snakemake started it too early"
        begin, gpu = re.search(
            r"^(.{23}) INFO GPUs of this job: \d \((\S+)\)$", text, re.M
        ).groups()
        end = re.search(r"^(.{23}) INFO the job's GPUs are free again$", text, re.M)[1]
        found.append((gpu, *(datetime.strptime(t, "%Y-%m-%d %H:%M:%S,%f") for t in (begin, end))))
    return found


def test_as_many_jobs_at_once_as_gpus_and_the_same_bytes(fresh, finished, smi):
    smi(*TWO)
    output = fresh.run("runs", "--cores", "8")
    assert re.search(r"^Provided resources: .*gpu.*2", output, re.M)
    jobs = spans(fresh)
    assert len(jobs) == 4 and {gpu for gpu, *_ in jobs} == {"GPU-aa", "GPU-bb"}
    for gpu, begin, _ in jobs:
        running = [each for each, start, end in jobs if start <= begin < end]
        assert len(running) <= 2 and running.count(gpu) == 1
    for kind in ("predictions.parquet", "curves.parquet", "*.safetensors"):
        files = sorted((finished.folder / "results/runs").rglob(kind))
        assert files
        for file in files:
            twin = fresh.folder / file.relative_to(finished.folder)
            assert twin.read_bytes() == file.read_bytes(), "which GPU changes nothing"


def test_a_number_of_jobs_leaves_it_to_the_locks(study, smi):
    """`--jobs` may be meant for a cluster, so that Snakemake is not told how many GPUs are here."""
    smi(*TWO)
    (study.folder / FINE_TUNE).unlink()
    shutil.rmtree(study.folder / RUNS)
    output = study.run(FINE_TUNE, "--jobs", "4")
    assert "gpu" not in "".join(re.findall("^Provided.*", output, re.M))
    assert len(spans(study)) == 1


def test_more_gpus_than_there_are_stop_before_anything_runs(fresh, smi):
    smi(*TWO)
    result = fresh.snakemake(FINE_TUNE, *FOUR)
    [line] = [each for each in result.output.splitlines() if each.startswith("error: ")]
    assert "quick-ft/minimal/k4/seeds8-9/predictions.parquet: gpu = 4; valid: up to 2" in line
    assert result.code == 1 and "Traceback" not in result.output
    assert not (fresh.folder / "results").exists()
    assert "gpu=4," in fresh.run("--dry-run", FINE_TUNE, *FOUR), "planned, not cut down"


def test_a_limit_of_the_users_stands(study, smi):
    smi(*TWO)
    (study.folder / FINE_TUNE).unlink()
    output = study.snakemake(FINE_TUNE, "--resources", "gpu=0").output
    assert "gpu = 1; valid: up to 0" in output
    study.run("--touch", "--resources", "gpu=0")
    output = study.run(FINE_TUNE, "--resources", "gpu=1")
    assert re.search(r"^Provided resources: .*gpu.*1", output, re.M)


def test_what_needs_no_gpu_is_not_refused(study, smi):
    """Tables from runs of a larger machine, on a small one."""
    smi(TWO[0])
    table = "results/demo/tables/headline.md"
    (study.folder / table).unlink()
    study.run(table, *FOUR)
    assert (study.folder / table).exists()
