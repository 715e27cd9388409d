"""Raw rows of the three kinds; downloads from a loopback Hub through the real client."""

import hashlib
import logging
import shutil
from pathlib import Path

import httpx2
import pytest
from fewshot.data import sources
from fewshot.errors import UserError
from hub_server import Fault, Repo
from huggingface_hub import constants
from mistakes import told

COMMIT = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"
BODY = bytes(range(256)) * 40
SMALL = b"a small file\n"
SOURCE = {
    "hub": "nyu-mll/glue",
    "revision": COMMIT,
    "files": {"train": "rte/train.parquet", "validation": "rte/validation.parquet"},
}
KEY = "datasets/nyu-mll/glue"


@pytest.fixture
def server(hub_server, monkeypatch):
    files = {"rte/train.parquet": BODY, "rte/validation.parquet": SMALL, "unused": b"x"}
    hub_server.repos[KEY] = Repo(COMMIT, files, lfs=("rte/train.parquet",))
    # The client writes whole chunks of 10 MB; small ones let a cut download leave something.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    return hub_server


def fetch(server, folder, **changes):
    return sources.fetch_source({**SOURCE, **changes}, folder, "rte", endpoint=server.url)


def test_hub_files_arrive_with_a_manifest_of_their_checksums(server, tmp_path):
    manifest = fetch(server, tmp_path)
    assert manifest == {
        "source": "rte",
        "kind": "hub",
        "revision": COMMIT,
        "files": {
            "train": {
                "path": "rte/train.parquet",
                "sha256": hashlib.sha256(BODY).hexdigest(),
                "bytes": 10240,
            },
            "validation": {
                "path": "rte/validation.parquet",
                "sha256": hashlib.sha256(SMALL).hexdigest(),
                "bytes": 13,
            },
        },
    }
    assert (tmp_path / "rte/train.parquet").read_bytes() == BODY
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "rte",
        "train.parquet",
        "validation.parquet",
    ], "nothing else was downloaded, no partial file is left"


def test_intact_files_are_not_downloaded_again(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "rte/validation.parquet").write_bytes(b"a smaLL file\n")
    fetch(server, tmp_path)
    gets = [len(server.gets(f"rte/{name}.parquet")) for name in ("train", "validation")]
    assert gets == [1, 1], "the damaged one is replaced from the cache"
    assert (tmp_path / "rte/validation.parquet").read_bytes() == SMALL


def test_a_hub_that_stays_busy_ends_in_one_line(server, tmp_path):
    server.faults = [Fault("rte/train.parquet", times=99, status=503)]
    assert told(fetch, server, tmp_path) == (
        f"source 'rte': dataset nyu-mll/glue at revision {COMMIT}: "
        "file 'rte/train.parquet': HTTP 503 (6 attempts)"
    )
    assert server.waits == [1, 2, 4, 8, 16]


def test_a_dropped_connection_resumes_where_it_broke(server, tmp_path):
    server.faults = [Fault("rte/train.parquet", cut=5000)]
    fetch(server, tmp_path)
    ranges = [headers.get("Range") for headers in server.gets("rte/train.parquet")]
    assert ranges == [None, "bytes=4096-"]
    assert (tmp_path / "rte/train.parquet").read_bytes() == BODY


def test_what_an_earlier_run_fetched_comes_from_the_cache(server, tmp_path):
    server.faults = [Fault("rte/validation.parquet", times=99, status=503)]
    with pytest.raises(UserError):
        fetch(server, tmp_path / "one")
    server.faults = []
    fetch(server, tmp_path / "two")
    assert len(server.gets("rte/train.parquet")) == 1
    assert (tmp_path / "two/rte/train.parquet").read_bytes() == BODY


def test_damaged_bytes_in_the_cache_are_replaced(server, tmp_path):
    fetch(server, tmp_path / "one")
    [cached] = Path(constants.HF_HUB_CACHE).rglob("train.parquet")
    cached.write_bytes(bytes(len(BODY)))
    fetch(server, tmp_path / "two")
    assert (tmp_path / "two/rte/train.parquet").read_bytes() == cached.read_bytes() == BODY


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    server.ranges = False
    server.faults = [Fault("rte/train.parquet", cut=5000)]
    fetch(server, tmp_path)
    assert len(server.gets("rte/train.parquet")) == 2
    assert (tmp_path / "rte/train.parquet").read_bytes() == BODY


def test_offline_mode_is_respected(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids downloads$"):
        fetch(server, tmp_path)
    assert server.requests == []


@pytest.mark.parametrize("name", ["rte/train.parquet", "rte/validation.parquet"])
def test_damaged_bytes_of_the_right_length_are_noticed(server, tmp_path, name):
    server.faults = [Fault(name, flip=True)]
    fetch(server, tmp_path)
    assert len(server.gets(name)) == 2
    assert (tmp_path / name).read_bytes() == server.repos[KEY].files[name]


def test_bytes_damaged_twice_are_an_error_and_leave_no_file(server, tmp_path):
    server.faults = [Fault("rte/train.parquet", times=2, flip=True)]
    with pytest.raises(UserError, match=r"file 'rte/train.parquet' arrived damaged twice"):
        fetch(server, tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.parquet")), "others would take it"


def test_a_branch_is_resolved_and_the_commit_recorded(server, tmp_path, caplog):
    server.repos[KEY].refs = ("refs/convert/parquet",)
    manifest = fetch(server, tmp_path, revision="refs/convert/parquet")
    assert manifest["revision"] == COMMIT
    assert f"refs/convert/parquet is not a commit; using {COMMIT}" in caplog.text
    assert all(COMMIT in path for _, path, _ in server.requests if "/resolve/" in path)


def test_unknown_file_repository_and_revision_are_named(server, tmp_path):
    with pytest.raises(UserError, match=r"unknown file 'rte/trian.parquet'; did you mean 'rte/tra"):
        fetch(server, tmp_path, files={"train": "rte/trian.parquet"})
    with pytest.raises(UserError, match=r"dataset no/repo at .*: HTTP 404, RepositoryNotFound$"):
        fetch(server, tmp_path, hub="no/repo")
    with pytest.raises(UserError, match=r"revision v2: HTTP 404, RevisionNotFound$"):
        fetch(server, tmp_path, revision="v2")
    assert server.waits == [], "none of these is tried again"


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"hub": "a/b/c"}, "HFValidationError"),
        ({"files": {"train": "../outside"}}, "would lie outside its folder"),
    ],
)
def test_impossible_names_are_refused(server, tmp_path, changes, cause):
    server.repos[KEY].files["../outside"] = b"x"
    with pytest.raises(UserError, match=cause):
        fetch(server, tmp_path, **changes)


@pytest.mark.parametrize("body", [b"<html>log in first</html>", b"[]", b"{}", b'{"id": "x"}'])
def test_an_answer_that_is_not_the_hubs_is_one_line(server, tmp_path, body):
    server.faults = [Fault("info", body=body)]
    assert told(fetch, server, tmp_path).startswith(
        "source 'rte': dataset nyu-mll/glue at revision bcdc"
    )


def test_no_network_is_one_line(server, tmp_path):
    server.__exit__()
    with pytest.raises(UserError, match=r"ConnectError: .*refused.* \(6 attempts\)"):
        fetch(server, tmp_path)


def test_connection_reset_while_reading_is_retried(server, tmp_path, monkeypatch):
    calls = []
    real = sources.hub.hf_hub_download

    def flaky(*args, **kwargs):
        calls.append(args[0])
        if len(calls) == 1:
            raise httpx2.ReadError("connection reset by peer")
        return real(*args, **kwargs)

    monkeypatch.setattr(sources.hub, "hf_hub_download", flaky)
    fetch(server, tmp_path)
    assert len(calls) == 3


def test_a_full_disk_is_found_before_the_download(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    match = r"needs 10.25 kB in .*, where 10.00 kB are free; `snakemake clean` and `hf cache` s"
    with pytest.raises(UserError, match=match):
        fetch(server, tmp_path)
    assert not server.gets("rte/train.parquet")


def test_a_disk_that_fills_up_is_not_tried_again(server, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources.hub, "hf_hub_download", full)
    with pytest.raises(UserError, match=r"OSError: \[Errno 28\] No space left on device"):
        fetch(server, tmp_path)
    assert server.waits == []


def test_the_token_comes_from_the_environment_and_stays_out_of_logs(
    server, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    server.token = "hf_secretsecret"
    with pytest.raises(UserError, match=r"HTTP 401.*set HF_TOKEN"):
        fetch(server, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"HTTP 401") as error:
        fetch(server, tmp_path)
    assert "hf_wrong" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    server.faults = [Fault("rte/train.parquet", status=503)]
    assert fetch(server, tmp_path)["revision"] == COMMIT
    assert caplog.text
    assert "hf_secret" not in caplog.text
    monkeypatch.setenv("HF_TOKEN", "hf_secret secret")
    with pytest.raises(UserError, match=r"HF_TOKEN holds blanks") as error:
        fetch(server, tmp_path)
    assert "hf_secret" not in str(error.value)
