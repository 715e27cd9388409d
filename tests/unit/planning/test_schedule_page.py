"""How what a study will cost is told: the page, its remarks, the files."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from fewshot import storage
from fewshot.analysis import result_schemas
from fewshot.planning import chain, estimate_page
from fewshot.planning.calibration import Calibration
from fewshot.planning.job_time import PHASES
from fewshot.runtime.submission import Queue
from schedules import calibrated, of, schedule


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return of(tmp_path_factory.mktemp("config"))


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the printed cells below a heading, by the first one of each row."""
    lines = page[page.index(heading) :].split("\n\n")[1].splitlines()
    return {first: rest for first, *rest in map(str.split, lines)}


def test_the_page_fits_a_terminal_and_adds_up(study, tmp_path):
    found = schedule(study, tmp_path, done=["run_in_context"])
    page = estimate_page.estimate_page(found, markdown=False)
    assert max(map(len, page.splitlines())) <= 100
    jobs = rows(page, "Jobs by rule")
    assert jobs["run_in_context"] == ["10", "10", "0"] and jobs["fine_tune"] == ["16", "0", "16"]
    assert jobs["total"] == ["78", "10", "68"]
    hours = rows(page, "GPU-hours of adaptation jobs")
    whole, todo = (sum(each.device_hours for each in jobs) for jobs in (found.jobs, found.todo))
    assert hours["model"] == ["in-context", "pattern-ft", "lora", "all", "to", "do"]
    assert hours["total"][-2:] == [estimate_page.hours_text(each) for each in (whole, todo)]
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
        found = estimate_page.rests_on(schedule(study, tmp_path, calibration))
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
    [line] = [line for line in estimate_page.remarks(found) if "ten minutes" in line]
    count = sum(each.job.cell.model == "opt-125m" for each in short)
    assert line.startswith(f"{len(short)} of 26 adaptation jobs") and f"opt-125m {count}" in line
    assert any(line.startswith("4 jobs are not expected to fit") for line in
               estimate_page.remarks(found))  # fmt: skip
    done = schedule(study, tmp_path, done=["run_in_context", "fine_tune"])
    assert not any("ten minutes" in line for line in estimate_page.remarks(done))


QUEUE = Queue(most_minutes=240, attempts=3, short_minutes=10, together=4)


def test_jobs_that_share_submissions_are_told_of_a_cluster(study, tmp_path):
    """Those of one GPU: 13B is trained on four, each of which is a submission."""
    found = schedule(study, tmp_path, queue=QUEUE)
    shared = [each for each in found.todo if each.wall < 600 and each.site.processes == 1]
    each = [sum(of in job.job.folder for job in shared) for of in ("opt-125m", "opt-13b")]
    [line] = [line for line in estimate_page.remarks(found) if "submissions" in line]
    assert line.startswith(f"{len(shared)} of 26 adaptation jobs to do")
    assert f"share {-(-each[0] // 4) + -(-each[1] // 4)} submissions, up to 4" in line
    assert f"opt-125m {each[0]}, opt-13b {each[1]}." in line
    alone = schedule(study, tmp_path, queue=replace(QUEUE, short_minutes=0))
    assert any("little beside the time" in line for line in estimate_page.remarks(alone))


def test_where_limits_do_not_add_up_to_the_sites_short_jobs_share_nothing(study, tmp_path):
    """Some ask for 30 minutes, and some for 60, of which four are more than two hours."""
    found = schedule(study, tmp_path, queue=replace(QUEUE, most_minutes=120))
    short = [each for each in found.todo if found.queue.is_short(each.site, each.wall)]
    shared = [each for each in short if each.shares]
    assert {each.minutes for each in shared} == {30}
    assert {each.minutes for each in short if not each.shares} == {60}
    share, alone = [line for line in estimate_page.remarks(found) if "than 10 minutes" in line]
    assert share.startswith(f"{len(shared)} of 26 adaptation jobs")
    assert alone.startswith(f"{len(short) - len(shared)} of 26 adaptation jobs")
    assert "limits of 4 do not fit into 2 hours (gpu_max_hours): opt-1" in alone


def test_limits_are_the_sites_and_jobs_beyond_all_attempts_are_told(study, tmp_path):
    queue = replace(QUEUE, most_minutes=20)
    found, free = schedule(study, tmp_path, queue=queue), schedule(study, tmp_path)
    assert {each.minutes for each in found.jobs} == {20}
    assert max(each.minutes for each in free.jobs) > 20
    long = sum(each.wall > 3 * (20 * 60 - 300) for each in found.todo)
    [line] = [line for line in estimate_page.remarks(found) if "--retries" in line]
    assert long and line.startswith(f"{long} jobs are predicted to take longer than 3 of ")
    assert "(gpu_max_hours)" in line
    far = schedule(study, tmp_path, queue=replace(QUEUE, most_minutes=float("inf")))
    assert not any("--retries" in line for line in estimate_page.remarks(far))


def test_phases_that_no_job_measured_are_named(study, tmp_path):
    known = calibrated().kinds["gpu"]
    shown = Calibration({"gpu": replace(known, seen={**known.seen, "train": 7, "write": 0})})
    found = schedule(study, tmp_path, shown)
    told = estimate_page.rests_on(found)
    part = sum(each.seconds["train"] + each.seconds["write"] for each in found.jobs)
    whole = sum(each.wall for each in found.jobs)
    assert f"Fewer than 8 of them tell how long train takes, {part / whole:.0%} of" in told
    assert "Fewer than" not in estimate_page.rests_on(schedule(study, tmp_path, calibrated()))


def test_without_a_gpu_hours_are_those_of_a_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("fewshot.runtime.machine.gpu_memories", lambda: ())
    folder = tmp_path / "config"
    folder.mkdir()
    found = schedule(of(folder, models=["opt-125m"], machine={}), tmp_path)
    assert all(each.device_hours == each.wall / 3600 for each in found.jobs)
    page = estimate_page.estimate_page(found, markdown=False)
    assert "CPU-hours of adaptation jobs" in page and "No GPU is named or found" in page
    assert "by number of CPUs" in page


def test_the_schedule_is_written_in_three_formats(study, tmp_path):
    found = schedule(study, tmp_path, calibrated())
    text = estimate_page.write_estimate(found, tmp_path / "out")
    assert text == estimate_page.estimate_page(found, markdown=False)
    stored = storage.read_table(tmp_path / "out/schedule.parquet")
    assert (
        list(stored) == result_schemas.SCHEDULE.names
        and len(stored) == 26
        and stored["calibrated"].all()
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
    assert estimate_page.hours_text(hours) == text
