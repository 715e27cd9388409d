"""`--sdm conda` and `make container`, with a stand-in for conda: one environment for all rules,
which a container has as well."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from project import ROOT

CONDA = """#!/bin/sh
folder=$(dirname "$0")
echo "$@" >> "$folder/calls"
case "$1 $2" in
"--version ") echo "conda 25.1.0" ;;
"info --json") echo '{"conda_prefix": "'"$(dirname "$folder")"'", "platform": "linux-64"}' ;;
"config --get") echo '{"get": {"channel_priority": "strict"}}' ;;
"env create")
    for argument; do
        if [ "$before" = --prefix ]; then mkdir "$argument"; fi
        before=$argument
    done ;;
esac
"""
ACTIVATE = """
echo "activate $1" >> "$(dirname "$BASH_SOURCE")/calls"
"""


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """Return the folder of the stand-in, which is on PATH."""
    programs = tmp_path / "conda/bin"
    programs.mkdir(parents=True)
    for name, text in (("conda", CONDA), ("activate", ACTIVATE)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return programs


@pytest.mark.slow
def test_all_rules_share_one_environment_and_run_in_it(fresh, programs):
    fresh.run("results/shots/fair/synth-mnli/k4/seed8.parquet", "--sdm", "conda")
    calls = (programs / "calls").read_text().splitlines()
    [created] = [call for call in calls if call.startswith("env create")]
    [given] = (fresh.folder / ".snakemake/conda").glob("*.yaml")
    assert str(given) in created
    assert given.read_bytes() == (ROOT / "envs/fairshot.yaml").read_bytes()
    jobs = [call for call in calls if call.startswith("activate")]
    assert jobs == 3 * [f"activate {given.with_suffix('')}"], "fetch, prepare, draw"


@pytest.mark.slow
def test_a_container_has_this_environment_first_on_its_path(fresh, programs):
    make = ["make", "-f", str(ROOT / "Makefile"), "-o", ".venv/.logger", "container"]
    subprocess.run(make, cwd=fresh.folder, env=fresh.environment(), check=True)
    text = (fresh.folder / "fairshot.def").read_text()
    head, files, post, environment = re.split(r"^%(?:files|post|environment)$", text, flags=re.M)
    source, target = files.split()
    assert (fresh.folder / source).read_bytes() == (ROOT / "envs/fairshot.yaml").read_bytes()
    prefix = str(Path(target).parent)
    assert re.fullmatch("/conda-envs/[0-9a-f]{32}", prefix) and head.startswith("Bootstrap: ")
    assert f"conda env create --prefix {prefix} --file {target}" in post
    assert environment.strip() == f"export PATH={prefix}/bin:$PATH"
    assert not (fresh.folder / "fairshot.def.new").exists()
    assert 'containerized: "fairshot.sif"' in (ROOT / "Snakefile").read_text()


def test_every_script_has_the_environment():
    own = '    conda:\n        "../envs/fairshot.yaml"\n'
    for path in (ROOT / "rules").glob("*.smk"):
        text = path.read_text()
        assert text.count("    script:\n") == text.count(own), path.name
