"""An exported adapter in lm-evaluation-harness: the log-probabilities that its run has stored."""

from pathlib import Path

import numpy as np
import pytest
from fewshot import storage
from fewshot.exchange import adapters
from fewshot.prompts.patterns import restore_pattern
from finished_runs import finish, of_set

pytest.importorskip("lm_eval", reason="lm_eval is not installed")


def test_the_harness_scores_an_adapter_as_its_run_did(tmp_path, monkeypatch):
    """As `lm_eval run --model hf --model_args pretrained=…,peft=…` loads it."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    monkeypatch.chdir(tmp_path)
    told, predictions = finish(tmp_path / "job", seeds=(0,), family="lora")
    [place], _ = adapters.write_adapters("out", "s", [told], {})
    pattern = restore_pattern(told["pattern"])
    rows = storage.read_rows(told["evaluation"][0]["path"]).sort_values("id").head(6)
    asked = [
        (pattern.query(row.text_a, row.text_b), word)
        for row in rows.itertuples()
        for word in pattern.words
    ]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in asked]
    base = storage.read_json(told["manifest"])["path"]
    found = {}
    for peft in (None, str(Path("out", place))):
        model = HFLM(pretrained=base, peft=peft, device="cpu", dtype="float32", batch_size=4)
        answers = model.loglikelihood(requests, disable_tqdm=True)
        found[peft is None] = np.reshape([logprob for logprob, _ in answers], (-1, 2))
    stored = of_set(predictions, "task", 0).head(6)[["logprob_0", "logprob_1"]].to_numpy(float)
    np.testing.assert_allclose(found[False], stored, atol=1e-4, rtol=0)
    assert np.abs(found[True] - stored).max() > 0.01, "the base model alone says something else"
