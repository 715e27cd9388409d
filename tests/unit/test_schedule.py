"""What a study will cost: counts, hours, the longest chain and bytes, and how they are told."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fewshot import chain, planremarks, records, scheduletable, schemas
from fewshot.calibration import Calibration, Factors
from fewshot.chain import COMPARE, COUNT, NETWORK, PREPARE, SMALL
from fewshot.memoryplan import MemoryPlan
from fewshot.schedule import Schedule
from fewshot.submission import Queue
from fewshot.timing import PHASES
from fewshot.workload import BYTES_PER_TOKEN, Splits
from registries import copy_registries, load

CLUSTER = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
GRID = [
    {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 16, 32]},
    {"methods": ["pattern-ft", "lora"], "patterns": ["minimal"], "k": [16, 128]},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return of(tmp_path_factory.mktemp("config"))


def of(folder, **changes):
    wanted = {"models": ["opt-125m", "opt-13b"], "tasks": ["rte"], "grid": GRID, "seeds": "0-11",
              "machine": CLUSTER}  # fmt: skip
    return load(copy_registries(folder), **{**wanted, **changes})


def files_of(study) -> dict[str, list[str]]:
    """Return the files that rules/plan.smk would name, for one task."""
    runs = [f"results/runs/{job.folder}/manifest.json" for job in study.jobs]
    draws = [f"fair/rte/k{k}/seed{seed}" for k in (16, 32, 128) for seed in study.seeds]
    models = study.settings["models"]
    return {
        "download_data": [f"results/raw/{name}/manifest.json" for name in ("rte", "hans")],
        "download_model": [f"results/models/{name}/manifest.json" for name in models],
        "download_weights": [f"results/models/{name}/weights.json" for name in models],
        "prepare_task": [f"results/data/{name}.parquet"
                         for name in ("rte/train", "rte/validation", "hans/validation")],
        "sample_shots": [f"results/shots/{draw}.parquet" for draw in draws],
        "run_in_context": [path for path in runs if "/in-context/" in path],
        "fine_tune": [path for path in runs if "/in-context/" not in path],
        "read_lm_eval": [],
        "compute_metrics": [f"results/metrics/mine/rte/{name}.parquet" for name in models],
        "compare_methods": ["results/statistics/mine/rte/comparisons.parquet"],
        "make_table": ["results/mine/tables/a.parquet"],
        "plot_figure": ["results/mine/figures/a.vl.json"],
        "render_figure": ["results/mine/figures/a.svg"],
        "write_report": ["results/mine/report.html"],
    }  # fmt: skip


def schedule(study, folder, calibration=None, done=(), queue=None) -> Schedule:
    files = files_of(study)
    for rule in done:
        for path in files[rule]:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
    plan = MemoryPlan(study, calibration, Splits(study.tasks, folder / "no rows"))
    return Schedule(plan, files, folder, queue)


def everything(study) -> list[str]:
    return list(files_of(study))


def calibrated(factor=1.0, jobs=20, kind="gpu") -> Calibration:
    devices, seen = {"cuda: A": jobs - 1, "cuda: B": 1}, dict.fromkeys(PHASES, jobs)
    return Calibration(
        {kind: Factors(dict.fromkeys(PHASES, factor), seen, 0.8, 1.3, devices, 125_000_000)}
    )


def test_jobs_are_counted_by_rule_and_by_what_is_there(study, tmp_path):
    """Two chunks of seeds, one seed without shots: each model has 1 + 2 × 2 and 4 × 2 jobs."""
    fresh = schedule(study, tmp_path).counts()
    assert fresh["run_in_context"] == (2 * 5, 2 * 5) and fresh["fine_tune"] == (2 * 8, 2 * 8)
    assert fresh["sample_shots"] == (36, 36) and "read_lm_eval" not in fresh
    some = schedule(study, tmp_path, done=["download_data", "run_in_context"])
    assert some.counts()["run_in_context"] == (10, 0) and some.counts()["fine_tune"] == (16, 16)
    assert len(some.jobs) == 26 and len(some.todo) == 16


def test_what_is_made_from_a_missing_run_is_to_do(study, tmp_path):
    """One run of the smaller model: its metrics, then all that both models' metrics are made to."""
    schedule(study, tmp_path, done=everything(study))
    run = next(path for path in files_of(study)["fine_tune"] if "opt-125m" in path)
    (tmp_path / run).unlink()
    found = schedule(study, tmp_path)
    left = {rule: todo for rule, (_, todo) in found.counts().items() if todo}
    last = ("compare_methods", "make_table", "plot_figure", "render_figure", "write_report")
    assert left == {"fine_tune": 1, "compute_metrics": 1, **dict.fromkeys(last, 1)}
    [link, *after] = chain.longest(found)
    assert link.rule == "fine_tune" and after[0].of == "rte/opt-125m" and len(after) == 5
    page = scheduletable.page(found, markdown=False)
    assert "Finished is what is on disk" in page


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("compute_metrics", ["compare_methods", "make_table", "plot_figure", "render_figure"]),
        ("compare_methods", ["make_table", "plot_figure", "render_figure"]),
        ("plot_figure", ["render_figure"]),
        ("make_table", []),
        ("render_figure", None),
    ],
)
def test_pages_are_made_from_what_is_made_anew(study, tmp_path, rule, left):
    schedule(study, tmp_path, done=everything(study))
    (tmp_path / files_of(study)[rule][-1]).unlink()
    found = {name for name, (_, todo) in schedule(study, tmp_path).counts().items() if todo}
    assert found == {rule, *(() if left is None else (*left, "write_report"))}


def test_rows_and_draws_that_nobody_reads_are_not_to_do(study, tmp_path):
    """As after the import of an archive, which has neither draws nor training rows here."""
    done = set(everything(study)) - {"prepare_task", "sample_shots", "write_report"}
    counts = schedule(study, tmp_path, done=done).counts()
    assert counts["sample_shots"] == (36, 0) and counts["prepare_task"] == (3, 2)
    counts = schedule(study, tmp_path / "b", done=done - {"fine_tune"}).counts()
    assert counts["sample_shots"] == (36, 36) and counts["prepare_task"] == (3, 3)


def test_hours_are_those_of_all_gpus(study, tmp_path):
    found = schedule(study, tmp_path)
    for each in found.jobs:
        seconds = found.plan.seconds(each.job.cell, len(each.job.seeds))
        gpus = found.plan.choice("rte", each.job.cell.model, each.job.cell.method, each.job.cell.k)
        wall = sum(seconds.values()) if each.fits else seconds["start"]
        assert each.wall == pytest.approx(wall)
        assert each.device_hours == pytest.approx(wall * gpus.gpus / 3600)
    assert {each.site.processes for each in found.jobs} == {1, 4}, "13B is trained on four"
    assert sum(not each.fits for each in found.jobs) == 2 * 2, "32 shots of RTE"


def test_a_calibration_is_applied(study, tmp_path):
    plain, twice = schedule(study, tmp_path), schedule(study, tmp_path, calibrated(2.0))
    assert sum(each.wall for each in twice.jobs) == pytest.approx(
        2 * sum(each.wall for each in plain.jobs)
    )
    other = schedule(study, tmp_path, calibrated(2.0, kind="cpu"))
    assert [each.wall for each in other.jobs] == [each.wall for each in plain.jobs]


def test_the_longest_chain_by_hand(study, tmp_path):
    found = schedule(study, tmp_path)
    longest = max(found.jobs, key=lambda each: each.wall)
    predictions = {
        name: sum(each.predictions for each in found.jobs if each.job.cell.model == name)
        for name in ("opt-125m", "opt-13b")
    }
    assert longest.job.cell.model == "opt-13b"
    assert [(link.rule, link.seconds) for link in chain.longest(found)] == [
        ("download_model", SMALL),
        ("download_weights", SMALL + 2 * 12_853_473_280 / NETWORK),
        ("fine_tune", longest.wall),
        ("compute_metrics", pytest.approx(SMALL + COUNT * predictions["opt-13b"])),
        ("compare_methods", pytest.approx(SMALL + COMPARE * sum(predictions.values()))),
        ("plot_figure", SMALL),
        ("render_figure", SMALL),
        ("write_report", SMALL),
    ]


def test_rows_and_draws_come_before_a_job_whose_model_is_there(study, tmp_path):
    found = schedule(study, tmp_path, done=["download_model", "download_weights"])
    first = chain.longest(found)[:3]
    assert [(link.rule, link.of) for link in first] == [
        ("download_data", "rte"),
        ("prepare_task", "rte/train"),
        ("sample_shots", "fair/rte/k128/seed9"),
    ]
    assert [link.seconds for link in first] == pytest.approx(
        [SMALL + 2490 * 66 * BYTES_PER_TOKEN / NETWORK, SMALL + 2490 * PREPARE, SMALL]
    )


def test_what_is_finished_is_in_no_chain(study, tmp_path):
    downloads = ["download_data", "download_model", "download_weights"]
    runs = ["prepare_task", "sample_shots", "run_in_context", "fine_tune"]
    rest = schedule(study, tmp_path, done=[*downloads, *runs])
    assert [link.rule for link in chain.longest(rest)] == [
        *("compute_metrics", "compare_methods", "plot_figure", "render_figure", "write_report")
    ]
    rest = schedule(study, tmp_path, done=everything(study))
    assert chain.longest(rest) == [] and rest.todo == []
    page = scheduletable.page(rest, markdown=False)
    assert "All files are there" in page and "Longest chain" not in page


def test_bytes_by_hand(study, tmp_path):
    found = schedule(study, tmp_path)
    models = 2 * (125_239_296 + 12_853_473_280)
    rows = (2490 * 66 + 277 * 65 + 30_000 * 11) * BYTES_PER_TOKEN
    assert found.download_bytes() == pytest.approx(models + rows)
    done = schedule(study, tmp_path, done=["download_weights", "download_data"])
    assert done.download_bytes() == 0
    lora = {"opt-125m": (4, 12 * 2 * 8 * 2 * 768), "opt-13b": (2, 40 * 2 * 8 * 2 * 5120)}
    kept = sum(24 * size * count for size, count in lora.values())
    # Per model: k = 0 once and k = 16 for twelve seeds in context; trained, two epochs are kept.
    predictions = 2 * 30_277 * (1 + 12 + 4 * 12 * 2)
    assert found.result_bytes() == kept + 16 * predictions


def test_full_weights_count_where_they_are_kept(tmp_path):
    folder = tmp_path / "config"
    folder.mkdir()
    kept = of(folder, models=["opt-125m"], grid=[GRID[1] | {"methods": ["pattern-ft"], "k": [16]}])
    found = schedule(kept, tmp_path)
    before = found.result_bytes()
    kept.methods["pattern-ft"]["keep_weights"] = True
    after = schedule(kept, tmp_path).result_bytes()
    assert after - before == 12 * 4 * 125_239_296


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the printed cells below a heading, by the first one of each row."""
    lines = page[page.index(heading) :].split("\n\n")[1].splitlines()
    return {first: rest for first, *rest in map(str.split, lines)}


def test_the_page_fits_a_terminal_and_adds_up(study, tmp_path):
    found = schedule(study, tmp_path, done=["run_in_context"])
    page = scheduletable.page(found, markdown=False)
    assert max(map(len, page.splitlines())) <= 100
    jobs = rows(page, "Jobs by rule")
    assert jobs["run_in_context"] == ["10", "10", "0"] and jobs["fine_tune"] == ["16", "0", "16"]
    assert jobs["total"] == ["78", "10", "68"]
    hours = rows(page, "GPU-hours of adaptation jobs")
    whole, todo = (sum(each.device_hours for each in jobs) for jobs in (found.jobs, found.todo))
    assert hours["model"] == ["in-context", "pattern-ft", "lora", "all", "to", "do"]
    assert hours["total"][-2:] == [scheduletable.hours_text(each) for each in (whole, todo)]
    by_model = [float(hours[name][-2]) for name in ("opt-125m", "opt-13b")]
    assert sum(by_model) == pytest.approx(whole, rel=0.02)
    longest = chain.seconds_of(chain.longest(found)) / 3600
    least = rows(page, "Least wall-clock hours by number of GPUs")
    for count in (8, 32, 128):
        hours, _, bound, *_ = least[str(count)]
        assert float(hours) == pytest.approx(max(longest, todo / count), rel=0.05)
        assert bound == ("longest" if longest >= todo / count else "hours")


def test_the_page_says_what_it_rests_on(study, tmp_path):
    def told(calibration=None) -> str:
        found = planremarks.rests_on(schedule(study, tmp_path, calibration))
        assert "\n" not in found
        return found

    assert "not calibrated (no finished job on a GPU was measured)" in told()
    assert "a factor of 3 either way" in told()
    assert "(there: broken)" in told(Calibration(problem="there: broken"))
    known = told(calibrated())
    assert "by 20 finished jobs (19 on cuda: A, 1 on cuda: B)" in known
    assert "up to 125.0 million parameters" in known and "took 0.80 to 1.30 times" in known
    few = told(calibrated(jobs=3))
    assert "by 3 finished jobs" in few and "a factor of 3 either way" in few
    assert "not calibrated" in told(calibrated(kind="cpu"))


def test_short_and_unfit_jobs_are_named(study, tmp_path):
    found = schedule(study, tmp_path)
    short = [each for each in found.todo if each.wall < 600]
    [line] = [line for line in planremarks.remarks(found) if "ten minutes" in line]
    count = sum(each.job.cell.model == "opt-125m" for each in short)
    assert line.startswith(f"{len(short)} of 26 adaptation jobs") and f"opt-125m {count}" in line
    assert any(line.startswith("4 jobs are not expected to fit") for line in
               planremarks.remarks(found))  # fmt: skip
    done = schedule(study, tmp_path, done=["run_in_context", "fine_tune"])
    assert not any("ten minutes" in line for line in planremarks.remarks(done))


QUEUE = Queue(most_minutes=60, attempts=3, short_minutes=10, together=4)


def test_jobs_that_share_submissions_are_told_of_a_cluster(study, tmp_path):
    """Those of one GPU: 13B is trained on four, each of which is a submission."""
    found = schedule(study, tmp_path, queue=QUEUE)
    shared = [each for each in found.todo if each.wall < 600 and each.site.processes == 1]
    each = [sum(of in job.job.folder for job in shared) for of in ("opt-125m", "opt-13b")]
    [line] = [line for line in planremarks.remarks(found) if "submissions" in line]
    assert line.startswith(f"{len(shared)} of 26 adaptation jobs to do")
    assert f"share {-(-each[0] // 4) + -(-each[1] // 4)} submissions, up to 4" in line
    assert f"opt-125m {each[0]}, opt-13b {each[1]}." in line
    alone = schedule(study, tmp_path, queue=replace(QUEUE, short_minutes=0))
    assert any("little beside the time" in line for line in planremarks.remarks(alone))


def test_limits_are_the_sites_and_jobs_beyond_all_attempts_are_told(study, tmp_path):
    queue = replace(QUEUE, most_minutes=20)
    found, free = schedule(study, tmp_path, queue=queue), schedule(study, tmp_path)
    assert {each.minutes for each in found.jobs if not each.shares} == {20}
    assert {each.minutes for each in found.jobs if each.shares} == {20 / 4}, "they add up"
    assert max(each.minutes for each in free.jobs) > 20
    long = sum(each.wall > 3 * 20 * 60 for each in found.todo)
    [line] = [line for line in planremarks.remarks(found) if "--retries" in line]
    assert long and line.startswith(f"{long} jobs are predicted to take longer than 3 of ")
    assert "(gpu_max_hours)" in line
    far = schedule(study, tmp_path, queue=replace(QUEUE, most_minutes=float("inf")))
    assert not any("--retries" in line for line in planremarks.remarks(far))


def test_phases_that_no_job_measured_are_named(study, tmp_path):
    known = calibrated().kinds["gpu"]
    shown = Calibration({"gpu": replace(known, seen={**known.seen, "train": 7, "write": 0})})
    found = schedule(study, tmp_path, shown)
    told = planremarks.rests_on(found)
    part = sum(each.seconds["train"] + each.seconds["write"] for each in found.jobs)
    whole = sum(each.wall for each in found.jobs)
    assert f"Fewer than 8 of them tell how long train takes, {part / whole:.0%} of" in told
    assert "Fewer than" not in planremarks.rests_on(schedule(study, tmp_path, calibrated()))


def test_without_a_gpu_hours_are_those_of_a_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("fewshot.machine.gpu_memories", lambda: ())
    folder = tmp_path / "config"
    folder.mkdir()
    found = schedule(of(folder, models=["opt-125m"], machine={}), tmp_path)
    assert all(each.device_hours == each.wall / 3600 for each in found.jobs)
    page = scheduletable.page(found, markdown=False)
    assert "CPU-hours of adaptation jobs" in page and "No GPU is named or found" in page
    assert "by number of CPUs" in page


def test_the_schedule_is_written_in_three_formats(study, tmp_path):
    found = schedule(study, tmp_path, calibrated())
    text = scheduletable.write(found, tmp_path / "out")
    assert text == scheduletable.page(found, markdown=False)
    stored = records.read_table(tmp_path / "out/schedule.parquet")
    assert (
        list(stored) == schemas.SCHEDULE.names and len(stored) == 26 and stored["calibrated"].all()
    )
    parts = stored[[f"seconds_{phase}" for phase in PHASES]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(stored["seconds"].to_numpy())
    assert len(pd.read_csv(tmp_path / "out/schedule.csv")) == 26
    page = Path(tmp_path, "out/schedule.md").read_text()
    assert page.startswith("# Plan of study 'mine' for 2 nodes of 4 × 80 GB GPUs")
    assert "| fine_tune | 16 | 0 | 16 |" in page and "snakemake plan_memory" in page


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0, "0"), (0.00123, "0.0012"), (0.94, "0.94"), (0.96, "1.0"), (9.94, "9.9"), (9.96, "10"),
     (1234.5, "1,234")],
)  # fmt: skip
def test_hours_have_two_digits_or_more(hours, text):
    assert scheduletable.hours_text(hours) == text
