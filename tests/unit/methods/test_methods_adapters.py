"""Bottleneck adapters: layer by layer equal to the published formulas, and scored exactly."""

import copy

import numpy as np
import pytest
import torch
from architectures import MODELS, assert_equal, draw, reference, shift
from fewshot.adaptation.trainable_model import TrainableModel, check_checkpointing
from fewshot.errors import UserError
from fewshot.methods import adapter, mix_and_match
from fewshot.models.parts import backbone
from fewshot.rng import generator
from fewshot.scoring import score
from fewshot.scoring.routes import plan_reading
from torch.nn import functional

IDS = torch.arange(4, 24).reshape(2, 10)
FORMS = ("houlsby", "pfeiffer", "parallel")
BOTH = {"sublayers": ["attention", "feed-forward"]}
SETTINGS = {
    **BOTH, "form": "houlsby", "bottleneck": "1/8", "activation": "gelu", "scale": 2.0,
    "initialisation": "houlsby",
}  # fmt: skip


def opt_feed_forward(layer, states):
    return layer.fc2(torch.relu(layer.fc1(states)))


def feed_forward(layer, states):
    return layer.mlp(states)


# Names of attention, its norm and the feed-forward block's; the block; the norms of what they give.
LAYERS = {
    "opt": ("self_attn", "self_attn_layer_norm", "final_layer_norm", opt_feed_forward),
    "gpt-neox": ("attention", "input_layernorm", "post_attention_layernorm", feed_forward),
    "llama": ("self_attn", "input_layernorm", "post_attention_layernorm", feed_forward),
    "qwen3": ("self_attn", "input_layernorm", "post_attention_layernorm", feed_forward),
    "gemma3": (
        *("self_attn", "input_layernorm", "pre_feedforward_layernorm", feed_forward),
        *("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
    "olmo2": (
        *("self_attn", "", "", feed_forward),
        *("post_attention_layernorm", "post_feedforward_layernorm"),
    ),
}


def layers_of(model) -> list:
    parts = backbone(model).modules()
    return list(next(part for part in parts if isinstance(part, torch.nn.ModuleList)))


def adapted_model(name: str, family=adapter, **settings):
    model = copy.deepcopy(MODELS[name])
    family.adapt(model, {**SETTINGS, **settings})
    family.draw(model, generator("adapter", name))
    return model


def bottleneck(weights: dict, states):
    """Return 2 (U gelu(D x + d) + u)."""
    inner = functional.gelu(states @ weights["down.weight"].T + weights["down.bias"])
    return 2.0 * (inner @ weights["up.weight"].T + weights["up.bias"])


def weights_of(layer) -> list[dict]:
    """Return the weights of a layer's adapters: attention's, the feed-forward block's."""
    found = {}
    for name, each in layer.named_parameters():
        if ".adapter." in name:
            place, _, own = name.partition(".adapter.")
            found.setdefault(place, {})[own] = each
    return list(found.values())


def with_adapter(form: str, weights: dict, given, stream, inputs, norm=lambda states: states):
    """Return what a sub-layer adds to the stream, which it gives without its adapter."""
    reads = {"houlsby": given, "pfeiffer": norm(stream + given), "parallel": inputs}
    return given + bottleneck(weights, reads[form])


def by_hand(base, layer, name, form, stream, named):
    """Return what a layer gives, from the modules of the untouched one and the formulas."""
    first, second = weights_of(layer)
    attention, before, between, block, *after = LAYERS[name]
    modules = dict(base.named_modules())
    norms = [modules[n] if n else torch.nn.Identity() for n in (before, between)]
    afters = [modules[n] for n in after] or [torch.nn.Identity()] * 2
    inputs = norms[0](stream)
    given = afters[0](modules[attention](hidden_states=inputs, **named)[0])
    added = with_adapter(form, first, given, stream, inputs)
    # GPT-NeoX's sub-layers read the same stream.
    below = stream if name == "gpt-neox" else stream + added
    given = afters[1](block(base, norms[1](below)))
    result = below + with_adapter(form, second, given, below, below)
    return result + added if name == "gpt-neox" else result


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_equals_the_formula(name, form):
    model = adapted_model(name, form=form)
    shift(model)
    seen = []
    for layer in layers_of(model):
        layer.register_forward_hook(
            lambda module, given, named, output: seen.append((given[0], named, output)),
            with_kwargs=True,
        )
    changed = (model(input_ids=IDS).logits - MODELS[name](input_ids=IDS).logits).abs().max()
    assert changed > 0.1
    pairs = zip(layers_of(MODELS[name]), layers_of(model), seen, strict=True)
    for base, layer, (stream, named, output) in pairs:
        expected = by_hand(base, layer, name, form, stream, named)
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_norms_behind_the_sum_are_kept(form):
    """OPT-350m's: h = LN(r + y), and of Pfeiffer's form y + A(LN(r + y)) in place of y."""
    model = adapted_model("opt-post-norm", form=form)
    shift(model)
    seen = []
    layer, base = layers_of(model)[0], layers_of(MODELS["opt-post-norm"])[0]
    layer.register_forward_hook(
        lambda module, given, named, output: seen.append((given[0], named, output)),
        with_kwargs=True,
    )
    model(input_ids=IDS)
    ((stream, named, output),) = seen
    first, second = weights_of(layer)
    given, norm = base.self_attn(hidden_states=stream, **named)[0], base.self_attn_layer_norm
    stream = norm(stream + with_adapter(form, first, given, stream, stream, norm))
    given, norm = opt_feed_forward(base, stream), base.final_layer_norm
    expected = norm(stream + with_adapter(form, second, given, stream, stream, norm))
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["opt", "gpt-neox", "gemma3"])
def test_one_sublayer_may_have_all(name):
    model = adapted_model(name, sublayers=["feed-forward"], form="parallel", bottleneck=3)
    places = [len(weights_of(layer)) for layer in layers_of(model)]
    assert places == [1, 1, 1]
    (weights,) = weights_of(layers_of(model)[0])
    assert weights["down.weight"].shape == (3, 32) and weights["up.bias"].shape == (32,)


def test_adapters_start_as_published():
    """Within two deviations of 0.01; normal of 0.02; or as LoRA, which changes nothing."""
    for start, least, deviation in (("houlsby", 0.015, 0.0088), ("bert", 0.03, 0.02)):
        weights = adapted_model("opt", initialisation=start, bottleneck=32)
        drawn = [p for n, p in weights.named_parameters() if ".adapter." in n]
        found = torch.cat([p.detach().flatten() for p in drawn if p.ndim == 2])
        assert (
            found.std().item() == pytest.approx(deviation, rel=0.03) and found.abs().max() > least
        )
        assert not any(p.any() for p in drawn if p.ndim == 1)
        assert found.abs().max() <= 0.02 or start == "bert"
    model = adapted_model("opt", initialisation="lora", form="parallel")
    for name, each in model.named_parameters():
        if ".adapter.down.weight" in name:
            assert each.abs().max() <= 32**-0.5 and each.std().item() == pytest.approx(
                96**-0.5, rel=0.15
            )
    assert torch.equal(model(input_ids=IDS).logits, MODELS["opt"](input_ids=IDS).logits)


PREFIX = {"virtual_tokens": 5, "encoder_width": 8}


def test_mix_and_match_is_a_prefix_and_parallel_adapters():
    model = adapted_model("llama", mix_and_match, **PREFIX, form="houlsby")
    shift(model)
    alone = adapted_model("llama", sublayers=["feed-forward"], form="parallel")
    names = {name for name, each in alone.named_parameters() if each.requires_grad}
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert {name for name in trained if not name.startswith("learned_prefix.")} == names
    assert len(trained) > len(names)
    with pytest.raises(UserError, match="valid: checkpointing = 0"):
        check_checkpointing(TrainableModel(model), "mix_and_match")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["opt", "gpt-neox", "llama", "qwen3", "gemma3"])
def test_adapted_models_are_scored_as_whole_prompts_are(name, form):
    """Behind a prefix that is read once, in packed and forked sequences, the last layer trimmed."""
    model = adapted_model(name, form=form)
    shift(model)
    rows = [1, 4, 9, 9, 17, 30] + [12] * 3
    prompts = draw(np.random.default_rng(3), 30, rows, words=((5,), (6, 7, 8)))
    assert plan_reading(model, prompts).route.trims
    scores = score.score(model, prompts, batch_tokens=120)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(model, prompts))


def test_taps_hold_nothing_after_a_pass():
    """A model is copied for each seed, and a kept state could not be."""
    model = adapted_model("opt", form="pfeiffer")
    TrainableModel(model)(IDS, torch.tensor([[0, 9]])).sum().backward()
    taps = [part for part in model.modules() if isinstance(part, adapter.Tap)]
    assert len(taps) == 6 and all(tap.seen is None for tap in taps)
    twin = copy.deepcopy(model)
    shift(twin)
    assert not torch.equal(twin(input_ids=IDS).logits, model(input_ids=IDS).logits)


def test_activations_may_be_recomputed():
    model = adapted_model("gpt-neox", form="parallel").train()
    found = []
    for again in (False, True):
        student = TrainableModel(copy.deepcopy(model))
        if again:
            check_checkpointing(student, "adapter")
            student.model.activation_checkpointing_enable({"use_reentrant": False})
        student(IDS, torch.tensor([[0, 9], [1, 9]])).logsumexp(-1).sum().backward()
        found.append({n: p.grad for n, p in student.named_parameters() if p.requires_grad})
    assert found[0].keys() == found[1].keys() and len(found[0]) == 24
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=1e-7)


def test_layers_that_are_not_known_are_refused():
    from transformers import BloomConfig, BloomForCausalLM

    model = BloomForCausalLM(BloomConfig(vocab_size=20, hidden_size=8, n_layer=2, n_head=2))
    with pytest.raises(UserError, match=r"'adapter' finds nothing .*'bloom'; valid: models whose"):
        adapter.adapt(model, SETTINGS)
    with pytest.raises(UserError, match=r"'adapter' finds nothing .*'gpt_oss'"):
        adapter.adapt(copy.deepcopy(MODELS["gpt-oss"]), SETTINGS)
