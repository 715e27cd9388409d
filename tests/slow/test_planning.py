"""Planning the paper's study takes no more memory than is promised (time: make bench-planning)."""

import json
import subprocess
import sys

import pytest
from project import Project, parse_plan

pytestmark = pytest.mark.slow

MEGABYTES = 2000
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=open("plan.txt", "w"), stderr=subprocess.STDOUT)
used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
print(json.dumps([done.returncode, used]))
"""
"""Run in a small process: what it holds is the least that its child is said to have held."""


def test_planning_the_papers_study_takes_what_is_promised(tmp_path):
    project = Project.create(tmp_path / "project")
    call = project.command("--cores", "1", "--dry-run", "--configfile", "config/paper.yaml")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *call], cwd=project.folder, env=project.environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, megabytes = json.loads(done.stdout)
    text = (project.folder / "plan.txt").read_text()
    assert code == 0 and len(parse_plan(text)) > 1092, text
    assert megabytes < MEGABYTES
