"""LoRA and (IA)³ can be folded into the weights: same scores, and the weights come back."""

import copy

import numpy as np
import pytest
import torch
from architectures import MODELS, draw, shift
from benchmarks.folding import folded
from fewshot.methods import ia3, lora
from fewshot.rng import generator
from fewshot.scoring.score import score

TARGETS = {"opt": ["q_proj", "fc1"], "gpt-neox": ["query_key_value", "dense"]}


def adapted_model(name: str, family: str):
    model = copy.deepcopy(MODELS[name])
    if family == "ia3":
        ia3.adapt(model, {})
    else:
        targets = TARGETS.get(name, ["q_proj", "down_proj"])
        settings = {"rank": 2, "alpha": 4, "dropout": 0.0, "dora": family == "dora"}
        lora.adapt(model, {**settings, "targets": targets})
        lora.draw(model, generator("folding"))
    shift(model)
    return model.eval()


@pytest.mark.parametrize("family", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("name", ["opt", "gpt-neox", "llama", "qwen3", "gemma3"])
def test_folded_adapters_give_the_same_scores(name, family):
    model = adapted_model(name, family)
    before = {key: each.clone() for key, each in model.state_dict().items()}
    prompts = draw(np.random.default_rng(3), 30, [1, 4, 9, 17] + [12] * 3, words=((5,), (6, 7)))
    found = score(model, prompts, batch_tokens=120).logprobs
    calls = []
    added = [part for part in model.modules() if isinstance(part, ia3.Vector | ia3.FusedVectors)]
    for part in added:
        part.register_forward_hook(lambda *_: calls.append(1))
    with folded(model):
        calls.clear()
        again = score(model, prompts, batch_tokens=120).logprobs
    assert not calls
    np.testing.assert_allclose(again, found, rtol=0, atol=1e-5)
    assert np.abs(found - score(MODELS[name], prompts, batch_tokens=120).logprobs).max() > 0.1
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(each, before[key]) for key, each in after.items()), "to the bit"
    np.testing.assert_array_equal(score(model, prompts, batch_tokens=120).logprobs, found)
