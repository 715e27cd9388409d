"""A user's mistake: one clear line, nothing run, nothing half-written."""

import os
import subprocess

import pytest
from project import Result


def one_line(result) -> str:
    """Return the single error line of a failed call that must not show a traceback."""
    assert result.code != 0, result.output
    assert "Traceback" not in result.output, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    return lines[0]


STUDY = "config/config.yaml"


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        (STUDY, lambda c: c.update(models=["opt-mcro"]), "did you mean 'opt-micro'?"),
        (
            "config/methods.yaml",
            lambda c: c["lora"].update(learning_rat=1),
            "config/methods.yaml: lora: unknown key 'learning_rat'; did you mean 'learning_rate'?",
        ),
        pytest.param(
            *(STUDY, lambda c: c.update(study="statistics"), "study: 'statistics' is reserved"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "config/methods.yaml",
            lambda c: c["quick-lora"].update(virtual_tokens=20),
            "virtual_tokens: family 'lora' with head 'language-model' has no such setting; valid: ",
            marks=pytest.mark.slow,
        ),
        (
            "config/tasks.yaml",
            lambda c: c["synth-mnli"].update(
                source={"local": {"train": "a.csv", "validation": "b.csv"}}
            ),
            "task 'synth-mnli': source file of 'train' not found: a.csv",
        ),
    ],
    ids=["study", "registry", "reserved", "setting", "file"],
)
def test_configuration_mistake_stops_before_anything_runs(fresh, path, change, expected):
    fresh.edit(path, change)
    line = one_line(fresh.snakemake())
    assert path in line
    assert expected in line
    assert not (fresh.folder / "results").exists()


READ_ONLY = 'mount --bind results results && mount -o remount,bind,ro results && exec "$@"'


@pytest.mark.weekly
def test_a_folder_of_results_that_cannot_be_written_is_one_line(fresh):
    results = fresh.folder / "results"
    results.mkdir()
    command = fresh.command("runs")
    if os.geteuid() == 0:  # Permissions do not stop root; a read-only mount of its own does.
        if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
            pytest.skip("no file system can be mounted here")
        command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", *command]
    results.chmod(0o555)
    told = subprocess.run(
        command, cwd=fresh.folder, env=fresh.environment(), capture_output=True, text=True
    )
    line = one_line(Result(told.returncode, told.stdout + told.stderr))
    assert line == f"error: {results}: cannot be written; all that is made goes there"


def test_broken_yaml_names_file_and_line(fresh):
    (fresh.folder / "config/methods.yaml").write_text("lora:\n  family: [\n")
    assert "config/methods.yaml: line" in one_line(fresh.snakemake())


def test_key_given_twice_in_a_study(fresh):
    path = fresh.folder / "config/config.yaml"
    path.write_text(path.read_text() + "seeds: 0-3\n")
    assert "config/config.yaml: line" in (line := one_line(fresh.snakemake())) and "twice" in line


@pytest.mark.weekly
def test_context_beyond_the_window_says_does_not_fit(study):
    """80 shots of the longest pattern are more than 1,024 tokens."""
    shown = {"methods": ["in-context"], "patterns": ["eval-harness"], "k": [80]}
    pages = {"figures": ["id-ood-scatter"], "tables": ["coverage", "headline"]}
    study.edit(STUDY, lambda c: c.update(grid=[*c["grid"], shown], main={"k": 80}, **pages))
    tables = [f"results/demo/tables/{name}.md" for name in ("coverage", "headline")]
    study.run(*tables)
    coverage, headline = ((study.folder / path).read_text() for path in tables)
    assert "Does not fit" in coverage and "of 1024" in coverage
    assert "does not fit" in headline


@pytest.mark.slow
def test_exploding_loss_fails_its_job_alone_and_is_marked_in_the_partial_report(study):
    study.edit("config/methods.yaml", lambda c: c["quick-ft"].update(learning_rate=1e30))
    study.edit(STUDY, lambda c: c.update(figures=["id-ood-scatter"], tables=["coverage"]))
    failed = study.snakemake("runs")
    line = one_line(failed)
    assert "step" in line and "learning_rate" in line and "report_partial" in failed.output
    runs = study.folder / "results/runs/fair/synth-mnli/opt-micro"
    assert not list((runs / "quick-ft").rglob("*.parquet"))
    assert list((runs / "quick-lora").rglob("*.parquet"))
    study.run("report_partial")
    partial = study.folder / "results/demo/partial"
    coverage = (partial / "tables/coverage.md").read_text()
    assert "missing" in coverage
    assert "learning_rate" in coverage, "the last line of the failed job's log"
    assert list((partial / "figures").glob("*.svg"))
    assert "missing" in (partial / "report.html").read_text()
