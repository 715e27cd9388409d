"""One list of pins: for pip, for conda, and as what is installed."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import environments
import pytest
import yaml
from environments import ENVS, normalised, read_pins
from fewshot.errors import UserError
from packaging.requirements import Requirement
from packaging.version import Version

BUILD = ("nvidia-", "cuda-", "triton")
"""What torch's CUDA builds bring, in the versions that they name themselves."""
UV = """#!/bin/sh
echo "uv $@" >> "$CALLS"
test "$REFUSES" = no
"""
PYTHON = """#!/bin/sh
case "$*" in
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip "*) echo "pip $@" >> "$CALLS" ;;
esac
"""
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the pins are those of Linux")


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "requirements.txt").write_text("# Used\nA_b==1.0\nc==2.1.post1  # why\n")
    (tmp_path / "constraints.txt").write_text("a-b==1.0\nC==2.1.post1\nd.e==3\n")
    return tmp_path


def test_the_conda_file_is_in_step():
    assert (ENVS / "fairshot.yaml").read_text() == environments.render(), "run `make envs`"


def test_the_conda_file_has_all_pins_in_the_form_that_conda_reads(folder):
    content = yaml.safe_load(environments.render(folder))
    assert content == {
        "channels": ["conda-forge"],
        "dependencies": ["python=3.11", "pip", {"pip": ["a-b==1.0", "c==2.1.post1", "d-e==3"]}],
    }
    shipped = yaml.safe_load((ENVS / "fairshot.yaml").read_text())["dependencies"][-1]["pip"]
    assert len(shipped) == len(read_pins(ENVS / "constraints.txt"))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("requirements.txt", "torch>=2\n", r"requirements.txt: line 1: 'torch>=2'; valid: name==v"),
        ("requirements.txt", "\n-r other.txt\n", "line 2: '-r other.txt'; valid"),
        ("constraints.txt", "a.b==1.0\nA-B==1.0\n", "line 2: 'A-B==1.0'; valid: .* each name once"),
        ("constraints.txt", "a-b==1.1\nc==2.1.post1\n", "a-b is 1.1; valid: 1.0, as in requirem"),
        ("constraints.txt", "a-b==1.0\n", "c is missing; valid: 2.1.post1"),
    ],
)
def test_what_is_no_pin_is_one_line(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        environments.render(folder)


@pytest.mark.parametrize(
    ("flags", "refuses", "expected"),
    [
        ([], "no", ["uv", "uv"]),
        (["UV="], "no", ["pip", "pip", "pip", "pip"]),
        ([], "yes", ["uv", "pip", "pip", "uv", "pip", "pip"]),
    ],
)
def test_uv_installs_where_it_is_there_and_else_pip(tmp_path, flags, refuses, expected):
    """With stand-ins for both: the same pins and flags, and no pins for newest versions."""
    for name, text in {"uv": UV, "python3": PYTHON}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "envs").symlink_to(ENVS)
    told = {"CALLS": str(tmp_path / "calls"), "REFUSES": refuses}
    environment = {**os.environ, **told, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    own = ["PIP_FLAGS=--pre --extra-index-url https://example.org/cpu", *flags]
    for target in (".venv/.ready", "test-newest"):
        command = ["make", "--silent", "-f", ENVS.parent / "Makefile", *own, target]
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == expected
    for call in (call for call in calls if "--upgrade" not in call):
        assert " --pre --extra-index-url https://example.org/cpu -r " in call
    pinned, newest = (call for call in calls if call.startswith(expected[-1]) and " -r " in call)
    assert pinned.endswith("-r envs/requirements.txt -c envs/constraints.txt")
    assert newest.endswith("-r .venv-newest/names.txt")
    names = (tmp_path / ".venv-newest/names.txt").read_text().splitlines()
    names = {normalised(line) for line in names if line and not line.startswith("#")}
    assert names == set(read_pins(ENVS / "requirements.txt"))


def test_what_differs_from_the_pins_is_listed():
    pins = {"a-b": "1.0", "torch": "2.13.0", "gone": "1", "same": "3"}
    installed = {"A_b": "1.1", "torch": "2.13.0+cpu", "same": "3", "more": "9"}
    assert environments.other_versions(pins, installed) == [
        "a-b 1.0 → 1.1",
        "gone 1 → not installed",
    ]


@LINUX
@pytest.mark.pins
def test_the_pins_are_what_is_installed():
    """A local part of a version names a build: 2.13.0+cpu."""
    pins = read_pins(ENVS / "constraints.txt")
    found = {name: Version(metadata.version(name)).public for name in pins}
    assert found == pins


@LINUX
@pytest.mark.pins
def test_all_that_the_requirements_need_is_pinned_and_nothing_else():
    needed: set[str] = set()
    todo = [(name, frozenset()) for name in read_pins(ENVS / "requirements.txt")]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen or name.startswith(BUILD):
            continue
        seen.add((name, extras))
        needed.add(name)
        for each in map(Requirement, metadata.requires(name) or ()):
            if not each.marker or any(each.marker.evaluate({"extra": e}) for e in ("", *extras)):
                todo.append((normalised(each.name), frozenset(each.extras)))
    assert needed == set(read_pins(ENVS / "constraints.txt"))
