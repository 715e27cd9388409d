"""Hidden states are what the readout reads at the end of each prompt."""

import numpy as np
import pytest
import torch
from architectures import MODELS, PLAIN_ONLY, draw
from fewshot.models.parts import readout
from fewshot.scoring import reader
from fewshot.scoring.states import hidden_states


def prompts(seed=0):
    return draw(np.random.default_rng(seed), 20, [3, 9, 1, 30, 12, 12, 7])


@pytest.mark.parametrize("name", MODELS)
def test_they_give_the_logits_of_whole_prompts(name):
    model, given = MODELS[name], prompts()
    found = hidden_states(model, given, batch_tokens=64)
    assert found.values.dtype == np.float32 and found.splits == 0
    assert (found.route != "shared prefix") == (name in PLAIN_ONLY)
    with torch.no_grad():
        ours = readout(model)(torch.from_numpy(found.values))
        for i, suffix in enumerate(given.suffixes):
            whole = model(input_ids=torch.tensor([given.prefix + suffix])).logits[0, -1]
            torch.testing.assert_close(ours[i], whole, atol=1e-4, rtol=1e-4)


def test_rows_that_run_out_of_memory_are_halved(monkeypatch):
    model, given = MODELS["opt"], prompts()
    whole = hidden_states(model, given, batch_tokens=64)
    hidden = reader.Reader.hidden

    def failing(self, batch):
        if len(batch) > 1 and self.prompts.ids == given.ids:
            raise torch.OutOfMemoryError("no room")
        return hidden(self, batch)

    monkeypatch.setattr(reader.Reader, "hidden", failing)
    halved = hidden_states(model, given, batch_tokens=64)
    assert halved.splits > 0
    np.testing.assert_allclose(halved.values, whole.values, atol=1e-5)
