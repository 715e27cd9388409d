"""Pretrained models are scored as lm-evaluation-harness scores them."""

import json
from types import SimpleNamespace

import export_lm_eval
import numpy as np
import pytest
import run_in_context
from fewshot import storage
from lm_harness import cell_of, harness
from real_jobs import ROWS, real_job

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

TOLERANCE = 1e-4


def logged(path) -> dict[int, tuple[list[float], float]]:
    """Return id → log-likelihoods of the label words and accuracy, of the harness's samples."""
    found = {}
    for line in path.read_text().splitlines():
        sample = json.loads(line)
        found[sample["doc"]["id"]] = (
            [float(r[0]) for r in sample["filtered_resps"]],
            sample["acc"],
        )
    return found


@pytest.mark.parametrize("k", [0, 16])
def test_scores_are_those_of_the_harness(model, shared_data, tmp_path, monkeypatch, k):
    monkeypatch.chdir(tmp_path)
    smk = real_job(tmp_path / "in", model, shared_data, "in-context", k)
    run_in_context.main(smk)
    out = SimpleNamespace(folder=str(tmp_path / "tasks"))
    params = SimpleNamespace(cells=[cell_of(smk, k)], left_out=[])
    export_lm_eval.main(SimpleNamespace(output=out, params=params))
    names = sorted(path.stem for path in (tmp_path / "tasks").glob("*.yaml"))
    assert len(names) == 2
    # The harness holds the logits of every token of a batch, Gemma's over 262,144 words.
    harness(tmp_path / "tasks", names, model.folder, batch=1)
    ours = storage.read_table(smk.output.predictions)
    logs = next((tmp_path / "logs").glob("*"))
    for name, rows in ours.groupby("evaluation_set", observed=True):
        assert len(rows) == ROWS
        theirs = logged(next(logs.glob(f"samples_fair_rte_*_{name}_*.jsonl")))
        words = rows[["logprob_0", "logprob_1"]].to_numpy()
        expected = np.array([theirs[row][0] for row in rows["id"]])
        np.testing.assert_allclose(words, expected, atol=TOLERANCE, rtol=0)
        assert words.std() > 100 * TOLERANCE, "rows could be confused unnoticed"
        right = words.argmax(axis=1) == rows["label"].to_numpy()
        assert right.tolist() == [bool(theirs[row][1]) for row in rows["id"]]
