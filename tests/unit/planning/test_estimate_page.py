"""How it is told what a study costs: the page, its remarks, the files."""

from types import SimpleNamespace

import pandas as pd
import pytest
from estimates import finish, jobs_of, plan_of
from fewshot import storage
from fewshot.analysis import result_schemas
from fewshot.planning import estimate, estimate_page


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """Return the cells of a table below a heading, by the first one of each row."""
    _, *lines = page[page.index(heading) :].split("\n\n")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_the_page_adds_up(plan, tmp_path):
    finish(plan, tmp_path, "/in-context/")
    jobs = jobs_of(plan, tmp_path)
    page = estimate_page.page(jobs, estimate.facts(plan))
    assert page.startswith("# Estimate of study 'mine' for 2 nodes of 4 × 80 GB GPUs")
    counts = rows(page, "## Adaptation jobs")
    assert counts["in-context"][:3] == ["10", "10", "0"]
    assert counts["lora"][:3] == ["8", "0", "8"] and counts["total"][:3] == ["26", "10", "16"]
    hours = rows(page, "## GPU-hours of adaptation jobs")
    whole, todo = jobs["device_hours"].sum(), jobs.loc[~jobs["finished"], "device_hours"].sum()
    assert hours["total"][-2:] == [estimate_page.hours_text(each) for each in (whole, todo)]
    by_model = [float(hours[name][-2]) for name in ("opt-125m", "opt-13b")]
    assert sum(by_model) == pytest.approx(whole, rel=0.02)
    assert "\n\n\n" not in page


def remarks(plan, folder, most_minutes=float("inf")) -> list[str]:
    jobs = jobs_of(plan, folder, most_minutes)
    return list(estimate_page.remarks(jobs, estimate.facts(plan, most_minutes)))


def test_how_far_times_may_be_off_stands_first(plan, tmp_path):
    first, *rest = remarks(plan, tmp_path)
    assert "never measured on a GPU" in first and "off by a factor of 3 either way" in first
    assert "Models take 26 GB to download" in rest[0]


def test_short_and_unfit_jobs_are_told(plan, tmp_path):
    jobs = jobs_of(plan, tmp_path)
    short = (jobs["seconds"] < 600).sum()
    lines = remarks(plan, tmp_path)
    assert any(line.startswith(f"{short} of 26 jobs to do are predicted") for line in lines)
    assert any(line.startswith("4 jobs are not expected to fit") for line in lines)
    finish(plan, tmp_path, "")
    assert not any("ten minutes" in line for line in remarks(plan, tmp_path))


def test_jobs_beyond_one_attempt_are_told(plan, tmp_path):
    jobs = jobs_of(plan, tmp_path)
    long = (jobs["seconds"] > 20 * 60 - 300).sum()
    attempts = -(-jobs["seconds"].max() // (20 * 60 - 300))
    [line] = [line for line in remarks(plan, tmp_path, 20) if "--retries" in line]
    assert long and line.startswith(f"{long} jobs are predicted to take longer than 0.333333 hours")
    assert f"`--retries {attempts - 1:.0f}`" in line and "(gpu_max_hours)" in line
    assert not any("--retries" in line for line in remarks(plan, tmp_path))


def test_without_a_gpu_hours_are_those_of_a_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("fewshot.runtime.machine.gpu_memories", lambda: ())
    plan = plan_of(tmp_path, models=["opt-125m"], machine={})
    jobs = jobs_of(plan, tmp_path)
    assert (jobs["device_hours"] == jobs["seconds"] / 3600).all()
    page = estimate_page.page(jobs, estimate.facts(plan))
    assert "CPU-hours of adaptation jobs" in page and "No GPU is named or found" in page


def test_the_estimate_is_written_in_three_formats(plan, tmp_path):
    output = SimpleNamespace(
        **{name: tmp_path / f"estimate.{end}"
           for name, end in (("table", "parquet"), ("csv", "csv"), ("md", "md"))}
    )  # fmt: skip
    rows = estimate.job_rows(plan, folder=tmp_path)
    text = estimate_page.write_estimate(rows, estimate.facts(plan), output)
    stored = storage.read_table(output.table)
    assert list(stored) == result_schemas.ESTIMATE.names and len(stored) == 26
    phases = [name for name in stored if name.startswith("seconds_")]
    assert (stored[phases].sum(axis=1) - stored["seconds"]).abs().max() < 1e-6
    assert len(pd.read_csv(output.csv)) == 26 and output.md.read_text() == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.0123, "0.012"),
        (0.5, "0.5"),
        (0.96, "1.0"),
        (9.94, "9.9"),
        (9.96, "10"),
        (1234.4, "1,234"),
    ],
)
def test_hours_have_two_digits_or_more(hours, text):
    assert estimate_page.hours_text(hours) == text
