"""Rivals of the scorer: which are measured, on what, and how their programs are asked."""

import logging
import math
from argparse import Namespace

import numpy as np
import pytest
from benchmarks import bench_scorer, cases, engines, harness, rivals
from fewshot.errors import UserError


def test_what_is_not_installed_is_told_and_left_out(tmp_path, caplog):
    python = rivals.interpreter(tmp_path, "vllm")
    python.parent.mkdir(parents=True)
    python.touch()
    with caplog.at_level(logging.WARNING):
        found = rivals.installed(tmp_path, ["fairshot", "ctranslate2", "vllm"])
    assert found == ["fairshot", "vllm"]
    missing = rivals.interpreter(tmp_path, "ctranslate2")
    assert caplog.messages == [f"ctranslate2 is left out: no {missing}; `make rivals` installs it"]
    with pytest.raises(UserError, match="--systems: none of them is installed"):
        rivals.installed(tmp_path, ["ctranslate2"])


def test_every_rival_has_an_engine():
    assert list(engines.ENGINES) == list(rivals.RIVALS)
    assert set(bench_scorer.SLOW) < {*bench_scorer.SYSTEMS, *rivals.RIVALS}


def measured(monkeypatch, tmp_path, systems, broken=()):
    """Compare systems on 20 rows of 1,000 tokens; return (dtype, system, rows) of each."""
    asked = []

    def score(options, about, case):
        asked.append((about["dtype"], about["system"], len(case.texts)))
        if about["system"] in broken:
            raise UserError(f"{about['system']} with m failed: no such type")
        found = {"logprobs": np.zeros((len(case.texts), 2)), "rows": len(case.texts), "passes": 1}
        return {**found, "rows_per_s": 2.0}

    monkeypatch.setattr(bench_scorer, "score", score)
    case = cases.Case("rte", 2, 0, None, "", ["text"] * 20, [0] * 20, [1000] * 20, 900)
    options = Namespace(
        dtype=["float32", "bfloat16"],
        systems=systems,
        rows=20,
        slow_rows=0,
        device="cpu",
        threads=1,
    )
    table = harness.Table(
        tmp_path / "t.parquet", bench_scorer.COLUMNS, ["model", "dtype", "task", "k"]
    )
    bench_scorer.compare(options, table, "m", case)
    return asked, table


def test_who_reads_the_context_once_is_timed_on_all_rows(monkeypatch, tmp_path):
    systems = ["vllm", "fairshot", "lm-eval", "transformers-cache", "transformers-full"]
    asked, _ = measured(monkeypatch, tmp_path, systems)
    assert asked == [
        ("float32", "transformers-full", 4),  # the reference
        ("float32", "transformers-cache", 20),
        ("float32", "lm-eval", 4),
        ("float32", "fairshot", 20),
        ("float32", "vllm", 20),
        ("bfloat16", "fairshot", 20),
        ("bfloat16", "vllm", 20),
    ]


def test_a_rival_that_fails_is_told_and_left_out(monkeypatch, tmp_path, caplog):
    _, table = measured(monkeypatch, tmp_path, ["fairshot", "ctranslate2", "vllm"], ["ctranslate2"])
    assert [row["system"] for row in table.rows] == ["fairshot", "vllm"] * 2
    assert [text for text in caplog.messages if "left out" in text] == [
        f"{dtype}: ctranslate2 with m failed: no such type; it is left out"
        for dtype in ("float32", "bfloat16")
    ]
    with pytest.raises(UserError, match="transformers-full with m failed"):
        measured(monkeypatch, tmp_path, ["transformers-full"], ["transformers-full"])


def test_a_pass_of_a_rival_scores_all_rows_once_it_is_warm(monkeypatch):
    asked = []

    def make(job):
        def score(rows):
            asked.append(rows)
            return np.full((len(rows), 2), -1.5)

        return score

    monkeypatch.setitem(engines.ENGINES, "vllm", (make, "numpy", "its own"))
    job = {"system": "vllm", "prompts": [[1]] * 3, "device": "cpu", "repeats": 2, "seconds": 60.0}
    found = engines.measure(job)
    assert asked == [[0, 1], [0, 1, 2], [0, 1, 2]]
    assert found["logprobs"] == [[-1.5, -1.5]] * 3 and len(found["seconds"]) == 2
    assert found["version"] == f"numpy {np.__version__}" and found["peak_mib"] >= 0


def test_batches_hold_rows_of_one_length():
    assert list(engines.same_lengths([7, 5, 7, 6])) == [[1], [3], [0, 2]]


def test_logits_become_log_probabilities():
    found = engines.log_softmax(np.array([[1000.0, 1000.0 + math.log(3)]], dtype=np.float32))
    assert found == pytest.approx([math.log(0.25), math.log(0.75)], abs=1e-4)


def test_each_prompt_keeps_a_token_that_is_not_shared():
    assert cases.shared_tokens([[1, 2, 3], [1, 2, 4]]) == 2
    assert cases.shared_tokens([[1, 2], [1, 2, 4]]) == 1
