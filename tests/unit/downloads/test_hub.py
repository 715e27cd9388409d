"""What can go wrong with a download, ordered from a loopback Hub and met by the real client."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fewshot import storage
from fewshot.downloads import hub, models
from fewshot.errors import UserError
from fewshot.runtime import script
from hub_server import SIGNATURE, Fault, HubServer, Repo
from huggingface_hub import constants
from huggingface_hub.utils import get_token
from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

ROOT = Path(__file__).parents[3]
COMMIT = "27dcfa74d334bc871f3234de431e71c6eeba5dd6"
WEIGHTS = bytes(range(256)) * 400
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{ }",
    "model.safetensors": WEIGHTS,
}
ENTRY = {"hub": "any/model", "revision": COMMIT}
FOLDER = Path("results/models/m")
TOKEN = "hf_secretsecret"


def repository() -> dict[str, Repo]:
    return {"models/any/model": Repo(COMMIT, dict(FILES), lfs=("model.safetensors",))}


@pytest.fixture
def server(hub_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub_server.repos = repository()
    # The client writes whole chunks of 10 MB; small ones let a cut download leave something.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    return hub_server


def fetch(server) -> dict:
    """Fetch facts and weights; return the manifest."""
    manifest = models.fetch_model(ENTRY, FOLDER, "m", endpoint=server.url)
    storage.write_json(FOLDER / "manifest.json", manifest)
    models.fetch_weights(FOLDER / "manifest.json", FOLDER / "weights.json", endpoint=server.url)
    assert (FOLDER / COMMIT / "model.safetensors").read_bytes() == WEIGHTS
    return manifest


def test_an_answer_after_the_clients_patience_is_asked_for_again(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    server.faults = [Fault("info", delay=30), Fault("model.safetensors", delay=30)]
    fetch(server)
    assert len(server.gets("model.safetensors")) == 2
    assert server.waits == [1, 1], "ours between lookups, the client's own between downloads"


def test_a_body_that_stalls_is_gone_on_from(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    server.faults = [Fault("model.safetensors", stall=50_000)]
    fetch(server)
    ranges = [headers.get("Range") for headers in server.gets("model.safetensors")]
    assert ranges == [None, f"bytes={50_000 // 1024 * 1024}-"]


def test_a_connection_that_breaks_again_and_again_is_gone_on_from(server):
    server.faults = [Fault("model.safetensors", times=20, cut=2000)]
    fetch(server)
    ranges = [headers.get("Range", "bytes=0-") for headers in server.gets("model.safetensors")]
    starts = [int(each.removeprefix("bytes=").removesuffix("-")) for each in ranges]
    assert starts == sorted(set(starts)) and len(starts) == 21


def test_what_the_client_raises_in_between_is_tried_again(monkeypatch, caplog):
    """A short file is an OSError; many breaks and Xet end in a RuntimeError."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    errors = [OSError("file should be of size 2"), RecursionError(), RuntimeError("CAS\nerror")]
    left = list(errors)

    def broken():
        if left:
            raise left.pop(0)
        return "done"

    assert hub.retrying(broken, "file") == "done"
    for said in ("OSError: file should", "the connection broke too often", "RuntimeError: CAS err"):
        assert said in caplog.text
    left = errors * 2
    with pytest.raises(UserError, match=r"^file: RuntimeError: CAS error \(6 attempts\)$"):
        hub.retrying(broken, "file")


def test_xet_tells_its_progress_to_the_log(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    told = {"total": 10**7, "log_level": logging.INFO, "tqdm_class": hub.LogProgress}
    sums = ("total_bytes", "total_bytes_completed", "total_transfer_bytes_completed")
    rates = ("total_bytes_completion_rate", "total_transfer_bytes_completion_rate")
    with XetDownloadProgressReporter(reconstruction_desc="file", **told) as progress:
        progress.reconstruction_bar.last -= 60
        progress.reconstruction_bar.start -= 60
        progress.update_progress(SimpleNamespace(**dict.fromkeys((*sums, *rates), 6 * 10**6)))
    assert "file: 6 of 10 MB, 0.1 MB/s" in caplog.text


def test_a_hub_that_stalls_forever_ends_in_one_line(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    server.faults = [Fault("model.safetensors", times=99, delay=30)]
    with pytest.raises(
        UserError, match=r"^model 'm': .* file 'model.safetensors': ReadTimeout: .*"
    ):
        fetch(server)


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (503, {}, [1, 2]),
        (503, {"Retry-After": "7"}, [7, 7]),
        (503, {"Retry-After": "86400"}, [300, 300]),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, [1, 2]),
        # The client waits by itself here, and a second longer.
        (429, {"Retry-After": "7"}, [8, 8]),
        (429, {"ratelimit": '"api";r=0;t=55'}, [56, 56]),
        (429, {}, [1, 2]),
    ],
)
def test_a_busy_hub_says_when_a_file_is_asked_for_again(server, status, headers, waits):
    server.faults = [Fault("model.safetensors", times=2, status=status, headers=headers)]
    fetch(server)
    assert server.waits == waits


@pytest.mark.parametrize(
    ("headers", "waits"),
    [({}, [1, 2]), ({"Retry-After": "9"}, [9, 9]), ({"ratelimit": '"api";r=0;t=55'}, [55, 55])],
)
def test_a_busy_hub_says_when_a_repository_is_looked_up_again(server, headers, waits):
    server.faults = [Fault("info", times=2, status=429, headers=headers)]
    fetch(server)
    assert server.waits == waits


def test_what_the_client_says_goes_to_the_log(server, caplog, capfd):
    server.faults = [Fault("model.safetensors", status=429)]
    fetch(server)
    assert "HTTP Error 429" in caplog.text and "Retrying in 1" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_the_token_is_sent_to_the_hub_and_nowhere_else(server, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    server.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer(repos=repository()) as other:
        server.elsewhere = other
        server.faults = [Fault("config.json", status=503)]
        other.faults = [
            Fault("model.safetensors", cut=30_000),
            Fault("model.safetensors", status=503),
        ]
        fetch(server)
        asked = other.gets("model.safetensors")
    assert len(asked) == 3 and not any("Authorization" in headers for headers in asked)
    sent = {headers["Authorization"] for _, _, headers in server.requests}
    assert sent == {f"Bearer {TOKEN}"}
    assert asked[1]["Range"].startswith("bytes="), "resumed there as well"
    written = [path.read_bytes() for path in Path().rglob("*") if path.is_file()]
    assert written and not any(TOKEN.encode() in each for each in written)
    assert "HTTP 503" in caplog.text
    assert TOKEN not in caplog.text and SIGNATURE not in caplog.text


@pytest.mark.parametrize(("given", "status"), [(None, 401), ("hf_another", 403)])
def test_a_gated_model_names_its_page_and_the_token(server, monkeypatch, given, status):
    server.token, server.gated = TOKEN, True
    if given:
        monkeypatch.setenv("HF_TOKEN", given)
    with pytest.raises(UserError) as error:
        fetch(server)
    assert str(error.value) == (
        f"model 'm': model any/model at revision {COMMIT}: file 'config.json': HTTP {status}, "
        f"GatedRepo; accept its terms on {server.url}/any/model and set HF_TOKEN to a token of "
        "that account"
    )
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fetch(server)


def test_a_token_that_the_client_finds_in_a_file_is_not_sent(server, tmp_path, monkeypatch):
    """It comes from the environment or not at all: another machine has other files."""
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert get_token() == TOKEN
    fetch(server)
    asked = [path for _, path, headers in server.requests if "Authorization" in headers]
    assert not asked and len(server.requests) == 1 + 2 * len(FILES)


@pytest.mark.parametrize(("revision", "sha"), [(COMMIT, "b" * 40), ("main", None)])
def test_an_answer_about_another_commit_is_refused(server, revision, sha):
    answer = {"id": "any/model", "sha": sha, "siblings": []}
    server.faults = [Fault("info", body=json.dumps(answer).encode())]
    cause = f"^model 'm': model any/model at revision {revision}: .* answered with commit {sha}$"
    with pytest.raises(UserError, match=cause):
        models.fetch_model({**ENTRY, "revision": revision}, FOLDER, "m", endpoint=server.url)
    assert not list(FOLDER.glob("*/*"))


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG])
def test_a_signed_address_is_in_no_log_of_a_job(server, tmp_path, monkeypatch, level):
    """A script logs at level INFO, and a failing download's last words are its error."""
    # What HF_DEBUG or HF_HUB_VERBOSITY sets where the client is imported.
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "level", level)
    with HubServer(repos=repository()) as other:
        server.elsewhere = other
        other.faults = [Fault("model.safetensors", times=99, status=403)]
        script.log_to(tmp_path / "job.log")
        with pytest.raises(UserError, match="HTTP 403") as error:
            fetch(server)
        logging.error("%s", error.value)
    text = (tmp_path / "job.log").read_text()
    assert "HTTP 403" in text and SIGNATURE not in text and "httpx" not in text


FETCH = """
import sys
import threading
from huggingface_hub import constants
from fewshot import storage
from fewshot.runtime import script
from fewshot.downloads import models

constants.DOWNLOAD_CHUNK_SIZE = 1024
folder, url, commit = sys.argv[1:]
script.log_to(f"{folder}/log")
entry = {"hub": "any/model", "revision": commit}
print("started", flush=True)
manifest = models.fetch_model(entry, folder, "m", endpoint=url)
storage.write_json(f"{folder}/manifest.json", manifest)
models.fetch_weights(f"{folder}/manifest.json", f"{folder}/weights.json", endpoint=url)
"""


def start(server, folder: Path = FOLDER) -> subprocess.Popen:
    """Fetch facts and weights in another process."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "scripts"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_CACHE": constants.HF_HUB_CACHE,
    }
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(folder), server.url, COMMIT],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(found, process: subprocess.Popen) -> None:
    end = time.monotonic() + 60
    while not found():
        assert process.poll() is None and time.monotonic() < end, process.stdout.read()
        threading.Event().wait(0.01)  # time.sleep is the server's


def test_kill_9_in_the_middle_of_a_file_loses_no_other(server):
    server.faults = [Fault("model.safetensors", stall=90_000)]
    process = start(server)
    blobs = Path(constants.HF_HUB_CACHE, "models--any--model/blobs")
    wait_for(
        lambda: [path for path in blobs.glob("*.incomplete") if path.stat().st_size > 50_000],
        process,
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (FOLDER / "weights.json").exists()
    fetch(server)
    assert {name: len(server.gets(name)) for name in FILES} == {
        **dict.fromkeys(FILES, 1),
        "model.safetensors": 2,
    }


@pytest.mark.slow
def test_a_download_that_waits_for_another_says_so(server, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    server.faults = [Fault("model.safetensors", delay=2)]
    process = start(server)
    wait_for(lambda: server.gets("model.safetensors"), process)
    fetch(server)
    assert "waiting for another process, which holds results/models/m/.lock" in caplog.text
    assert process.wait(60) == 0
    assert {name: len(server.gets(name)) for name in FILES} == dict.fromkeys(FILES, 1)
    assert json.loads((FOLDER / "weights.json").read_text())["model"] == "m"


def test_a_login_page_in_the_place_of_the_hub_is_one_line(server):
    server.faults = [Fault("info", body=b"<html>Please log in</html>")]
    with pytest.raises(UserError, match=r"^model 'm': .*not the Hub's JSON: a login page"):
        fetch(server)
