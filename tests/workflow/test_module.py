"""Use as a module of another workflow, which has a folder scripts/ and bare files of its own."""

import json

import pytest
import yaml
from project import Project

PARENT = """
from scripts.own import ROWS

configfile: "parent.yaml"

module fairshot:
    snakefile: "{snakefile}"
    config: config["fairshot"]
    {prefix}

module second:
    snakefile: "{snakefile}"
    config: config["fairshot"]
    prefix: "second"

use rule * from fairshot as few_*

use rule * from second as second_*

rule rows:
    output: "rows/train.jsonl", "rows/dev.jsonl"
    params: ROWS
    shell: "echo '{{params}}' | tee {{output}}"

rule done:
    input: "{moved}results/data/mine/train.parquet"
    output: "done"
    shell: "touch {{output}}"
"""
RUN = "results/runs/fair/synth-mnli/opt-micro/quick-lora/minimal/k4/seeds8-9"
ROWS = [{"a": f"Text {i}", "b": f"Other {i}", "gold": i % 2} for i in range(4)]
MINE = {
    "title": "Rows of the other workflow",
    "source": {"local": {"train": "rows/train.jsonl", "dev": "rows/dev.jsonl"}},
    "splits": {"train": "train", "validation": "dev"},
    "text": ["a", "b"],
    "label": "gold",
    "labels": {"entailment": 1, "contradiction": 0},
    "verbalizers": {"yes-no": ["Yes", "No"]},
}


@pytest.fixture
def parent(fresh, tmp_path):
    """Return the function that writes a workflow with the small study as a module."""

    def create(prefix: str, moved: str = "") -> Project:
        folder = tmp_path / "parent"
        (folder / "scripts").mkdir(parents=True)
        (folder / "scripts/__init__.py").touch()
        rows = "\n".join(map(json.dumps, ROWS))
        (folder / "scripts/own.py").write_text(f"ROWS = {rows!r}\n")
        study = {**fresh.read("config/config.yaml"), "define": {"tasks": {"mine": MINE}}}
        (folder / "parent.yaml").write_text(yaml.safe_dump({"other": 1, "fairshot": study}))
        snakefile = fresh.folder / "Snakefile"
        text = PARENT.format(snakefile=snakefile, prefix=prefix, moved=moved)
        (folder / "Snakefile").write_text(text)
        return Project(folder)

    return create


@pytest.mark.slow
def test_below_a_prefix_results_are_the_same(parent, finished):
    project = parent('prefix: "study/few"', "study/few/")
    project.run("done", f"study/few/{RUN}/predictions.parquet")
    for file in ("predictions.parquet", "adapters/seed8.safetensors"):
        made = (project.folder / "study/few" / RUN / file).read_bytes()
        assert made == (finished.folder / RUN / file).read_bytes()
    own = {"Snakefile", "parent.yaml", "scripts", "rows", "done", "study", ".snakemake"}
    assert {path.name for path in project.folder.iterdir()} == own
    again = project.run("--dry-run", "done", f"study/few/{RUN}/predictions.parquet")
    assert "Nothing to be done" in again


@pytest.mark.weekly
def test_without_a_prefix_bare_files_are_the_other_workflows(parent):
    project = parent("")
    planned = project.planned("done")
    assert planned == [
        ("done", "done"),
        ("few_download_data", "results/raw/mine/manifest.json"),
        ("few_prepare_task", "results/data/mine/train.parquet"),
        ("rows", "rows/train.jsonl"),
    ]
    said = project.snakemake("--dry-run", "few_table_headline").output
    assert "few_make_table" in said and " results/demo/tables/headline.md" in said
    said = project.snakemake("--dry-run", "second_table_headline").output
    assert "second_make_table" in said and " second/results/demo/tables/headline.md" in said


@pytest.mark.weekly
def test_paths_replaced_otherwise_are_refused(parent):
    result = parent('replace_prefix: {"results/": "few/"}').snakemake("--dry-run", "done")
    assert result.code == 1
    assert "error: replace_prefix: " in result.output and "Traceback" not in result.output
