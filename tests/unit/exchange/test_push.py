"""Uploads of exported adapters, to a stand-in for the Hub."""

from pathlib import Path

import pytest
from fewshot.exchange import push
from mistakes import told

FILES = {
    "README.md": "---\nlibrary_name: peft\n---\n",
    "fair/task/tiny/lora/minimal/k8/seed0/README.md": "---\nlibrary_name: peft\n---\n",
    "fair/task/tiny/lora/minimal/k8/seed0/adapter_config.json": "{}",
    "fair/task/tiny/lora/minimal/k8/seed0/adapter_model.safetensors": "weights",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in {**FILES, "notes.txt": "not to be seen"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_adapters_and_cards_are_uploaded_and_nothing_else(hub_server, monkeypatch, folder):
    hub_server.token = "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    for _ in range(2):  # Again: it is there already.
        address = push.push_adapters(folder, "me/adapters", hub_server.url)
        assert address == f"{hub_server.url}/me/adapters"
        found = hub_server.repos["models/me/adapters"].files
        assert found == {name: text.encode() for name, text in FILES.items()}
    assert hub_server.visible == {"me/adapters": "private"}


def test_nothing_is_asked_of_the_hub_without_a_token_or_a_repository(
    hub_server, monkeypatch, folder
):
    line = told(push.push_adapters, folder, "me/adapters", hub_server.url)
    assert line.startswith("environment: HF_TOKEN is not set") and "'me/adapters'" in line
    monkeypatch.setenv("HF_TOKEN", "secret")
    for name in ("adapters", "me/", "/adapters", "me/my/adapters"):
        line = told(push.push_adapters, folder, name, hub_server.url)
        assert line.startswith(f"'{name}' is no repository; valid: snakemake push_adapters")
    assert told(push.check_push, "").startswith("no repository named; valid: ")
    assert hub_server.requests == []


def test_a_token_that_may_not_write_is_told(hub_server, monkeypatch, folder):
    hub_server.token = "secret"
    monkeypatch.setenv("HF_TOKEN", "another")
    line = told(push.push_adapters, folder, "me/adapters", hub_server.url)
    assert line.startswith("repository 'me/adapters': HTTP 401") and "HF_TOKEN" in line
