"""Runs of different models on other draws are not compared."""

import pytest
from fewshot import storage
from fewshot.analysis.draws import check_draws
from fewshot.errors import UserError


def manifest(folder, name, digest, k=16, kind="fair"):
    path = folder / name / "manifest.json"
    shots = {"shots": {"0": "aa", "1": digest}, "draw": kind}
    storage.write_json(path, {"k": k, "checksums": shots})
    return path


def test_models_are_compared_on_the_same_draws(tmp_path):
    first = manifest(tmp_path, "opt-s", "bb")
    others = [
        manifest(tmp_path, "opt-l", "bb"),
        manifest(tmp_path, "published", "cc", kind="mosbach2023-in-context"),
        manifest(tmp_path, "more", "dd", k=32),
    ]
    check_draws([first, *others])
    with pytest.raises(UserError, match=r"opt-xl: its shots of seed 1 are not those of .*opt-s"):
        check_draws([first, *others, manifest(tmp_path, "opt-xl", "cc")])
