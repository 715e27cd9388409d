"""`make demo` shows a line for each finished step, and all of what went wrong."""

import subprocess
import sys

import progress
import pytest

JOB = """
[Sun Nov 29 05:29:20 2026]
rule fine_tune:
    input: results/models/opt-mini/manifest.json, results/data/synth-mnli/train.parquet
    output: results/runs/predictions.parquet
    jobid: 19
    wildcards: protocol=fair, task=synth-mnli, model=opt-mini, pattern=gpt-3, k=16, first=0, last=4
    resources: mem_mb=<TBD>
Shell command: None
"""
DONE = """[Sun Nov  1 05:29:33 2026]
Finished jobid: 19 (Rule: fine_tune)
5 of 100 steps (5%) done
"""


def shown(text: str) -> list[str]:
    return list(progress.shorten(text.splitlines(keepends=True)))


def test_a_finished_step_is_one_line():
    assert shown(JOB + DONE) == ["[  5/100] fine_tune synth-mnli opt-mini gpt-3 k=16 seeds=0-4"]


def test_steps_at_the_same_time_are_not_confused():
    other = JOB.replace("19", "7").replace("fine_tune", "run_in_context")
    lines = shown(JOB + other + DONE + DONE.replace("19", "7").replace("fine_tune", "run"))
    assert [line.split()[2] for line in lines] == ["fine_tune", "run_in_context"]


def test_a_target_has_no_wildcards():
    said = "localrule all:\n    input: report.html\n    jobid: 0\n"
    assert shown(said + "Finished jobid: 0 (Rule: all)\n9 of 9 steps (100%) done\n") == [
        "[9/9] all"
    ]


def test_what_goes_wrong_is_shown_in_full():
    error = (
        "Error in rule fine_tune:",
        "    message: None",
        "    jobid: 19",
        "    log: results/logs/run.log (check log file(s) for error details)",
        "Logfile results/logs/run.log:",
        "2026-11-29 05:31:10,201 ERROR the job failed",
        "    raise ValueError",
        "error: config/methods.yaml: unknown method",
    )
    assert shown(JOB + "\n".join(error)) == list(error)


def follow(*command: str) -> subprocess.CompletedProcess:
    call = [sys.executable, progress.__file__, sys.executable, *command]
    return subprocess.run(call, capture_output=True, text=True)


def test_snakemake_is_followed_and_its_status_kept(tmp_path):
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: 'good-1.txt', 'bad.txt'\n"
        "rule good:\n    output: 'good-{k}.txt'\n    shell: 'echo yes > {output}'\n"
        "rule bad:\n    output: 'bad.txt'\n    shell: 'echo went wrong >&2; exit 3'\n"
    )
    snakefile = ("--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path))
    quiet = ("--quiet", "host", "reason", "--keep-going", "--cores", "1")
    done = follow("-m", "snakemake", *snakefile, *quiet)
    lines = done.stderr.splitlines()
    assert "[1/3] good k=1" in lines
    assert "went wrong" in lines and "Error in rule bad:" in lines
    assert not [
        line for line in lines if line.startswith(("Finished", "Select", "Execute", "rule"))
    ]
    assert done.returncode == 1


@pytest.mark.parametrize("code", [0, 7])
def test_the_status_is_that_of_the_command(code):
    assert follow("-c", f"raise SystemExit({code})").returncode == code
