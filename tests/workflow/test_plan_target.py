"""What a study will cost, as a target, and what finished jobs tell of that."""

import json
import re
from collections import Counter

import pandas as pd
import pytest
from project import ROOT, Project
from test_dry_run import counts, resources_of

README = " ".join((ROOT / "README.md").read_text().split())
RUN = "results/runs/fair/synth-mnli/opt-micro/quick-ft/minimal/k4/seeds8-9/manifest.json"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project.create(tmp_path_factory.mktemp("plans") / "project")


def told(output: str, heading: str = "Jobs by rule") -> dict[str, list[str]]:
    """Return the printed cells below a heading, by the first one of each row."""
    _, *lines = output[output.index(heading) :].split("\n\n")[1].splitlines()
    return {first: rest for first, *rest in map(str.split, lines)}


def check_counts(project: Project, *study: str) -> dict[str, tuple[int, int]]:
    """Compare the jobs to do of a plan with those of a dry run, whose target is a job as well.

    Return by rule how many jobs there are and how many are finished.
    """
    rows = told(project.run("plan", *study))
    jobs = {rule: [int(each.replace(",", "")) for each in row] for rule, row in rows.items()}
    expected = counts(project.run("all", "--dry-run", *study))
    assert expected.pop("all") == 1
    total = expected.pop("total") - 1
    left = {rule: todo for rule, (_, _, todo) in jobs.items() if todo}
    assert left.pop("total") == total
    assert left == expected
    return {rule: (whole, done) for rule, (whole, done, _) in jobs.items()}


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("mosbach2023", "paper-qqp-cola")]


@pytest.mark.parametrize("file", ["config", "paper", *LONG])
def test_jobs_are_those_that_a_dry_run_counts(project, file):
    jobs = check_counts(project, "--configfile", f"config/{file}.yaml", project.machine())
    assert {done for _, done in jobs.values()} == {0}


def test_what_is_made_from_a_missing_run_is_to_do(study):
    """Of a finished study first the page is gone, then a run as well."""
    (study.folder / "results/demo/report.html").unlink()
    assert check_counts(study)["total"][1] > 0
    (study.folder / RUN).unlink()
    jobs = check_counts(study)
    assert jobs["fine_tune"] == (2, 1) and jobs["sample_shots"] == (2, 2)
    assert jobs["compute_metrics"] == jobs["compare_methods"] == (1, 0)
    assert jobs["plot_figure"][1] == jobs["make_table"][1] == 0


def test_a_method_that_is_added_makes_pages_anew(study):
    study.edit("config/config.yaml", lambda c: c["grid"][1]["methods"].append("tiny-bitfit"))
    jobs = told(study.run("plan"))
    assert jobs["fine_tune"] == ["3", "2", "1"] and jobs["write_report"] == ["1", "0", "1"]


def test_results_made_elsewhere_are_counted_as_read(fresh):
    """Without shots nothing is drawn from training rows, but for prompts that were stored."""
    fresh.edit("config/methods.yaml", lambda c: c.update(
        harness={"family": "imported", "head": "language-model", "title": "Harness"}))  # fmt: skip
    logs = {name: f"{name}{{seed}}.jsonl" for name in ("synth-rte", "synth-hans")}
    entry = {"method": "harness", "model": "pythia-micro", "task": "synth-rte",
             "pattern": "minimal", "k": 4, "seeds": "0-1", "prompts": "stored",
             "samples": logs}  # fmt: skip
    bare = {"methods": ["in-context"], "patterns": ["minimal"], "k": [0], "tasks": ["synth-mnli"]}
    tasks = ["synth-mnli", "synth-rte"]
    fresh.edit("config/config.yaml", lambda c: c.update(
        tasks=tasks, grid=[bare], imports=[entry], main={"k": 0}))  # fmt: skip
    for seed in (0, 1):
        for name in logs:
            (fresh.folder / f"{name}{seed}.jsonl").touch()
    check_counts(fresh)


def test_the_papers_plan_is_printed_and_written(project):
    study = ("--configfile", "config/paper.yaml", project.machine())
    output = project.run("plan", *study)
    page = output[output.index("Plan of study") : output.index("Plan: results/paper/schedule.md")]
    assert page.startswith("Plan of study 'paper' for 2 nodes of 4 × 80 GB GPUs")
    assert max(map(len, page.splitlines())) <= 100
    hours = told(page, "GPU-hours of adaptation jobs")
    assert len(hours) == 13 + 1 and hours["opt-125m"] != hours["opt-30b"]
    assert list(told(page, "Longest chain")) == [
        *("download_model", "download_weights", "fine_tune", "compute_metrics"),
        *("compare_methods", "plot_figure", "write_report", "total"),
    ]
    assert "the hours of all jobs" in page and "are not calibrated" in page
    folder = project.folder / "results/paper"
    stored = pd.read_parquet(folder / "schedule.parquet")
    assert len(stored) == len(pd.read_csv(folder / "schedule.csv")) == 1092
    assert not stored["finished"].any() and stored["device_hours"].sum() > 100
    assert (stored["seconds"] > 0).all() and (stored["limit_minutes"] >= 30).all()
    hours = stored.groupby("model", observed=True)["device_hours"].sum()
    assert f"over two nodes, they are {round(hours.sum(), -1):,.0f} GPU-hours" in README
    largest = f"({hours['gpt-neox-20b']:.0f} and {hours['opt-30b']:.0f} hours in all)"
    assert largest in README
    assert stored.loc[~stored["fits"], "task"].eq("rte").all()
    cell = ["task", "model", "method", "pattern"]
    by_shots = stored[stored["fits"]].sort_values("k").groupby(cell, observed=True)
    assert by_shots["device_hours"].apply(lambda hours: hours.is_monotonic_increasing).all()
    text = (folder / "schedule.md").read_text()
    assert "| fine_tune | 780 | 0 | 780 |" in text
    assert "opt-30b" in text and "snakemake plan_memory" in text


def test_a_finished_study_has_nothing_left_and_teaches(study):
    """What is learnt changes the plan and the limits, and makes no job run again."""
    output = study.run("plan")
    assert "All files are there; `snakemake -n`" in output and "Longest chain" not in output
    jobs = told(output)
    assert jobs["fine_tune"] == ["2", "2", "0"] and jobs["total"][2] == "0"
    assert study.planned() == []
    learnt = study.run("calibrate")
    assert "CPU: 4 jobs (4 on cpu" in learnt
    assert re.search(r"After: predictions are off by \d+% for the median job", learnt)
    stored = json.loads((study.folder / "results/calibration.json").read_text())
    assert stored["kinds"]["cpu"]["jobs"] == 4
    again = study.run("plan")
    assert "are calibrated by 4 finished jobs" in again and "not calibrated" not in again
    assert study.planned() == [], "times change no result"


def test_the_file_of_another_clone_is_used(fresh):
    """Ten times slower than predicted: the plan and, with its margin, the limit follow."""

    def seconds() -> float:
        fresh.run("plan")
        stored = pd.read_parquet(fresh.folder / "results/demo/schedule.parquet")
        return stored.loc[stored["method"] == "quick-ft", "seconds"].sum()

    def limit() -> int:
        output = fresh.run(RUN, "--dry-run")
        return int(resources_of(output, "fine_tune")["runtime"])

    plain = seconds(), limit()
    phases = ("start", "load", "train", "curve", "score", "write")
    known = {"factors": dict.fromkeys(phases, 1000.0), "seen": dict.fromkeys(phases, 99),
             "low": 0.9, "high": 1.1, "parameters": 1, "devices": {"cpu: other": 99}}  # fmt: skip
    path = fresh.folder / "results/calibration.json"
    path.write_text(json.dumps({"version": version(fresh), "kinds": {"cpu": known}}))
    assert seconds() == pytest.approx(1000 * plain[0])
    assert plain[1] == 30 and limit() > 1.5 * 1000 * plain[0] / 60


def version(project: Project) -> str:
    """Return the version of the cost model in a copy of the project."""
    import subprocess
    import sys

    code = "from fewshot.planning import calibration; print(calibration.version())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder / "scripts", text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("content", "cause"),
    [('{"version": ', "no calibration that can be read"), ("{}", "no calibration that can be read"),
     ('{"version": "x", "kinds": {}}', "made by another version of the cost model")],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_line_and_stops_nothing(fresh, content, cause):
    path = fresh.folder / "results/calibration.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    output = fresh.run("plan")
    [line] = [each for each in output.splitlines() if each.startswith("times are not")]
    assert "results/calibration.json" in line and cause in line and "snakemake calibrate" in line
    assert "Traceback" not in output
    told_in_plan = " ".join(output[output.index("Times are not calibrated") :].split())
    assert cause in told_in_plan
    assert path.read_text() == content


def test_nothing_to_learn_from_is_one_line_and_writes_nothing(fresh):
    """Also where other jobs are tried again, as by the profile of a cluster."""
    done = fresh.snakemake("calibrate", "--retries", "2")
    assert done.code != 0 and "Traceback" not in done.output
    assert "report_partial" not in done.output, "there is no study to report on"
    [line] = [each for each in done.output.splitlines() if each.startswith("error: ")]
    assert (
        line == "error: results/benchmarks/runs: no finished job to learn from (there is no file)"
    )
    assert not (fresh.folder / "results/calibration.json").exists()


def test_what_is_there_counts_as_finished(fresh):
    fresh.run("data")
    output = fresh.run("plan")
    jobs = told(output)
    assert jobs["download_model"] == ["1", "1", "0"] and jobs["prepare_task"] == ["3", "3", "0"]
    assert jobs["fine_tune"] == ["2", "0", "2"]
    assert "No GPU is named or found" in output and "Finished is what is on disk" in output


def test_a_cluster_shares_submissions_and_ends_long_jobs(project):
    """What the plan says of the paper's study is what a dry run with the profile would submit."""
    dry = project.run("--profile", "slurm", "--dry-run")
    blocks = [block for block in dry.split("\n\n") if "grouped=1" in block]
    pairs = [re.search(r"wildcards: .*task=([\w-]+), model=([\w.-]+)", block) for block in blocks]
    groups = Counter(pair.groups() for pair in pairs)
    submissions = sum(-(-count // 6) for count in groups.values())
    jobs = counts(dry)["total"] - counts(dry)["all"]
    sent = dry.count("] Group job ") + len(re.findall(r"^rule (?!all:|download_)", dry, re.M))
    told = f"the paper's {jobs:,} jobs are about {round(sent, -1):,} submissions."
    assert told in README and f"Planning the {jobs:,} jobs of the paper's study" in README
    output = " ".join(project.run("plan", "--profile", "slurm").split())
    assert len(blocks) > 100
    assert f"{len(blocks):,} of 1,092 adaptation jobs to do" in output
    assert f"less than 10 minutes and share {submissions:,} submissions, up to 6" in output
    assert "(gpu_max_hours), after" not in output

    site = project.folder / "profiles/slurm/site.yaml"
    before = site.read_text()
    site.write_text(before.replace("gpu_max_hours:", "gpu_max_hours: 1"))
    output = " ".join(project.run("plan", "--profile", "slurm", "--retries", "2").split())
    site.write_text(before)
    stored = pd.read_parquet(project.folder / "results/paper/schedule.parquet")
    assert stored["limit_minutes"].max() == 60
    long = (stored["seconds"] > 3 * 3600).sum()
    assert long and f"{long} jobs are predicted to take longer than 3 of 1 hours" in output
