"""Mistakes on the command line that Snakemake tells before the workflow can: one line for each."""

import os
import subprocess
import sys

import pytest
from project import ROOT
from thinned import thinned

SNAKEFILE = """
rule all:
    input: 'results/demo/report.html'
rule page:
    output: 'results/demo/report.html'
    shell: 'false'
logger.info("", extra={"files": ["results/demo/report.html"]})
"""
BEHIND = "a target stands in front of it, or behind `--`"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config").mkdir()
    files = {"paper": "study: a", "broken": "study: [\n", "list": "- a", "empty": ""}
    for name, content in files.items():
        (tmp_path / f"config/{name}.yaml").write_text(content)
    return tmp_path


def told(folder, *arguments: str) -> list[str]:
    """Return what Snakemake says of a call that fails, and ends at once."""
    command = [sys.executable, "-m", "snakemake", "--logger", "fairshot", "--cores", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts/plugins")}
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    return (done.stderr + done.stdout).splitlines()


@pytest.mark.parametrize(
    ("arguments", "line"),
    thinned(
        [
            (
                ("--configfile", "config/papr.yaml"),
                "--configfile: config/papr.yaml: no such file or directory; did you mean "
                "'config/paper.yaml'?",
            ),
            (
                ("--configfile", "paper.yaml"),
                "--configfile: paper.yaml: no such file or directory; did you mean "
                "'config/paper.yaml'?",
            ),
            (("--configfile", "zzz.yml"), "--configfile: zzz.yml: no such file or directory"),
            (
                ("--configfile", "config/paper.yaml", "all"),
                f"--configfile: all: no such file or directory; {BEHIND}",
            ),
            (("--configfile", "config"), "--configfile: config: is a directory"),
            (
                ("--configfile", "config/broken.yaml"),
                "config/broken.yaml: line 2: expected the node content, but found '<stream end>'",
            ),
            (("--configfile", "config/list.yaml"), "config/list.yaml: must hold a mapping"),
            (("--configfile", "config/empty.yaml"), "config/empty.yaml: must hold a mapping"),
            (("--config", "archive=x", "all"), f"--config: 'all' is not name=value; {BEHIND}"),
        ],
        [(("--configfile", "config"), "--configfile: config: is a directory")],
        [(("--configfile", "zzz.yml"), "--configfile: zzz.yml: no such file or directory")],
    ),
)
def test_what_snakemake_cannot_read_is_one_line(folder, arguments, line):
    assert told(folder, *arguments) == [f"error: {line}"]


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("results/demo/reprot.html", "did you mean 'results/demo/report.html'?"),
        ("zzz", "`snakemake --list-target-rules` lists the names that can be asked for"),
    ],
)
@pytest.mark.parametrize("dry", [pytest.param((), marks=pytest.mark.slow), ("--dry-run",)])
def test_a_misspelt_file_is_one_line_with_the_nearest_name(folder, file, hint, dry):
    *_, line = told(folder, file, *dry)
    assert line == f"error: command line: unknown target '{file}'; {hint}"


@pytest.mark.slow
def test_all_is_told_to_who_asks_for_it(folder):
    lines = told(folder, "--verbose", "--configfile", "none.yaml")
    assert any(line.startswith("Traceback") for line in lines)
