"""AdapterFusion: equal to the published formula, and to one adapter where tasks have the same."""

import copy

import numpy as np
import pytest
import torch
from architectures import MODELS, assert_equal, draw, reference, shift
from fewshot.adaptation.trainable_model import TrainableModel
from fewshot.methods import adapter, adapter_fusion
from fewshot.rng import generator
from fewshot.scoring import score

IDS = torch.arange(4, 24).reshape(2, 10)
NAMES = ["opt", "gpt-neox", "llama", "qwen3", "gemma3"]
SETTINGS = {
    "sublayers": ["attention", "feed-forward"], "form": "pfeiffer", "bottleneck": "1/8",
    "activation": "relu", "scale": 1.0, "initialisation": "bert",
    "start_from": {"tasks": ["one", "two", "three"]},
}  # fmt: skip


def task_adapters(name: str, tasks=("one", "two", "three"), deviation: float = 0.3) -> list[dict]:
    """Return the parameters of each task's adapters, moved away from where they start."""
    model, found = copy.deepcopy(MODELS[name]), []
    adapter.adapt(model, SETTINGS)
    for task in tasks:
        noise = generator("adapters", task)
        with torch.no_grad():
            for each in model.parameters():
                if each.requires_grad:
                    each.copy_(torch.from_numpy(noise.normal(0.0, deviation, each.shape)))
        state = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        found.append(state)
    return found


def fused_model(name: str, tasks: list[dict], **settings):
    model = copy.deepcopy(MODELS[name])
    adapter_fusion.adapt(model, {**SETTINGS, **settings})
    adapter_fusion.draw(model, generator("fusion"))
    adapter_fusion.place(model, [state.__getitem__ for state in tasks])
    return model


def fusions_of(model) -> list:
    return [each for each in model.modules() if isinstance(each, adapter_fusion.Fusion)]


def published(query, key, key_bias, value, query_bias, states, given):
    """Return what BertFusion (adapters 1.3.0) gives of states [rows, tokens, width] and adapters'
    outputs [rows, tokens, tasks, width], without the residual."""
    query_layer = states @ query.T + query_bias
    key_layer, value_layer = given @ key.T + key_bias, given @ value.T
    scores = torch.squeeze(
        torch.matmul(query_layer.unsqueeze(2), key_layer.transpose(-2, -1)), dim=2
    )
    shares = torch.softmax(scores, dim=-1)
    return torch.squeeze(torch.matmul(shares.unsqueeze(2), value_layer), dim=2)


@torch.no_grad()
def test_a_fusion_is_the_published_formula():
    model = fused_model("llama", task_adapters("llama"))
    shift(model)
    fusion, states = fusions_of(model)[1], torch.randn(2, 5, 32)
    given = torch.stack([source(states) for source in fusion.sources], dim=2)
    bias = torch.randn(32)
    expected = published(
        fusion.query, fusion.key, bias, fusion.value, fusion.query_bias, states, given
    )
    assert (expected - given.mean(dim=2)).abs().max() > 0.1
    torch.testing.assert_close(fusion(states), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("name", NAMES)
def test_tasks_with_one_adapter_have_that_adapter(name, form):
    """Whatever Q and K are, its output is what each place adds; V is the identity."""
    (state,) = task_adapters(name, ["one"])
    model = fused_model(name, [state] * 3, form=form)
    alone = copy.deepcopy(MODELS[name])
    adapter.adapt(alone, {**SETTINGS, "form": form})
    alone.load_state_dict(state, strict=False)
    for fusion in fusions_of(model):
        fusion.query.mul_(10)
        fusion.value.copy_(torch.eye(32))
    logits = alone(input_ids=IDS).logits
    assert (logits - MODELS[name](input_ids=IDS).logits).abs().max() > 0.1
    torch.testing.assert_close(model(input_ids=IDS).logits, logits, rtol=1e-4, atol=1e-4)


def test_it_starts_as_published():
    model = fused_model("opt", task_adapters("opt"))
    for fusion in fusions_of(model):
        assert not fusion.query_bias.any()
        values = fusion.value.detach()
        assert torch.equal(values, torch.full((32, 32), 1e-6).fill_diagonal_(1.0))
        drawn = torch.cat([fusion.query.detach(), fusion.key.detach()])
        assert drawn.std().item() == pytest.approx(0.02, rel=0.1)
    assert len(fusions_of(model)) == 6


def test_a_value_matrix_is_drawn_to_the_identity():
    """0.01 ‖I - V‖² is in the loss: its gradient is 0.02 (V - I), with recomputed layers too."""
    for again in (False, True):
        student = TrainableModel(fused_model("opt", task_adapters("opt"))).train()
        shift(student)
        if again:
            student.model.activation_checkpointing_enable({"use_reentrant": False})
        student(IDS, torch.tensor([[0, 9]]))
        penalty = adapter_fusion.penalty(student.model)
        identity = torch.eye(32)
        fusions = fusions_of(student)
        expected = sum(((identity - each.value) ** 2).sum().item() for each in fusions)
        assert penalty.item() == pytest.approx(0.01 * expected, rel=1e-5)
        penalty.backward()
        for each in fusions:
            torch.testing.assert_close(each.value.grad, 0.02 * (each.value - identity))
            assert each.query.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_fused_models_are_scored_as_whole_prompts_are(name):
    model = fused_model(name, task_adapters(name, deviation=0.1))
    noise = generator("value")
    with torch.no_grad():
        for fusion in fusions_of(model):
            fusion.query.mul_(10)
            fusion.value += torch.from_numpy(noise.normal(0.0, 0.1, (32, 32)).astype(np.float32))
    prompts = draw(np.random.default_rng(3), 30, [1, 4, 9, 9, 17] + [12] * 3, words=((5,), (6, 7)))
    scores = score.score(model.eval(), prompts, batch_tokens=120)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(model, prompts))


def test_adapters_that_were_not_placed_pass_for_nothing():
    model = copy.deepcopy(MODELS["opt"])
    names = adapter_fusion.adapt(model, SETTINGS)
    adapter_fusion.draw(model, generator("fusion"))
    assert model(input_ids=IDS).logits.isnan().all()
    assert len(names) == 6 * 4 and not any("sources" in name for name in names)
