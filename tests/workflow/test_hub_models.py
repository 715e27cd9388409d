"""A study whose model comes from a Hub: fetched once, freed, lost, locked, and never run twice."""

import json
import os
import shutil
from pathlib import Path

import pytest
import travels
from hub_server import LOOPBACK, HubServer, Repo
from project import Project
from tiny import save_tiny

# One process for all of them: they share the server and what was fetched from it.
pytestmark = pytest.mark.xdist_group("hub")

COMMIT, OTHER = "a" * 40, "b" * 40
TOKEN = "hf_secretsecret"
MODEL = "results/models/tiny"
WEIGHTS = f"{MODEL}/{COMMIT}/model.safetensors"
RUNS = "results/runs/fair/synth-mnli/tiny/in-context"
PATTERNS = ("minimal", "gpt-3")
ADAPTATION = {"run_in_context", "fine_tune"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Return a Hub that has a tiny model and wants a token."""
    folder = save_tiny(tmp_path_factory.mktemp("hub") / "model")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with HubServer(token=TOKEN) as server:
        server.repos["models/any/tiny"] = Repo(COMMIT, files, lfs=("model.safetensors",))
        yield server


def online(hub: HubServer) -> dict[str, str]:
    """Return the environment of a user with a network, behind a proxy that is not there."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "DISABLE_SAFETENSORS_CONVERSION": "0",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": LOOPBACK,
    }


def offline() -> dict[str, str]:
    return {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "1"}


def small(folder: Path, hub: HubServer) -> Project:
    """Return a study of seconds on the Hub's model, with two cells, and nothing run."""
    project = Project(Project.create(folder).folder, online(hub))
    size = {"parameters": 23712, "window": 128, "dtype": "float32"}
    entry = {"family": "opt", "hub": "any/tiny", "revision": "main", **size}
    project.edit("config/models.yaml", lambda models: models.update(tiny=entry))

    def study(content):
        grid = [{"methods": ["in-context"], "patterns": list(PATTERNS), "k": [0]}]
        content.update(models=["tiny"], tasks=["synth-mnli"], seeds="8", grid=grid, main={"k": 0})

    def tasks(content):
        content["synth-mnli"]["source"]["sizes"] = {"train": 40, "validation": 20}
        content["synth-hans"]["source"]["sizes"] = {"validation": 20}

    project.edit("config/config.yaml", study)
    project.edit("config/tasks.yaml", tasks)
    travels.few_pages(project)
    return project


@pytest.fixture(scope="module")
def done(hub, tmp_path_factory) -> Project:
    """Return the study with its tables; tests must copy it before they change it."""
    project = small(tmp_path_factory.mktemp("done") / "project", hub)
    project.run("tables")
    return project


@pytest.fixture
def study(done, tmp_path) -> Project:
    """Return a copy of the finished study that a test may change; times of files are kept."""
    shutil.copytree(done.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", done.variables)


def rules(jobs) -> list[str]:
    return [rule for rule, _ in jobs]


def adaptations(jobs) -> list[str]:
    """Return pattern and shots of the planned adaptation jobs."""
    runs = (path for rule, path in jobs if rule in ADAPTATION)
    return sorted("/".join(path.removeprefix(f"{RUNS}/").split("/")[:2]) for path in runs)


def add_cell(project: Project) -> None:
    cell = {"methods": ["in-context"], "patterns": ["minimal"], "k": [2]}
    project.edit("config/config.yaml", lambda content: content["grid"].append(cell))


def free(project: Project) -> str:
    return project.run("clean", "--config", "delete=yes")


def dates(project: Project) -> dict[str, int]:
    """Return when the runs of the first two cells were written."""
    files = (project.folder / RUNS).glob("*/k0/*/*.parquet")
    return {str(path.relative_to(project.folder)): path.stat().st_mtime_ns for path in files}


def test_from_download_to_tables(hub, done):
    names = hub.repos["models/any/tiny"].files
    fetched = [name for name in names if hub.gets(name)]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(fetched)
    assert all(len(hub.gets(name)) == 1 for name in fetched), "one request, for any number of jobs"
    assert (done.folder / "results/demo/tables/headline.md").exists()
    assert done.read("config/revisions.yaml")["models"] == {
        "tiny": {"hub": "any/tiny", "revision": "main", "commit": COMMIT}
    }
    written = [path for path in done.folder.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert done.planned("tables") == []


def test_freed_weights_run_nothing_and_come_back_for_a_new_cell_alone(hub, study):
    shown = study.run("clean", "--config", "delete=no")
    assert "weights of tiny" in shown and "all runs of study 'demo' are finished (2)" in shown
    study.run("clean", "--config", "delete=yes", "--dry-run")
    assert (study.folder / WEIGHTS).exists(), "neither deletes anything"
    assert "Freed" in free(study) and not (study.folder / WEIGHTS).exists()
    assert study.planned("tables") == []

    before, gets = dates(study), len(hub.gets("model.safetensors"))
    add_cell(study)
    assert adaptations(study.planned("tables")) == ["minimal/k2"]
    assert "weights that were freed are fetched again: tiny" in study.run("runs")
    assert dates(study) == before and len(hub.gets("model.safetensors")) == gets + 1
    assert len(hub.gets("config.json")) == 1
    assert len(list((study.folder / RUNS).glob("*/k2/*/manifest.json"))) == 1
    assert study.planned("runs") == []


def test_a_finished_run_that_must_run_again_fetches_freed_weights_for_itself(study):
    free(study)
    before = dates(study)
    study.edit(
        "config/patterns.yaml",
        lambda content: content["gpt-3"].update(template="{text_a} so {text_b}"),
    )
    jobs = study.planned("runs")
    assert adaptations(jobs) == ["gpt-3/k0"] and rules(jobs) == ["run_in_context"]
    assert "weights that were freed are fetched again: tiny" in study.run("runs")
    changed = {path for path, date in dates(study).items() if date != before[path]}
    assert changed and all("/gpt-3/" in path for path in changed)
    assert study.planned("runs") == []


def test_lost_weights_are_told_once_and_run_nothing(study):
    (study.folder / WEIGHTS).write_bytes(b"cut")
    line = f"weights are gone or incomplete: tiny ({WEIGHTS}); jobs that need them fetch"
    output = study.run("tables", "--dry-run")
    assert line in output and "Nothing to be done" in output
    assert "weights are gone" not in study.run("tables", "--dry-run")


def test_freed_weights_are_fetched_before_a_submission_where_a_run_needs_them(hub, study):
    free(study)
    gets = len(hub.gets("model.safetensors"))
    study.run("download")
    assert len(hub.gets("model.safetensors")) == gets, "all runs are finished"
    add_cell(study)
    study.run("download")
    assert len(hub.gets("model.safetensors")) == gets + 1
    assert "fetched again" not in Project(study.folder, offline()).run("runs")
    assert adaptations(study.planned("runs")) == []


def test_a_lock_that_gains_an_entry_runs_nothing(study):
    (study.folder / "config/revisions.yaml").write_text("{}\n")
    assert study.planned("tables") == []


def test_a_lock_of_another_commit_stops_with_one_line(study):
    study.edit(
        "config/revisions.yaml", lambda content: content["models"]["tiny"].update(commit=OTHER)
    )
    result = study.snakemake("tables")
    assert result.code != 0 and "Traceback" not in result.output
    [line] = [each for each in result.output.splitlines() if each.startswith("error:")]
    assert f"'tiny' is locked to commit {OTHER}, but {MODEL}/manifest.json has {COMMIT}" in line


def test_all_is_fetched_before_a_submission_and_jobs_need_no_network(hub, tmp_path):
    project = small(tmp_path / "project", hub)
    (tmp_path / "scratch").mkdir()
    scratch = f"download_weights:scratch={tmp_path}/scratch"
    fetched = ["download_data"] * 2 + ["download_model", "download_weights"]
    assert rules(project.planned("download")) == fetched

    other = tmp_path / "scratch/fairshot/models/of-another-project"
    other.parent.mkdir(parents=True)
    other.touch()
    os.truncate(other, 10**9)
    budget = (scratch, "download_weights:disk_budget_gb=1")
    result = project.snakemake("download", "--set-resources", *budget)
    [line] = [each for each in result.output.splitlines() if each.startswith("error:")]
    assert result.code != 0 and "which holds 1.00 GB of at most 1 GB (disk_budget_gb); `" in line
    assert not list((tmp_path / "scratch").rglob("*.safetensors"))

    project.run("download", "--set-resources", scratch)
    assert (project.folder / WEIGHTS).readlink().is_relative_to(tmp_path / "scratch")
    alone = Project(project.folder, offline())
    assert alone.planned("download") == []
    alone.run("runs")
    assert str(tmp_path / "scratch") not in (project.folder / f"{MODEL}/manifest.json").read_text()
    manifests = (project.folder / RUNS).rglob("manifest.json")
    assert not [path for path in manifests if "scratch" in path.read_text()]
    assert "Freed" in free(alone) and not list((tmp_path / "scratch").rglob("*.safetensors"))


def test_weights_that_cannot_be_fetched_again_stop_before_a_job_is_started(study):
    free(study)
    study.edit(
        "config/patterns.yaml",
        lambda content: content["gpt-3"].update(template="{text_a} so {text_b}"),
    )
    result = Project(study.folder, offline()).snakemake("runs")
    [line] = [each for each in result.output.splitlines() if each.startswith("error:")]
    assert result.code != 0 and "HF_HUB_OFFLINE forbids downloads" in line
    assert "Traceback" not in result.output and "rule run_in_context" not in result.output


@pytest.mark.slow
def test_freed_weights_come_back_to_where_the_user_has_them(study, tmp_path):
    (tmp_path / "scratch").mkdir()
    free(study)
    add_cell(study)
    scratch = f"download_weights:scratch={tmp_path}/scratch"
    budget = ("--set-resources", scratch, "download_weights:disk_budget_gb=1")
    other = tmp_path / "scratch/fairshot/models/of-another-project"
    other.parent.mkdir(parents=True)
    other.touch()
    os.truncate(other, 10**9)
    for target in ("runs", "download"):
        result = study.snakemake(target, *budget)
        assert result.code != 0 and "of at most 1 GB (disk_budget_gb)" in result.output
    other.unlink()

    output = study.run("runs", *budget)
    assert (study.folder / WEIGHTS).readlink().is_relative_to(tmp_path / "scratch")
    assert "model 'tiny': looking which weights are there and whole" in output, "it does not hang"
    assert "file 'model.safetensors': " in output and " bytes, checksum verified" in output


def test_notes_of_weights_on_scratch_are_made_again_at_the_next_start(study, tmp_path):
    (tmp_path / "scratch").mkdir()
    free(study)
    add_cell(study)
    scratch = ("--set-resources", f"download_weights:scratch={tmp_path}/scratch")
    study.run("download", *scratch)
    [notes] = (tmp_path / "scratch").rglob(".users")
    shutil.rmtree(notes)
    study.run("runs")
    assert [path.read_text() for path in notes.iterdir()] == [str((study.folder / WEIGHTS).parent)]


def test_a_run_that_touches_files_fetches_nothing(study):
    free(study)
    study.edit(
        "config/patterns.yaml",
        lambda content: content["gpt-3"].update(template="{text_a} so {text_b}"),
    )
    output = Project(study.folder, offline()).run("--touch", "runs")
    assert "fetched again" not in output and not (study.folder / WEIGHTS).exists()


def test_states_of_finished_runs_are_freed_by_who_plans_them(study):
    [run] = (study.folder / RUNS).glob("minimal/k0/*")
    state = study.folder / "results/state/left"
    state.mkdir(parents=True)
    owner = {"run": str(run.relative_to(study.folder)), "model": "tiny"}
    (state / "owner.json").write_text(json.dumps(owner))
    assert f"state results/state/left: {owner['run']} is finished" in study.run("clean")
    assert state.exists(), "shown, not deleted"
    add_cell(study)
    study.run("runs")
    assert not state.exists()


@pytest.mark.slow
def test_a_job_whose_weights_vanish_while_it_waits_says_what_to_do(study):
    free(study)
    add_cell(study)
    fetch = "if not is_there(model):"
    study.replace("scripts/fewshot/downloads/models.py", fetch, "if False:")
    output = study.snakemake("runs").output
    lines = {line for line in output.splitlines() if line.startswith("error: model")}
    remedy = "start Snakemake again, which fetches it"
    assert lines == {f"error: model 'tiny': {WEIGHTS} is gone; {remedy}"}
    study.replace("scripts/fewshot/downloads/models.py", "if False:", fetch)
    study.run("runs")
    assert study.planned("runs") == []
