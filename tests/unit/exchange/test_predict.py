"""A finished cell answers new texts as its run answered evaluation rows."""

from dataclasses import asdict

import numpy as np
import pytest
from fewshot import storage
from fewshot.exchange.adapted_model import AdaptedModel
from fewshot.prompts.patterns import ChannelPattern
from finished_runs import finish, of_set
from mistakes import told as mistake
from thinned import thinned

CHANNEL = ChannelPattern(
    "minimal", ((" . the tall doctor saw ", "text_a"), (" or ", "text_b"), (" ?", None)),
    "Answer:", (" Yes", " No"), "\n\n", "channel",
)  # fmt: skip
CASES = {
    "in context": ("opt", {"family": "in_context"}),
    "without shots": ("gpt_neox", {"family": "in_context", "k": 0, "seeds": (0,)}),
    "channel": ("opt", {"family": "in_context", "k": 4}),
    "ensemble": ("gpt_neox", {"family": "ensemble", "shown": 3}),
    "retrieval": ("opt", {"family": "retrieval", "shown": 2, "similarity": "bm25", "cached": 3}),
    "lora": ("gpt_neox", {"family": "lora"}),
    "all weights": ("opt", {"family": "full", "keep_weights": True}),
    "own head": ("gpt_neox", {"family": "lora", "head": "classification"}),
    "virtual tokens": ("opt", {"family": "prompt_tuning", "virtual_tokens": 3}),
    "learned context": ("gpt_neox", {"family": "context_tuning", "token_dropout": 0.0}),
}


@pytest.mark.parametrize("case", thinned(CASES, ["own head", "virtual tokens"], CASES))
def test_probabilities_are_those_of_the_run(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    kind, settings = CASES[case]

    def change(smk):
        if case == "channel":
            smk.params.pattern = asdict(CHANNEL)

    told, predictions = finish(tmp_path / "job", kind, change, **settings)
    seed = max(map(int, told["shots"]), default=0)
    rows = storage.read_rows(told["evaluation"][0]["path"]).sort_values("id")
    model = AdaptedModel(told, seed)
    found = model.predict(rows[["text_a", "text_b"]].to_dict("records"))
    stored = of_set(predictions, "task", seed)
    logprobs = stored[["logprob_0", "logprob_1"]].to_numpy(float)
    expected = np.exp(logprobs) / np.exp(logprobs).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[list(model.labels)], expected, rtol=0, atol=1e-5)
    assert found["label"].tolist() == stored["predicted"].tolist()
    [alone] = model.predict([rows.iloc[5][["text_a", "text_b"]].to_dict()]).to_dict("records")
    assert alone["yes"] == pytest.approx(expected[5, 1], abs=1e-5), "whatever is read beside it"
    assert "row 0: text_b is None, not text" in mistake(model.predict, [{"text_a": "the doctor"}])


def test_a_seed_or_weights_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told, _ = finish(tmp_path / "job", unfit=(1,), family="full", keep_weights=False)
    assert "unknown seed '7'" in mistake(AdaptedModel, told, 7)
    assert "seed 1: does not fit" in mistake(AdaptedModel, told, 1)
    assert "keeps no weights of seed 0" in mistake(AdaptedModel, told, 0)
