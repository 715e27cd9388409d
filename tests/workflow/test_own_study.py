"""Studies in one file, followed word by word: the tutorial's to its end, the README's up to what
would run, and the one that `make study` writes."""

import re
import shutil
import subprocess
import sys

import pages
import pandas as pd
import pytest
import yaml
from hub_server import LOOPBACK, HubServer, Repo
from project import ROOT, Project

# One process for all of them, beside the others that use a Hub.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub")]

PAGE = "config/TUTORIAL.md"
[ROWS] = pages.blocks_of(PAGE, "python", "tutorial")
[TUTORIAL] = pages.blocks_of(PAGE, "yaml", "study")
BEGINS, SUMMARY = pages.blocks_of(PAGE, "text")
RUNS = "results/runs/fair/claims/pythia-mini"
README = (ROOT / "README.md").read_text().split("## Adding things")[1].split("\n## ")[0]
[STUDY] = pages.blocks_of("README.md", "yaml", "study")
COMMANDS = re.findall(r"`snakemake ([^`]*my-study\.yaml)`", README)
COMMIT = "c" * 40
ADAPTATION = {"run_in_context", "fine_tune"}


def write_rows(project: Project) -> None:
    """Write the files that the README's study names: 48 rows to draw from, 12 and 12 to score."""
    people = ["doctor", "lawyer", "artist", "nurse", "judge", "poet"]
    rows = [
        {
            "sentence1": f"The {a} saw the {b} .",
            "sentence2": f"The {a if true else b} saw the {b if true else a} .",
            "gold_label": "entailment" if true else "contradiction",
        }
        for a in people
        for b in people
        if a != b
        for true in (True, False)
    ]
    unlabelled = [{**rows[0], "gold_label": label} for label in ("-", "neutral")]
    parts = {"train": [*rows[:48], *unlabelled], "dev": rows[48:]}
    (project.folder / "data").mkdir()
    for name, part in parts.items():
        path = project.folder / f"data/snli_{name}.jsonl"
        pd.DataFrame(part).to_json(path, orient="records", lines=True)
    shifted = [
        {"premise": f"The {a} slept .", "hypothesis": f"The {b} slept .", "entailed": int(a == b)}
        for a, b in [*zip(people, people, strict=True), *zip(people, people[::-1], strict=True)]
    ]
    pd.DataFrame(shifted).to_csv(project.folder / "data/snli_shifted.csv", index=False)


@pytest.fixture(scope="module")
def hub():
    """Return a Hub that has a tiny model under the name of the README's."""
    folder = ROOT / "config/embedded/opt-micro"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with HubServer() as server:
        repo = Repo(COMMIT, files, lfs=("model.safetensors",))
        server.repos["models/Qwen/Qwen2.5-0.5B"] = repo
        yield server


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Project:
    """Return a project in which the tutorial was followed."""
    project = Project.create(tmp_path_factory.mktemp("own") / "project")
    subprocess.run([sys.executable, "-c", ROWS], cwd=project.folder, check=True)
    (project.folder / "claims.yaml").write_text(TUTORIAL)
    before = configuration(project)
    for script in pages.blocks_of(PAGE, "sh"):
        for program, *arguments in pages.split(script):
            assert program == "snakemake"
            project.run(*arguments)
    assert configuration(project) == before, "no tracked file is edited"
    return project


def configuration(project: Project) -> dict[str, bytes]:
    """Return the files of config/ but for the lock of branches, which the first download writes."""
    files = sorted((project.folder / "config").glob("*.yaml"))
    return {path.name: path.read_bytes() for path in files if path.name != "revisions.yaml"}


def adaptations(project: Project, *arguments: str) -> list[str]:
    """Return method, pattern and shots of the adaptation jobs that a dry run would start."""
    jobs = project.planned(*arguments, "--configfile", "claims.yaml")
    runs = [path for rule, path in jobs if rule in ADAPTATION]
    return sorted("/".join(path.removeprefix(f"{RUNS}/").split("/")[:3]) for path in runs)


def edit(project: Project, change) -> None:
    project.edit("claims.yaml", change)


def words(text: str) -> list[str]:
    """Return the words of a text, with # for numbers: CPUs differ in their last digit."""
    return re.sub(r"[−+]?\d+(\.\d+)?", "#", text).split()


@pytest.mark.weekly
def test_the_tutorial_ends_as_it_says(done):
    summary = (done.folder / "results/claims/summary.txt").read_text()
    assert words(summary)[: len(words(SUMMARY))] == words(SUMMARY)
    numbers = [re.findall(r"\d+\.\d+", text)[: SUMMARY.count(".")] for text in (summary, SUMMARY)]
    for found, told in zip(*numbers, strict=False):
        assert float(found) == pytest.approx(float(told), abs=3)
    assert (done.folder / "data/claims-train.csv").read_text().startswith(BEGINS)
    assert "## As planned" in (done.folder / "results/claims/power.md").read_text()
    assert (done.folder / "results/claims/report.html").exists()
    for name in ("id-ood-scatter", "differences"):
        assert (done.folder / f"results/claims/figures/{name}.png").exists()
        assert f"tutorial-{name}.png" in (ROOT / PAGE).read_text()
    told = pd.read_parquet(done.folder / "results/claims/tables/comparison.parquet")
    verdicts = set(zip(told["evaluation_set"], told["verdict"], strict=True))
    assert verdicts == {("claims", "better"), ("claims-shifted", "equivalent")}


def test_the_study_of_the_readme_fetches_its_model_and_then_would_run(hub, tmp_path):
    folder = tmp_path / "project"
    variables = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_CACHE": str(folder.with_name("cache")),
        "NO_PROXY": LOOPBACK,
    }
    project = Project(Project.create(folder).folder, variables)
    write_rows(project)
    (folder / "my-study.yaml").write_text(STUDY)
    before = configuration(project)
    download, whole = (command.split() for command in COMMANDS)
    assert (download[0], whole[0]) == ("download", "all")
    project.run(*download)
    jobs = project.planned(*whole)
    runs = [path.split("/")[5:8] for rule, path in jobs if rule in ADAPTATION]
    every = [["in-context", "entails", f"k{k}"] for k in (0, 16, 4)]
    assert sorted(runs) == [*every, ["lora-32", "entails", "k16"]]
    assert ("plot_figure", "results/mine/figures/id-ood-scatter.vl.json") in jobs
    assert configuration(project) == before, "no tracked file is edited"
    locked = project.read("config/revisions.yaml")["models"]["qwen-0.5b"]
    assert locked == {"hub": "Qwen/Qwen2.5-0.5B", "revision": "main", "commit": COMMIT}


@pytest.mark.weekly
def test_an_edited_entry_runs_what_uses_it_and_nothing_else(done, tmp_path):
    copy = Project(tmp_path / "project", done.variables)
    shutil.copytree(done.folder, copy.folder, symlinks=True)
    assert adaptations(copy, "all") == []
    own = ["my-lora/so/k16"]
    edit(copy, lambda study: study["define"]["methods"]["my-lora"].update(rank=2))
    assert adaptations(copy, "runs") == own
    edit(copy, lambda study: study["define"]["methods"]["my-lora"].update(rank=4, title="Mine"))
    assert adaptations(copy, "runs") == [], "a title is no setting"
    edit(copy, lambda study: study["define"]["methods"].update(other={"base": "my-lora"}))
    figures = {"id-ood-scatter": {"title": "Mine", "options": {"metric": "roc_area"}}}
    edit(copy, lambda study: study["define"].update(figures=figures))
    changed = copy.planned("all", "--configfile", "claims.yaml")
    assert not ADAPTATION & {rule for rule, _ in changed}
    drawn = {path for rule, path in changed if rule == "plot_figure"}
    assert "results/claims/figures/id-ood-scatter.vl.json" in drawn
    edit(copy, lambda study: study["define"]["patterns"]["so"].update(answer=": {label}"))
    every = [f"{method}/so/k16" for method in ("in-context", "my-lora", "tiny-pattern-ft")]
    assert adaptations(copy, "runs") == every


def make_study(folder, *arguments: str) -> subprocess.CompletedProcess:
    command = ["make", "--silent", "--no-print-directory", "study", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_file_to_begin_with_is_a_study_and_is_not_overwritten(tmp_path):
    project = Project.create(tmp_path / "project")
    shutil.copy2(ROOT / "Makefile", project.folder)
    told = make_study(project.folder, "NAME=mine")
    assert told.returncode == 0 and told.stdout.startswith("mine.yaml: edit it")
    assert project.read("mine.yaml")["study"] == "mine"
    jobs = project.planned("runs", "--configfile", "mine.yaml")
    assert sorted(rule for rule, _ in jobs if rule in ADAPTATION) == ["fine_tune", "run_in_context"]
    for name, wrong in (("mine", "is there already"), ("My Study", "is no name of a study")):
        refused = make_study(project.folder, f"NAME={name}")
        assert refused.returncode != 0 and wrong in refused.stderr.splitlines()[0]
    assert {path.name for path in project.folder.glob("*.yaml")} == {"mine.yaml"}


def test_all_that_its_comments_show_is_valid_together(tmp_path):
    project = Project.create(tmp_path / "project")
    text = (ROOT / "config/my-study.yaml").read_text()
    shown = re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.M)
    (project.folder / "my-study.yaml").write_text(shown)
    study = yaml.safe_load(shown)
    assert set(study["define"]) == {"models", "tasks", "patterns", "methods", "figures"}
    (project.folder / "data").mkdir()
    for name in ("train", "dev"):
        (project.folder / f"data/{name}.csv").write_text("premise,hypothesis,label\n")
    jobs = project.planned("all", "--configfile", "my-study.yaml")
    runs = [path for rule, path in jobs if rule in ADAPTATION]
    assert [path for path in runs if "my-task/my-model/my-lora/my-pattern/k4" in path]
    assert ("plot_figure", "results/my-study/figures/my-figure.vl.json") in jobs
    project.edit("my-study.yaml", lambda study: study["define"]["methods"]["my-lora"].update(rnk=4))
    refused = project.snakemake("--dry-run", "--configfile", "my-study.yaml")
    assert refused.code != 0 and "Traceback" not in refused.output
    assert "/my-study.yaml: define.methods: my-lora: unknown key 'rnk'" in refused.output
