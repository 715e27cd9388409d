"""Plain files from the web, served by a loopback server with faults to order."""

import hashlib
import shutil

import pytest
from fewshot.data import readers, sources
from fewshot.errors import UserError
from fewshot.storage import write_json
from hub_server import Fault, Repo
from mistakes import told

BODY = b"a\t1\n" * 3000
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server(hub_server, monkeypatch):
    hub_server.repos["datasets/any/place"] = Repo("c", {"rows.tsv": BODY})
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    return hub_server


def fetch(server, folder, name="rows.tsv", **entry):
    address = f"{server.url}/datasets/any/place/resolve/main/{name}"
    return sources.fetch_source({"url": {"dev": {"address": address, **entry}}}, folder, "mine")


@pytest.mark.parametrize("entry", [{}, {"sha256": DIGEST}])
def test_a_file_arrives_with_a_manifest_of_its_checksum(server, tmp_path, entry):
    manifest = fetch(server, tmp_path, **entry)
    assert manifest == {
        "source": "mine",
        "kind": "url",
        "revision": None,
        "files": {"dev": {"path": "dev.tsv", "sha256": DIGEST, "bytes": 12000}},
    }
    assert [path.name for path in tmp_path.iterdir()] == ["dev.tsv"]
    write_json(tmp_path / "manifest.json", manifest)
    (path,) = readers.raw_files(tmp_path / "manifest.json", "dev")
    assert readers.read_raw(path, ["text", "label"]).values.tolist()[-1] == ["a", "1"]


def test_only_a_file_of_known_checksum_is_kept(server, tmp_path):
    for entry, gets in (({}, 1), ({}, 2), ({"sha256": DIGEST}, 2)):
        fetch(server, tmp_path, **entry)
        assert len(server.gets("rows.tsv")) == gets
    (tmp_path / "dev.tsv").write_bytes(b"other")
    fetch(server, tmp_path, sha256=DIGEST)
    assert (tmp_path / "dev.tsv").read_bytes() == BODY


def test_another_checksum_is_tried_twice_and_leaves_nothing(server, tmp_path):
    said = told(fetch, server, tmp_path, sha256="0" * 64)
    assert said.startswith("source 'mine': split 'dev': http://127.0.0.1:")
    assert said.endswith(f"rows.tsv arrived twice with sha256 {DIGEST}, where {'0' * 64} is stated")
    assert len(server.gets("rows.tsv")) == 2 and not list(tmp_path.iterdir())


def test_one_damaged_answer_is_replaced(server, tmp_path):
    server.faults = [Fault("rows.tsv", flip=True)]
    fetch(server, tmp_path, sha256=DIGEST)
    assert (tmp_path / "dev.tsv").read_bytes() == BODY


@pytest.mark.parametrize("fault", [Fault("rows.tsv", cut=5000), Fault("rows.tsv", status=503)])
def test_what_may_pass_is_tried_again(server, tmp_path, fault):
    server.faults = [fault]
    assert fetch(server, tmp_path)["files"]["dev"]["sha256"] == DIGEST
    assert (tmp_path / "dev.tsv").read_bytes() == BODY


def test_a_full_disk_is_found_before_the_first_byte(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=11_999)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"rows.tsv: needs 12.00 kB in \S+, where 12.00 kB are fr"):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=12_000))
    fetch(server, tmp_path)


def test_a_wrong_address_is_not_tried_again(server, tmp_path):
    with pytest.raises(UserError, match=r"split 'dev': http.*/none.tsv: HTTP 404"):
        fetch(server, tmp_path, name="none.tsv")
    assert server.waits == [] and not list(tmp_path.iterdir())
