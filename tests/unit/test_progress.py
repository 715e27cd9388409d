"""A run is told in words: one line for each job that has ended, and all of what went wrong."""

import logging
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from project import ROOT
from snakemake_logger_plugin_fairshot import LogHandler
from snakemake_logger_plugin_fairshot.lines import Progress, describe, duration, files_text

PLUGINS = ROOT / "scripts/plugins"
NAMES = {
    "task": {"mnli": "MNLI"},
    "model": {"pythia-mini": "Pythia mini"},
    "method": {"lora": "LoRA"},
    "pattern": {"minimal": "Minimal"},
}
CELL = {"protocol": "fair", "task": "mnli", "model": "pythia-mini", "method": "lora"}
RUN = {**CELL, "pattern": "minimal", "k": "16", "first": "0", "last": "4"}


def test_a_job_is_named_by_the_titles_of_what_it_is_about():
    words = "fine-tune · MNLI · Pythia mini · LoRA · k=16 · seeds 0–4"
    assert describe("fine_tune", RUN, NAMES) == words
    assert describe("fine_tune", {**RUN, "last": "0"}, NAMES).endswith("· k=16 · seed 0")
    assert describe("make_table", {"study": "demo", "name": "costs"}, {}) == "make table · costs"
    assert describe("sample_shots", {"draw": "fair", "k": 4, "seed": 3}, {}).endswith(
        "k=4 · seed 3"
    )


def test_patterns_are_told_apart_where_there_are_two():
    both = {**NAMES, "pattern": {"minimal": "Minimal", "gpt-3": "GPT-3"}}
    assert "· LoRA · Minimal · k=16" in describe("fine_tune", RUN, both)
    assert "none" not in describe("fit_baseline", {**RUN, "pattern": "none"}, both)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (12.4, "12 s"), (89, "89 s"), (91, "2 min"), (7140, "119 min"), (7200, "2 h"),
     (86400 * 3, "3 d")],
)  # fmt: skip
def test_times_are_rounded_to_a_unit(seconds, words):
    assert duration(seconds) == words


def test_files_that_differ_in_their_suffix_are_named_once():
    assert (
        files_text([f"results/a.{kind}" for kind in ("vl.json", "svg")])
        == "results/a.{vl.json,svg}"
    )
    assert files_text(["report.html"]) == "report.html"
    assert files_text(f"{name}.md" for name in "abcdef") == "a.md, b.md and 4 more"


def test_a_line_has_counts_the_job_its_time_and_what_is_left():
    """Ten jobs of 12 s, two at a time: after two of them four rounds of 12 s are left."""
    progress = Progress(names=NAMES)
    assert progress.planned({"fine_tune": 10, "total": 10}) == "10 jobs to run"
    for jobid in (1, 2):
        progress.started(jobid, "fine_tune", RUN, "", at=100.0)
    for jobid in (1, 2):
        progress.finished(jobid, at=112.0)
    first, second = progress.counted(2, 10, at=112.0)
    assert first == " 1/10 · fine-tune · MNLI · Pythia mini · LoRA · k=16 · seeds 0–4 · 12 s"
    assert second == f" 2{first[2:]} · about 48 s left"


def test_jobs_that_run_are_taken_to_be_partly_done():
    """One at a time: 10 s each, one over and one half over; of three, 15 s are left."""
    progress = Progress(names=NAMES)
    progress.planned({"make_table": 3, "total": 3})
    progress.started(1, "make_table", {}, "", at=0.0)
    progress.finished(1, at=10.0)
    progress.started(2, "make_table", {}, "", at=10.0)
    assert progress.time_left(15.0) == pytest.approx(15.0)


def test_a_job_that_failed_no_longer_runs_and_is_due_again():
    """One at a time: 10 s over, 5 s lost, 5 s of the next over; 5 + 10 s are left."""
    progress = Progress(names=NAMES)
    progress.planned({"make_table": 3, "total": 3})
    progress.started(1, "make_table", {}, "", at=0.0)
    progress.finished(1, at=10.0)
    progress.started(2, "make_table", {}, "", at=10.0)
    progress.failed(2, at=15.0)
    progress.started(3, "make_table", {}, "", at=15.0)
    assert progress.time_left(20.0) == pytest.approx(15.0)


@pytest.mark.parametrize(
    "error",
    [{"event": "job_error", "jobid": 4},
     {"event": "group_error", "job_error_info": [{"jobid": 4}]}],
    ids=["job", "group"],
)  # fmt: skip
def test_failures_are_told_in_full_and_noted(error):
    handler = LogHandler(SimpleNamespace(dryrun=False, verbose=False, stdout=False), None)
    for each in (submitted(4, "costs"), {"msg": "failed", "created": 9.0, **error}):
        lines = handler.in_words(logging.makeLogRecord(each))
    assert lines == ["failed"] and not handler.progress.running and handler.progress.lost == 9


def test_no_time_is_shown_before_a_job_of_each_long_rule_has_ended():
    progress = Progress(names=NAMES)
    progress.planned({"sample_shots": 2, "fine_tune": 2, "total": 4})
    progress.started(1, "sample_shots", {}, "", at=0.0)
    progress.finished(1, at=1.0)
    assert progress.counted(1, 4, at=1.0) == ["1/4 · sample_shots · 1 s"]
    progress.started(2, "fine_tune", {}, "", at=1.0)
    progress.finished(2, at=9.0)
    assert progress.counted(2, 4, at=9.0) == ["2/4 · fine_tune · 8 s · about 9 s left"]


def test_time_in_a_queue_is_told_as_such_and_nothing_is_left_after_the_last_job():
    progress = Progress()
    progress.planned({"fine_tune": 1, "total": 1})
    progress.started(1, "fine_tune", {}, "", at=0.0, submitted=True)
    progress.finished(1, at=600.0)
    assert progress.counted(1, 1, at=600.0) == ["1/1 · fine_tune · 10 min since it was submitted"]


def told(*records: dict) -> list[str]:
    """Return what the plugin says of Snakemake's records, in a run that is not dry."""
    handler = LogHandler(SimpleNamespace(dryrun=False, verbose=False, stdout=False), None)
    made = [logging.makeLogRecord({"levelno": logging.INFO, **each}) for each in records]
    return [line for record in made for line in handler.in_words(record)]


def submitted(jobid: int, name: str) -> dict:
    files = {"input": [], "output": [f"{name}.md"], "log": []}
    said = {"jobid": jobid, "rule_name": "make_table", "wildcards": {"name": name}, "local": False}
    return {"event": "job_info", "created": 0.0, **said, **files}


def test_jobs_that_share_a_submission_are_counted_one_by_one_since_it():
    """Snakemake counts once for all jobs of a group; where there are nodes they were submitted."""
    assert told(
        {"msg": "Provided remote nodes: 9", "event": "resources_info", "nodes": 9},
        submitted(4, "costs"),
        submitted(7, "headline"),
        {"msg": "Finished jobid: 4", "event": "job_finished", "job_id": 4, "created": 90.0},
        {"msg": "Finished jobid: 7", "event": "job_finished", "job_id": 7, "created": 90.0},
        {"msg": None, "event": "progress", "done": 2, "total": 2, "created": 90.0},
    ) == [
        "1/2 · make table · costs · 2 min since it was submitted",
        "2/2 · make table · headline · 2 min since it was submitted",
    ]


def test_chatter_and_what_comes_after_ctrl_c_are_left_out():
    ending = {"msg": "Terminating processes on user request, this might take some time."}
    error = {"msg": "Error in rule fine_tune, jobid: 3", "levelno": logging.ERROR}
    note = {"msg": "Trying to restart job 3."}
    assert told({"msg": "Building DAG of jobs..."}, note, ending, error) == [note["msg"]]


SNAKEFILE = """
rule all:
    input: 'good-1.txt', 'bad.txt'
rule good:
    output: 'good-{k}.txt'
    shell: 'echo yes > {output}'
rule bad:
    output: 'bad.txt'
    shell: 'echo went wrong >&2; exit 3'
rule mine:
    output: 'mine-{k}.txt'
    log: 'mine-{k}.log'
    shell: 'echo "2026-01-02 03:04:05,678 ERROR a.csv: line 7 is broken" > {log}; exit 1'
rule summary:
    output: 'made/summary.txt'
    shell: 'echo yes > {output}'
logger.info("", extra={"names": {"model": {"1": "One"}}})
"""


def follow(folder, *arguments: str) -> subprocess.CompletedProcess:
    (folder / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--logger", "fairshot", "--cores", "1"]
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_snakemake_is_told_in_words_and_errors_in_full(tmp_path):
    done = follow(tmp_path, "--keep-going")
    lines = done.stderr.splitlines()
    assert "3 jobs to run" in lines and any(
        line.startswith("1/3 · good · k=1 · ") for line in lines
    )
    assert "went wrong" in lines and "Error in rule bad:" in lines
    chatter = ("Finished", "Select", "Execute", "rule", "Provided", "Building", "host", "Job stats")
    assert not [line for line in lines if line.startswith(chatter)]
    assert done.returncode == 1


@pytest.mark.slow
def test_failed_jobs_are_listed_at_the_end_with_the_reason_that_their_log_ends_with(tmp_path):
    done = follow(tmp_path, "--keep-going", "mine-1.txt", "bad.txt")
    lines = done.stderr.splitlines()
    why = "mine · k=1: a.csv: line 7 is broken"
    assert f"failed · {why}" in lines and "Error in rule mine:" not in done.stderr
    assert "Error in rule bad:" in lines and "WorkflowError" not in done.stderr
    assert lines[-3] == "2 jobs failed:"
    assert {*lines[-2:]} == {f"  {why} (mine-1.log)", "  bad"}


def test_a_job_that_was_started_again_has_not_failed():
    progress = Progress()
    for jobid in range(12):
        progress.started(jobid, f"rule{jobid}", {}, "", at=0.0)
        progress.failed(jobid, at=1.0)
    progress.started(3, "rule3", {}, "", at=2.0)
    listed = progress.failed_jobs()
    assert listed[0] == "11 jobs failed:" and listed[-1] == "  and 1 more"
    assert len(listed) == 12 and "  rule3" not in listed


@pytest.mark.slow
def test_a_target_names_the_files_that_it_made(tmp_path):
    done = follow(tmp_path, "summary")
    assert "\n1/1 · summary → made/summary.txt · " in done.stderr
    assert done.returncode == 0


@pytest.mark.slow
def test_quiet_is_followed(tmp_path):
    assert "1/1" not in follow(tmp_path, "summary", "--quiet", "progress").stderr
    assert follow(tmp_path, "good-1.txt", "--quiet", "all").stderr.strip() == ""


@pytest.mark.slow
def test_a_dry_run_is_shown_as_snakemake_shows_it(tmp_path):
    done = follow(tmp_path, "--dry-run")
    assert "\n\n[" in done.stdout and "rule good:\n    output: good-1.txt" in done.stdout
    assert "Job stats:" in done.stdout and "jobs to run" not in done.stdout


def test_make_setup_puts_the_plugin_where_python_finds_it_also_in_a_clone_that_was_moved(tmp_path):
    clone, moved = tmp_path / "clone", tmp_path / "moved"
    for part in ("scripts/plugins", "envs"):
        shutil.copytree(ROOT / part, clone / part)
    shutil.copy2(ROOT / "Makefile", clone)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    (clone / ".venv/.ready").touch()
    subprocess.run(["make", "--silent", "setup"], cwd=clone, check=True)
    clone.rename(moved)
    find = (
        f"import importlib.util; print(importlib.util.find_spec({LogHandler.__module__!r}).origin)"
    )
    command = [moved / ".venv/bin/python", "-c", find]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(moved / "scripts/plugins"))
