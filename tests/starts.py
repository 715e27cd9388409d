"""Snakemake in a process that has imported it: half of what a start takes are these imports.

The process is forked from a server that does nothing but import, so nothing of the tests is in it.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["snakemake.cli", "jsonschema", "pandas"])


def start(
    arguments: list[str], folder: Path, environment: dict[str, str], timeout: int
) -> tuple[int, str]:
    """Return exit status and output (stdout and stderr) of `python -m snakemake` in a folder."""
    with tempfile.NamedTemporaryFile("r") as output:
        told = (arguments, str(folder), environment, output.name)
        process = SERVER.Process(target=_snakemake, args=told)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(arguments, timeout, output.read())
        return process.exitcode, output.read()


def _snakemake(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Become what `python -m snakemake` is in a folder, which is the first that Python looks in."""
    from snakemake import cli

    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.path[:] = [folder, *(path for path in sys.path if not _is_the_tests(path))]
    sys.argv[:] = [cli.__file__, *arguments]
    cli.main()


def _is_the_tests(path: str) -> bool:
    """Return whether a folder on the path is there for the tests: no package is installed in it."""
    return Path(path).is_relative_to(ROOT) and not Path(path).is_relative_to(sys.prefix)
