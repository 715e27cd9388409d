"""What finished jobs took, from made-up manifests and benchmark files."""

import json
from contextlib import chdir
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import calibrate
import pytest
from fewshot import storage
from fewshot.errors import UserError
from fewshot.planning import calibration, finished
from fewshot.planning.calibration import fit
from fewshot.planning.job_time import PHASES
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.workload import Splits
from fewshot.runtime.placement import Placement
from fewshot.study.cells import Job
from registries import copy_registries, load

GRID = [
    {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 2, 16]},
    {"methods": ["pattern-ft", "lora"], "patterns": ["minimal"], "k": [2, 16, 128]},
]
MACHINE = {"gpus_per_node": 0, "host_memory_gb": 500}
CLUSTER = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
FACTORS = dict(zip(PHASES, (2.0, 1.5, 3.0, 0.5, 4.0, 1.0), strict=True))


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    config = tmp_path_factory.mktemp("config")
    study = load(copy_registries(config), models=["opt-125m", "opt-1.3b"], tasks=["rte", "mnli"],
                 grid=GRID, machine=MACHINE)  # fmt: skip
    return MemoryPlan(study, splits=Splits(study.tasks, config / "no rows"))


def manifest(plan: MemoryPlan, job: Job, factors=FACTORS, **changes) -> tuple[dict, float]:
    """Return a manifest of a job that took so many times what is predicted, and its seconds."""
    cell, study = job.cell, plan.study
    seconds = {p: factors[p] * each for p, each in plan.seconds(cell, len(job.seeds)).items()}
    start, load, count = seconds.pop("start"), seconds.pop("load"), len(job.seeds)
    sets = {name: {"rows": 1} for name in study.evaluation_sets(cell.task)}
    each = {phase: value / count for phase, value in seconds.items() if value}
    seeds = {
        str(seed): {"status": "ok", "seconds": dict(each), "scoring": sets} for seed in job.seeds
    }
    # Part of loading is told as tokenizing in context, as preparing each seed otherwise.
    first = seeds[str(job.seeds[0])]["seconds"]
    first["load"] = 0.75 * load
    first["tokenize" if study.uses_context(cell.method) else "prepare"] = 0.25 * load
    content = {
        **vars(cell),
        "seeds": seeds,
        "settings": study.method_settings(cell.method, cell.model),
        "placement": dict(vars(plan.site(cell).placement)),
        "device": "cpu: x86_64",
        "threads": 1,
        "world_size": 1,
        "seconds": totals(seeds),
    }
    return {**content, **changes}, start + sum(content["seconds"].values())


def totals(seeds: dict) -> dict[str, float]:
    found: dict[str, float] = {}
    for entry in seeds.values():
        for phase, value in entry.get("seconds", {}).items():
            found[phase] = found.get(phase, 0.0) + value
    return found


def write(folder: Path, job: Job, content: dict, wall: float) -> None:
    storage.write_json(folder / "runs" / job.folder / "manifest.json", content)
    path = folder / "benchmarks" / "runs" / f"{job.folder}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"s": wall, "h:m:s": "0:00:01"}) + "\n")


def gather(plan: MemoryPlan, folder: Path):
    return finished.gather(plan, folder / "benchmarks" / "runs", folder / "runs")


def fill(plan: MemoryPlan, folder: Path) -> list[Job]:
    jobs = list(plan.study.jobs)
    for job in jobs:
        write(folder, job, *manifest(plan, job))
    return jobs


def test_factors_are_recovered_from_files(plan, tmp_path):
    jobs = fill(plan, tmp_path)
    found, left = gather(plan, tmp_path)
    assert len(found) == len(jobs) and not left
    known = fit(found).kinds["cpu"]
    assert known.factors == pytest.approx(FACTORS, rel=1e-6)
    assert known.devices == {"cpu: x86_64": len(jobs)} and known.parameters == 1_315_758_080


def interrupted(content: dict) -> None:
    """Let the second seed be one that another attempt began with."""
    content["seeds"]["1"]["seconds"]["load"] = 1.0


def continued(content: dict) -> None:
    content["seeds"]["1"]["resumed_after_steps"] = [40]


def short(content: dict) -> None:
    content["seeds"]["2"]["shortages"] = 1


def unfit(content: dict) -> None:
    content["seeds"] = {seed: {"status": "does not fit"} for seed in content["seeds"]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (interrupted, "interrupted and resumed"),
        (continued, "interrupted and resumed"),
        (short, "ran out of memory on the way"),
        (unfit, "no seed fits the window"),
        (lambda c: c["settings"].update(learning_rate=1), "made with other settings than"),
        (lambda c: c["settings"].update(family="imported"), "made by other software"),
        (lambda c: c.update(model="gone"), "of a cell that config/ no longer has"),
        (lambda c: c["seeds"]["0"]["scoring"].update(more={}), "scored on other sets than"),
        (lambda c: c.update(protocol="gone"), "of a cell that config/ no longer has"),
    ],
)
def test_what_would_distort_is_left_out(plan, tmp_path, change, reason):
    """Such a job took a hundred times as long, and nothing of it is seen in the factors."""
    jobs = fill(plan, tmp_path)
    job = next(each for each in jobs if each.cell.k == 16 and each.cell.method == "lora")
    content, wall = manifest(plan, job, {phase: 100 * each for phase, each in FACTORS.items()})
    change(content)
    write(tmp_path, job, content, wall)
    found, left = gather(plan, tmp_path)
    assert len(found) == len(jobs) - 1
    [(told, count)] = left.items()
    assert told.startswith(reason) and count == 1
    assert fit(found).kinds["cpu"].factors == pytest.approx(FACTORS, rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        *(lambda c, name=name: c.pop(name) for name in ("threads", "seeds", "settings", "k")),
        lambda c: c["seeds"]["0"].pop("scoring"),
        lambda c: c["seeds"]["0"].pop("status"),
        lambda c: c["seeds"].update({"0": None}),
        lambda c: c.update(seeds=[]),
        lambda c: c["placement"].update(shards=2),
        lambda c: c["placement"].update(zero_stage=9),
        lambda c: c.update(placement=None),
        lambda c: c["settings"].pop("family"),
        lambda c: c.update(settings=[]),
        lambda c: c.update(task=["rte"]),
        lambda c: c.update(k="16"),
        lambda c: c.update(threads=None),
        lambda c: c.update(world_size=0),
        lambda c: c["seconds"].update(score=None),
        lambda c: c["seconds"].update(score=float("nan")),
        lambda c: c["seconds"].update(score=-1),
        lambda c: c.update(seconds=5.0),
    ],
)
def test_a_manifest_of_another_shape_is_left_out(plan, tmp_path, change):
    jobs = fill(plan, tmp_path)
    content, wall = manifest(plan, jobs[0])
    change(content)
    write(tmp_path, jobs[0], content, wall)
    found, left = gather(plan, tmp_path)
    assert len(found) == len(jobs) - 1 and left == {finished.UNREADABLE: 1}


@pytest.mark.parametrize("content", [[], None, 3, "text"])
def test_a_manifest_that_is_none_is_left_out(plan, tmp_path, content):
    job, *rest = fill(plan, tmp_path)
    write(tmp_path, job, content, 9.0)
    found, left = gather(plan, tmp_path)
    assert len(found) == len(rest) and left == {finished.UNREADABLE: 1}


def test_the_last_attempt_of_several_is_left_out(plan, tmp_path):
    """All seeds were finished before: the benchmark has only what it took to store them."""
    jobs = fill(plan, tmp_path)
    write(tmp_path, jobs[0], manifest(plan, jobs[0])[0], 5.0)
    found, left = gather(plan, tmp_path)
    assert len(found) == len(jobs) - 1 and left == {"interrupted and resumed": 1}


def test_a_job_without_results_is_not_finished(plan, tmp_path):
    jobs = fill(plan, tmp_path)
    (tmp_path / "runs" / jobs[0].folder / "manifest.json").unlink()
    assert gather(plan, tmp_path)[1] == {"not finished": 1}


def test_only_seeds_that_fit_count(plan, tmp_path):
    job = next(each for each in plan.study.jobs if each.cell.k == 16)
    content, wall = manifest(plan, job)
    whole = finished.measure(plan, content, wall)
    start = wall - sum(content["seconds"].values())
    content["seeds"]["2"] = {"status": "does not fit"}
    content["seconds"] = totals(content["seeds"])
    fewer = finished.measure(plan, content, start + sum(content["seconds"].values()))
    assert fewer.predicted == plan.seconds(job.cell, 2) != whole.predicted


def test_time_that_has_no_name_here_counts_as_start(plan):
    job = plan.study.jobs[0]
    content, wall = manifest(plan, job)
    before = finished.measure(plan, content, wall).measured
    content["seconds"]["nap"] = 7.0
    after = finished.measure(plan, content, wall + 7).measured
    assert after["start"] == pytest.approx(before["start"] + 7)
    assert sum(after.values()) == pytest.approx(wall + 7)


EIGHT = {
    "device": "cuda: A100",
    "placement": {"zero_stage": 2, "offload": "none", "micro_tokens": 512, "checkpointing": False},
    "world_size": 8,
}


def test_predictions_are_for_the_place_where_a_job_ran(plan):
    job = next(each for each in plan.study.jobs if each.cell.method == "pattern-ft")
    content, wall = manifest(plan, job, **EIGHT)
    run = finished.read(content)
    place = finished.place_of(run, 4)
    assert (place.placement, place.per_node, place.nodes) == (Placement(2, "none", 512), 4, 2)
    named = MemoryPlan(replace(plan.study, machine=CLUSTER), splits=plan.splits)
    found = finished.measure(named, content, wall)
    assert found.kind == "gpu" and found.device == "cuda: A100"
    assert found.predicted == named.seconds(job.cell, len(job.seeds), place)
    processor = finished.place_of(replace(run, device="cpu: x86_64", threads=2), 4)
    assert (processor.per_node, processor.nodes, processor.threads) == (0, 8, 2)


def test_of_several_gpus_it_must_be_known_how_many_a_node_has(plan):
    job = next(each for each in plan.study.jobs if each.cell.method == "pattern-ft")
    content, wall = manifest(plan, job, **EIGHT)
    with pytest.raises(finished.Unusable, match="not known how many nodes"):
        finished.measure(plan, content, wall)
    one = finished.measure(plan, {**content, "world_size": 1}, wall)
    assert one.kind == "gpu", "one GPU is on one node"


def waiting(plan: MemoryPlan, job: Job, seconds: float):
    """Measure a job that began so much later than its benchmark."""
    content, wall = manifest(plan, job)
    return finished.measure(plan, content, wall + seconds)


def test_a_job_that_waited_for_a_gpu_is_left_out(plan):
    """Both ten minutes and twenty times what is predicted: rows take time to tokenize, too."""
    job = plan.study.jobs[0]
    start = plan.seconds(job.cell, len(job.seeds))["start"]
    begun = FACTORS["start"] * start
    assert waiting(plan, job, min(600, 20 * start) - begun + 1), "beyond one of the two"
    assert waiting(plan, job, max(600, 20 * start) - begun - 1)
    with pytest.raises(finished.Unusable, match="waited for something before they began"):
        waiting(plan, job, max(600, 20 * start) - begun + 1)


def test_nothing_to_learn_from_is_one_line(plan, tmp_path):
    with pytest.raises(UserError, match=r"no finished job to learn from \(there is no file\)"):
        gather(plan, tmp_path)
    job = plan.study.jobs[0]
    content, _ = manifest(plan, job)
    write(tmp_path, job, content, 1.0)
    with pytest.raises(UserError, match=r"learn from \(1 interrupted and resumed\)"):
        gather(plan, tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"s": "long"}', '{"s": null}', '{"s": NaN}', '{"s": Infinity}', "[1]"]
)
def test_a_broken_benchmark_file_is_one_line(plan, tmp_path, text):
    jobs = fill(plan, tmp_path)
    path = tmp_path / "benchmarks" / "runs" / f"{jobs[0].folder}.jsonl"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        gather(plan, tmp_path)
    assert str(error.value).startswith(f"{path}: no benchmark file of Snakemake's")
    path.write_text(text.strip("{}[]1") + '\n{"s": 9.5}\n')
    assert finished.wall_seconds(path) == 9.5, "the last line counts"


def test_the_script_writes_the_file_and_tells_of_errors(plan, tmp_path, capsys):
    with chdir(tmp_path):
        jobs = fill(plan, Path("results"))
        calibrate.main(SimpleNamespace(params=SimpleNamespace(study=asdict(plan.study))))
        known = calibration.read()
    assert known.kinds["cpu"].factors == pytest.approx(FACTORS, rel=1e-6)
    told = capsys.readouterr().out
    assert f"CPU: {len(jobs)} jobs ({len(jobs)} on cpu: x86_64)." in told
    assert "curve 0.50" in told and "After: predictions are off by 0%" in told
    assert all(len(line) <= 100 for line in told.splitlines())
