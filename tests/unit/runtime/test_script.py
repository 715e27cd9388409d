"""How a script begins and ends: its log, and one line for what is a user's to mend."""

import errno
import logging
import os
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.errors import UserError, refusals_told
from fewshot.runtime import script
from fewshot.runtime.processes import MARK
from snakemake.iocontainers import Namedlist

SHOTS = pd.DataFrame({"position": [0, 1], "id": [7, 3], "label": [1, 0]})


@pytest.fixture
def root_logger(monkeypatch):
    """Keep what `run` and `log_to` do to the root logger from reaching other tests."""
    root = logging.getLogger()
    handlers, level, filters = root.handlers[:], root.level, warnings.filters[:]
    yield
    logging.captureWarnings(False)
    for handler in root.handlers:
        with suppress(OSError):  # What could not be written still cannot.
            handler.close()
    root.handlers, warnings.filters = handlers, filters
    root.setLevel(level)


def test_a_users_mistake_ends_a_script_with_one_line(tmp_path, capsys, root_logger):
    smk = SimpleNamespace(log=[str(tmp_path / "x.log")], output=[])

    def main(_):
        raise UserError("config/tasks.yaml: wrong")

    with pytest.raises(SystemExit, match="1"):
        script.run(main, smk)
    assert capsys.readouterr().err == "error: config/tasks.yaml: wrong\n"
    assert "ERROR config/tasks.yaml: wrong" in (tmp_path / "x.log").read_text()
    assert "Traceback" not in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_what_a_file_system_refuses_is_one_line(tmp_path, capsys, root_logger, monkeypatch, number):
    """As pyarrow raises it: with a number, without a file."""

    def refuse(*_, **__):
        raise OSError(number, "Error writing bytes to file. Detail: [errno 28]")

    monkeypatch.setattr(storage.pq, "write_table", refuse)
    path = tmp_path / "s.parquet"
    smk = SimpleNamespace(log=[str(tmp_path / "x.log")], output=["other.parquet"])
    with pytest.raises(SystemExit, match="1"):
        script.run(lambda _: storage.write_table(path, SHOTS, schemas.SHOTS), smk)
    line = f"{path}: {os.strerror(number).lower()}"
    assert capsys.readouterr().err == f"error: {line}\n"
    log = (tmp_path / "x.log").read_text()
    assert f"ERROR {line}" in log and "Traceback" in log
    if number == errno.EACCES:  # A lock or a socket may have been refused.
        with pytest.raises(PermissionError):
            script.run(refuse, smk)
    else:
        with pytest.raises(SystemExit, match="1"):
            script.run(refuse, smk)
        assert capsys.readouterr().err.startswith("error: other.parquet: ")
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"], "nothing half-written"


@pytest.mark.parametrize(("turned", "second"), [(False, False), (False, True), (True, True)])
def test_a_refusal_names_the_file_that_was_meant(tmp_path, monkeypatch, turned, second):
    """Whether of one path or of two, and though the rest cannot be removed either."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "no", "a hidden file")

    monkeypatch.setattr(Path, "unlink", refuse)
    path = tmp_path / "a.json"
    hidden = str(path.with_name(f".a.json.{os.getpid()}.partial"))
    names = ["x", None, hidden] if turned else [hidden, None, "x"] if second else [hidden]
    with (
        pytest.raises(UserError, match=rf"^{path}: read-only file system$"),
        refusals_told([]),
        storage.atomic(path),
    ):
        raise OSError(errno.EROFS, "no", *names)


def test_a_refusal_of_two_files_names_the_one_to_be_written():
    with pytest.raises(UserError, match=r"^b: permission denied$"), refusals_told([]):
        raise OSError(errno.EACCES, "no", "a", None, "b")


def test_a_line_that_does_not_fit_its_arguments_is_told(tmp_path, capsys, root_logger):
    script.log_to(tmp_path / "x.log")
    logging.info("%d rows", "many")
    assert "%d format" in capsys.readouterr().err


def test_a_log_that_is_full_hides_no_line_behind_tracebacks(capsys, root_logger):
    def main(_):
        logging.info("a line")
        raise UserError("x.yaml: wrong")

    with pytest.raises(SystemExit, match="1"):
        script.run(main, SimpleNamespace(log=["/dev/full"], output=[]))
    assert capsys.readouterr().err == "error: x.yaml: wrong\n"


def test_a_log_that_may_not_be_written_is_one_line(capsys, root_logger, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, "no", path)

    monkeypatch.setattr(script, "log_to", refuse)
    with pytest.raises(SystemExit, match="1"):
        script.run(None, SimpleNamespace(log=["x.log"], output=[]))
    assert capsys.readouterr().err == "error: x.log: read-only file system\n"


@pytest.mark.parametrize("error", [KeyError("inner"), OSError(errno.EIO, "no")])
def test_a_fault_of_the_program_is_logged_with_its_traceback(tmp_path, root_logger, error):
    def main(_):
        with storage.atomic(tmp_path / "a"):
            raise error

    with pytest.raises(type(error)):
        script.run(main, SimpleNamespace(log=[str(tmp_path / "x.log")], output=[]))
    assert "Traceback" in (tmp_path / "x.log").read_text()


def test_ctrl_c_is_told_in_the_log_alone(tmp_path, capsys, root_logger):
    def main(_):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        script.run(main, SimpleNamespace(log=[str(tmp_path / "x.log")], output=[]))
    assert end.value.code == 130 and capsys.readouterr().err == ""
    log = (tmp_path / "x.log").read_text()
    assert "stopped by Ctrl-C" in log and "Traceback" not in log


@pytest.mark.parametrize("started", [False, True])
def test_a_job_of_a_module_works_below_its_prefix(tmp_path, monkeypatch, started):
    """Processes that it starts are there already."""
    (tmp_path / "a/b/results/logs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b" if started else tmp_path)
    if started:
        monkeypatch.setenv(MARK, str(tmp_path / "mark"))
    names = {"rows": "a/b/results/rows.parquet", "own": "data/x.csv", "config": "/etc/x.json"}
    files = Namedlist(fromdict=names)
    log, output = Namedlist(["a/b/results/logs/x.log"]), Namedlist(["a/b/results/x.parquet"])
    smk = SimpleNamespace(input=files, output=output, log=log)
    script.run(lambda smk: None, smk)
    assert Path.cwd() == tmp_path / "a/b" and smk.output == ["results/x.parquet"]
    assert [smk.input.rows, smk.input.own] == ["results/rows.parquet", "../../data/x.csv"]
    assert smk.input.config == "/etc/x.json" and smk.log == ["results/logs/x.log"]
