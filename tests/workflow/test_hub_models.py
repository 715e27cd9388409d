"""A study whose model comes from a Hub: fetched once, freed, locked, and never run twice."""

import json
import shutil
from pathlib import Path

import pytest
import travels
from fewshot.study.model_sizes import SIZES
from hub_server import LOOPBACK, HubServer, Repo
from project import Project
from tiny import save_tiny

# One process for all of them: they share the server and what was fetched from it.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub")]

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
    cache = {"HF_HUB_CACHE": str(folder.with_name("cache"))}
    project = Project(Project.create(folder).folder, {**online(hub), **cache})
    size = {"parameters": 23712, "window": 128, "dtype": "float32"}
    entry = {"family": "opt", "hub": "any/tiny", "revision": "main", **size}
    project.edit("config/models.yaml", lambda models: models.update(tiny=entry))

    def study(content):
        grid = [{"methods": ["in-context"], "patterns": list(PATTERNS), "k": [0]}]
        content.update(models=["tiny"], tasks=["synth-mnli"], seeds=[8], grid=grid, main={"k": 0})

    def tasks(content):
        content["synth-mnli"]["source"]["sizes"] = {"train": 40, "validation": 20}
        content["synth-hans"]["source"]["sizes"] = {"validation": 20}

    project.edit("config/config.yaml", study)
    project.edit("config/tasks.yaml", tasks)
    travels.few_pages(project)
    project.edit("config/config.yaml", lambda content: content.update(tables=["headline"]))
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
    shutil.copytree(done.folder.parent, tmp_path, symlinks=True, dirs_exist_ok=True)
    cache = tmp_path / "cache"
    link = tmp_path / "project" / WEIGHTS
    target = cache / link.readlink().relative_to(done.folder.with_name("cache"))
    link.unlink()
    link.symlink_to(target)
    return Project(tmp_path / "project", {**done.variables, "HF_HUB_CACHE": str(cache)})


def rules(jobs) -> list[str]:
    return [rule for rule, _ in jobs]


def adaptations(jobs) -> list[str]:
    """Return pattern and shots of the planned adaptation jobs."""
    runs = (path for rule, path in jobs if rule in ADAPTATION)
    return sorted("/".join(path.removeprefix(f"{RUNS}/").split("/")[:2]) for path in runs)


def add_cell(project: Project) -> None:
    cell = {"methods": ["in-context"], "patterns": ["minimal"], "k": [2]}
    project.edit("config/config.yaml", lambda content: content["grid"].append(cell))


def free(project: Project) -> None:
    """Free the weights from the cache, as `hf cache rm` does."""
    shutil.rmtree(project.variables["HF_HUB_CACHE"])
    assert not (project.folder / WEIGHTS).exists()


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


GONE = "which is gone; run `snakemake download` for this study, which fetches it"


@pytest.mark.weekly
def test_freed_weights_run_nothing_and_come_back_where_a_run_needs_them(hub, study):
    free(study)
    output = study.run("tables", "--dry-run")
    assert "Nothing to be done" in output and "gone" not in output
    gets = len(hub.gets("model.safetensors"))
    study.run("download")
    assert len(hub.gets("model.safetensors")) == gets, "all runs are finished"

    before = dates(study)
    add_cell(study)
    assert adaptations(study.planned("tables")) == ["minimal/k2"]
    assert GONE in study.run("tables", "--dry-run")
    assert not (study.folder / WEIGHTS).exists(), "a dry run fetches nothing"
    study.run("download")
    assert len(hub.gets("model.safetensors")) == gets + 1
    assert GONE not in Project(study.folder, {**study.variables, **offline()}).run("runs")
    assert dates(study) == before and study.planned("runs") == []
    assert len(list((study.folder / RUNS).glob("*/k2/*/manifest.json"))) == 1


@pytest.mark.weekly
def test_a_job_without_its_weights_says_what_to_do_and_fetches_nothing(hub, study):
    free(study)
    study.edit(
        "config/patterns.yaml",
        lambda content: content["gpt-3"].update(template="{text_a} so {text_b}"),
    )
    gets, before = len(hub.gets("model.safetensors")), dates(study)
    assert rules(study.planned("runs")) == ["run_in_context"]
    result = study.snakemake("runs")
    lines = {line for line in result.output.splitlines() if line.startswith("error: model")}
    assert result.code != 0 and "Traceback" not in result.output
    [line] = lines
    assert line.startswith(f"error: model 'tiny': {WEIGHTS} links to ") and line.endswith(GONE)
    assert len(hub.gets("model.safetensors")) == gets
    assert {path: date for path, date in dates(study).items() if date != before[path]} == {}


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


@pytest.mark.weekly
def test_all_is_fetched_before_a_submission_and_jobs_need_no_network(hub, tmp_path):
    project = small(tmp_path / "project", hub)
    project.edit("config/models.yaml", lambda models: [models["tiny"].pop(key) for key in SIZES])
    for target in ("tables", "estimate"):
        result = project.snakemake(target)
        assert result.code != 0 and "Traceback" not in result.output
        [line] = [each for each in result.output.splitlines() if each.startswith("error:")]
        assert "model 'tiny': parameters is not stated; `snakemake download` reads it" in line
    fetched = ["download_data"] * 2 + ["download_model", "download_weights"]
    assert rules(project.planned("download")) == fetched
    project.run("download")
    cache = Path(project.variables["HF_HUB_CACHE"])
    assert (project.folder / WEIGHTS).readlink().is_relative_to(cache)
    alone = Project(project.folder, {**project.variables, **offline()})
    assert alone.planned("download") == []
    alone.run("runs")
    files = [*(project.folder / MODEL).glob("*.json"), *(project.folder / RUNS).rglob("*.json")]
    assert len(files) == 4 and not [path for path in files if str(cache) in path.read_text()]


@pytest.mark.weekly
def test_states_of_finished_runs_go_when_asked(study):
    [run] = (study.folder / RUNS).glob("minimal/k0/*")
    state = study.folder / "results/state/left"
    state.mkdir(parents=True)
    owner = {"run": str(run.relative_to(study.folder)), "model": "tiny"}
    (state / "owner.json").write_text(json.dumps(owner))
    study.run("tables")
    assert f"results/state/left: {owner['run']} is finished" in study.run("clean")
    study.run("clean", "--config", "delete=yes", "--dry-run")
    assert state.exists(), "shown, not removed"
    assert "Removed" in study.run("clean", "--config", "delete=yes")
    assert not state.exists() and not study.planned("tables")
