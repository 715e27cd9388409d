"""What is told of deployed answers: memory, halved batches, and labels that may tie."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fewshot.exchange.latency import ROUNDED, tied
from fewshot.exchange.peak_memory import watched
from fewshot.exchange.ready import Ready


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_is_not_that_of_what_was_freed_before():
    blocks = [b"x" * 100_000 for _ in range(1000)]
    kept = b"y" * 100_000  # Above what is freed, which so stays with the process.
    with watched(torch.device("cpu")) as held:
        pass
    del blocks
    with watched(torch.device("cpu")) as freed:
        more = b"z" * 20_000_000
    assert held.mib - freed.mib > 50 and 15 < freed.growth_mib < 40 and kept and more


def test_splits_are_those_of_one_pass(monkeypatch):
    part = SimpleNamespace(plan=SimpleNamespace(sequences=[]), alone=[[]])
    way = Ready([part, part], None, None)
    halved = SimpleNamespace(run=lambda: [np.zeros((1, 2))], splits=1)
    monkeypatch.setattr(way, "_pass", lambda part, sequences: halved)
    monkeypatch.setattr(way, "_scores", lambda found: found)
    way.every()
    way.one(0)
    way.every()
    assert way.splits == 2, "one behind each context"


def test_answers_tie_within_what_their_log_probabilities_are_rounded_by():
    ranking = np.array([[-0.1, -0.2, -9.0], [-0.1, -0.4, -9.0], [-40.0, -90.0, -44.0]])
    assert tied(ranking, ROUNDED).tolist() == [True, False, True]
    assert tied(ranking, 1e-5).tolist() == [False] * 3
