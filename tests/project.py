"""A throwaway copy of the project, to run, edit and break in workflow tests."""

import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import starts
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[1]
DOWNLOADS = {"download_data", "download_model", "download_weights"}
"""Scripts that use the network."""
PARTS = ("Snakefile", "rules", "scripts", "config", "profiles", "envs")


@dataclass(frozen=True)
class Result:
    """What a Snakemake call returned."""

    code: int
    output: str


@dataclass(frozen=True)
class Project:
    """A copy of the project's sources in `folder`; `variables` are added to the environment."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path) -> "Project":
        folder.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy2(source, folder / part)
        (folder / "slurm").symlink_to("profiles/slurm")
        return cls(folder)

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        fixed = {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return {**os.environ, **fixed, **self.variables}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def snakemake(self, *arguments: str, timeout: int = 600) -> Result:
        """Run Snakemake in the copy; output is stdout and stderr together."""
        told = ["--cores", "2", *arguments]
        return Result(*starts.start(told, self.folder, self.environment(), timeout))

    def run(self, *arguments: str, timeout: int = 600) -> str:
        """Run Snakemake and return its output; fails the test where Snakemake fails."""
        result = self.snakemake(*arguments, timeout=timeout)
        assert result.code == 0, result.output
        return result.output

    def planned(self, *arguments: str) -> list[tuple[str, str]]:
        """Return (rule, first output or wildcards) of every job a dry run would start."""
        return parse_jobs(self.run("--dry-run", *arguments))

    def read(self, path: str) -> dict:
        return yaml.safe_load((self.folder / path).read_text())

    def edit(self, path: str, change) -> None:
        """Apply `change` to the parsed YAML file and write it back."""
        content = self.read(path)
        change(content)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (self.folder / path).write_text(text)

    def machine(self, **facts: float) -> str:
        """Write a configuration file that names a machine, and return its path."""
        known = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
        (self.folder / "machine.yaml").write_text(yaml.safe_dump({"machine": {**known, **facts}}))
        return "machine.yaml"

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text that occurs exactly once in a file."""
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
        (self.folder / path).write_text(text.replace(old, new))


def run_once(factory, name: str, build: Callable[[Project], None]) -> Project:
    """Return the project that `build` makes: see `made_once`."""

    def create(folder: Path) -> None:
        build(Project.create(folder))

    folder, _ = made_once(factory, name, create)
    return Project(folder)


def made_once(factory, name: str, build: Callable[[Path], object]) -> tuple[Path, object]:
    """Return a folder and what `build` gave for it, once for all workers of a parallel test run.

    `factory` is pytest's tmp_path_factory. The others wait for the worker that came first.
    """
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, kept = root / name, root / f"{name}.pickle"
    with FileLock(root / f"{name}.lock"):
        if not kept.exists():
            folder.mkdir()
            kept.write_bytes(pickle.dumps(build(folder)))
    return folder, pickle.loads(kept.read_bytes())


@dataclass(frozen=True)
class Planned:
    """A job that a dry run would start, with its files; a target has no output."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def parse_plan(output: str) -> list[Planned]:
    """Parse a dry run's text: one entry per job, in its order."""
    jobs = []
    for block in re.split(r"\n(?=(?:local)?rule )", "\n" + output):
        if head := re.match(r"\s*(?:local)?rule (\w+):", block):
            said = dict(re.findall(r"^    (\w+): (.*)$", block, re.M))
            files = [tuple(filter(None, said.get(n, "").split(", "))) for n in ("input", "output")]
            jobs.append(Planned(head[1], *files))
    return jobs


def parse_jobs(output: str) -> list[tuple[str, str]]:
    """Parse a dry run's text: one (rule, first output) per job, targets left out."""
    return sorted((job.rule, job.outputs[0]) for job in parse_plan(output) if job.outputs)
