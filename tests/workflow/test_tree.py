"""Looking changes nothing: a dry run, the linter and a report leave every file as it is."""

import hashlib
from pathlib import Path

import pytest

# Snakemake's own: its log of each call, and the locks and caches that it makes for itself.
OWN = {".snakemake", "__pycache__"}


def tree(folder: Path) -> dict[str, str]:
    """Return the files below a folder with their times and content."""
    return {
        str(path.relative_to(folder)): (
            f"{path.lstat().st_mtime_ns} "
            + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
        )
        for path in sorted(folder.rglob("*"))
        if not OWN & set(path.relative_to(folder).parts) and not path.is_dir()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("--dry-run",),
        pytest.param(("--dry-run", "--profile", "slurm"), marks=pytest.mark.weekly),
        ("--lint",),
        ("--report", "{}/report.zip"),
        ("--list-target-rules",),
    ],
    ids=lambda arguments: arguments[-1] if "slurm" in arguments else arguments[0],
)
@pytest.mark.parametrize("name", ["fresh", "study"])
def test_looking_changes_no_file(name, arguments, request, tmp_path):
    if (name, arguments[0]) == ("fresh", "--report"):
        pytest.skip("there is nothing to report on")
    project = request.getfixturevalue(name)
    outside = tmp_path / "outside"
    outside.mkdir()
    before = tree(project.folder)
    project.run(*(argument.format(outside) for argument in arguments))
    assert tree(project.folder) == before
