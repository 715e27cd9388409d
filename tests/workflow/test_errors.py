"""A user's mistake: one clear line, nothing run, nothing half-written."""

import pytest


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
        (
            "config/tasks.yaml",
            lambda c: c["synth-mnli"].update(
                source={"local": {"train": "a.csv", "validation": "b.csv"}}
            ),
            "task 'synth-mnli': source file of 'train' not found: a.csv",
        ),
    ],
    ids=["study", "registry", "file"],
)
def test_configuration_mistake_stops_before_anything_runs(fresh, path, change, expected):
    fresh.edit(path, change)
    line = one_line(fresh.snakemake())
    assert path in line
    assert expected in line
    assert not (fresh.folder / "results").exists()


def test_broken_yaml_names_file_and_line(fresh):
    (fresh.folder / "config/methods.yaml").write_text("lora:\n  family: [\n")
    assert "config/methods.yaml: line" in one_line(fresh.snakemake())


def test_key_given_twice_in_a_study(fresh):
    path = fresh.folder / "config/config.yaml"
    path.write_text(path.read_text() + "seeds: 0-3\n")
    assert "config/config.yaml: line" in (line := one_line(fresh.snakemake())) and "twice" in line


def test_class_too_small_for_k(study):
    study.edit(STUDY, lambda c: c["grid"][0].update(k=[100]))
    line = one_line(study.snakemake("results/shots/fair/synth-mnli/k100/seed8.parquet"))
    assert "grid: k = 100 is more than the training rows of task 'synth-mnli' allow: 40 of" in line
    assert line.endswith("valid: multiples of 2 up to 80")
    assert not list((study.folder / "results/shots/fair/synth-mnli/k100").rglob("*.parquet"))


def test_word_of_several_tokens_is_refused_for_fine_tuning(study):
    def change(content):
        content["odd"] = {
            "template": "{text_a} {text_b} ?",
            "answer": " {label}",
            "labels": {"entailment": "Yes Yes", "contradiction": "No"},
        }

    study.edit("config/patterns.yaml", change)
    cell = {"patterns": ["odd"], "k": [4], "methods": ["in-context", "quick-ft"]}
    study.edit(STUDY, lambda c: c["grid"][0].update(cell))
    line = one_line(study.snakemake("window"))
    assert "Yes Yes" in line and "opt-micro" in line and "odd" in line


def test_corrupt_local_file(fresh):
    files = {"train": "bad.parquet", "validation": "worse.parquet"}
    for name in files.values():
        (fresh.folder / name).write_bytes(b"PAR1 this is no Parquet")
    fresh.edit("config/tasks.yaml", lambda c: c["synth-mnli"].update(source={"local": files}))
    target = "results/data/synth-mnli/train.parquet"
    assert "bad.parquet" in one_line(fresh.snakemake(target))


def test_context_beyond_the_window_says_does_not_fit(study):
    """80 shots of the longest pattern are more than 1,024 tokens."""
    shown = {"methods": ["in-context"], "patterns": ["eval-harness"], "k": [80]}
    study.edit(STUDY, lambda c: c.update(grid=[*c["grid"], shown], main={"k": 80}))
    tables = [f"results/demo/tables/{name}.md" for name in ("coverage", "headline")]
    study.run(*tables)
    coverage, headline = ((study.folder / path).read_text() for path in tables)
    assert "Does not fit" in coverage and "of 1024" in coverage
    assert "does not fit" in headline


def test_exploding_loss_fails_its_job_alone_and_is_marked_in_the_partial_report(study):
    study.edit("config/methods.yaml", lambda c: c["quick-ft"].update(learning_rate=1e30))
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
