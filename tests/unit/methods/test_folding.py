"""LoRA and (IA)³ can be folded into the weights: same scores, and nothing beside the weights."""

import copy

import numpy as np
import pytest
import torch
from architectures import MODELS, draw, shift
from fewshot.exchange.folding import fold
from fewshot.methods import ia3, lora, qlora
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
    prompts = draw(np.random.default_rng(3), 30, [1, 4, 9, 17] + [12] * 3, words=((5,), (6, 7)))
    found = score(model, prompts, batch_tokens=120).logprobs
    assert fold(model)
    plain = MODELS[name].state_dict()
    assert model.state_dict().keys() == plain.keys(), "nothing stands beside the weights"
    assert any(not torch.equal(each, plain[key]) for key, each in model.state_dict().items())
    again = score(model, prompts, batch_tokens=120).logprobs
    np.testing.assert_allclose(again, found, rtol=0, atol=1e-5)
    assert np.abs(found - score(MODELS[name], prompts, batch_tokens=120).logprobs).max() > 0.1
    assert not fold(model), "there is nothing left to fold"


def test_what_stands_beside_weights_in_4_bits_is_left_there():
    model = copy.deepcopy(MODELS["opt"])
    qlora.adapt(model, {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": ["q_proj"]})
    before = set(model.state_dict())
    assert not fold(model) and set(model.state_dict()) == before
