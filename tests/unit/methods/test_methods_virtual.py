"""Prompt and prefix tuning: equal to peft, equal to real tokens in front, scored exactly."""

import copy

import numpy as np
import peft
import pytest
import torch
from architectures import (
    CONFIGS,
    MODELS,
    PLAIN_ONLY,
    VOCABULARY,
    assert_equal,
    draw,
    reference,
    shift,
)
from fewshot.adaptation.batches import training_rows
from fewshot.adaptation.trainable_model import TrainableModel
from fewshot.errors import UserError
from fewshot.methods import (
    head_only,
    mix_and_match,
    p_tuning,
    prefix_tuning,
    prompt_from_text,
    prompt_tuning,
    reparametrised_prefix,
)
from fewshot.models.parts import learned_cache, learned_prefix, tokens_ahead, virtual_ids
from fewshot.prompts.tokenize import Prompts
from fewshot.rng import generator
from fewshot.scoring import routes, score
from fewshot.scoring.reader import PLAIN
from tiny import tiny_tokenizer, write_manifest

TOKENS = 5
SETTINGS = {
    **{"head": "language-model", "virtual_tokens": TOKENS, "encoder": "mlp", "encoder_width": 12},
    **{"bottleneck": 4, "activation": "relu", "scale": 2.0, "initialisation": "lora"},
}
LSTM = {**SETTINGS, "encoder": "lstm", "encoder_width": "1/2"}
OWN = ("opt", "opt-post-norm", "gpt-neox", "llama")
IDS = torch.arange(4, 24).reshape(2, 10)


def made(family, name: str, settings: dict = SETTINGS):
    """Return an adapted and drawn model of a named architecture."""
    model = copy.deepcopy(MODELS[name])
    family.adapt(model, settings)
    family.draw(model, generator("initial", name))
    return model


def drawn() -> dict[str, tuple[int, ...]]:
    """Return the vocabulary tokens that both families start from."""
    return {
        name: tuple(generator("initial", name).integers(VOCABULARY, size=TOKENS).tolist())
        for name in CONFIGS
    }


DRAWN = drawn()


def logits(model) -> torch.Tensor:
    """Return logits [rows, tokens, vocabulary] at the rows' own tokens."""
    ahead = virtual_ids(model)
    ids = torch.cat([torch.tensor([ahead] * len(IDS), dtype=torch.long), IDS], dim=1)
    given = learned_cache(model, len(IDS))
    return model(input_ids=ids, use_cache=False, **given).logits[:, len(ahead) :]


@pytest.mark.parametrize("name", OWN)
def test_prompt_tuning_equals_peft(name):
    model = made(prompt_tuning, name)
    shift(model)
    theirs = copy.deepcopy(MODELS[name])
    width = theirs.get_input_embeddings().embedding_dim
    config = peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, token_dim=width
    )
    wrapped = peft.get_peft_model(theirs, config).eval()
    learned = model.get_input_embeddings().learned.weight
    wrapped.prompt_encoder["default"].embedding.weight.data.copy_(learned)
    expected = wrapped(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits[:, TOKENS:]
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)
    assert (expected - MODELS[name](input_ids=IDS).logits).abs().max() > 0.01


@pytest.mark.parametrize("name", OWN)
def test_prefix_tuning_equals_peft(name):
    model = made(prefix_tuning, name)
    shift(model)
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS)
    wrapped = peft.get_peft_model(copy.deepcopy(MODELS[name]), config).eval()
    # peft: one row per position; in it layer by layer the keys of all heads, then the values.
    pairs = [torch.stack([keys[0], values[0]]) for keys, values in learned_prefix(model)()]
    table = torch.stack(pairs).permute(3, 0, 1, 2, 4).reshape(TOKENS, -1)
    wrapped.prompt_encoder["default"].embedding.weight.data.copy_(table)
    expected = wrapped(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)
    assert (expected - MODELS[name](input_ids=IDS).logits).abs().max() > 0.01


def copy_encoder(ours, theirs) -> None:
    """Give peft's encoder the weights of the same names."""
    with torch.no_grad():
        for name, each in theirs.named_parameters():
            each.copy_(ours.get_parameter(name))


@pytest.mark.parametrize("settings", [SETTINGS, LSTM], ids=["mlp", "lstm"])
@pytest.mark.parametrize("name", OWN)
def test_p_tuning_equals_peft(name, settings):
    model = made(p_tuning, name, settings)
    shift(model)
    theirs = copy.deepcopy(MODELS[name])
    width = theirs.get_input_embeddings().embedding_dim
    config = peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, token_dim=width,
        encoder_reparameterization_type=settings["encoder"].upper(),
        encoder_hidden_size=width // 2 if settings is LSTM else 12,
    )  # fmt: skip
    wrapped = peft.get_peft_model(theirs, config).eval()
    copy_encoder(model.get_input_embeddings().learned.encoder, wrapped.prompt_encoder["default"])
    given = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    expected = wrapped(**given).logits[:, TOKENS:]
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)
    assert (expected - MODELS[name](input_ids=IDS).logits).abs().max() > 0.01


@pytest.mark.parametrize("name", [*OWN, "gemma3"])
def test_reparametrised_prefixes_equal_peft(name):
    model = made(reparametrised_prefix, name)
    shift(model)
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, encoder_hidden_size=12,
        prefix_projection=True,
    )  # fmt: skip
    wrapped = peft.get_peft_model(copy.deepcopy(MODELS[name]), config).eval()
    copy_encoder(model.learned_prefix.encoder, wrapped.prompt_encoder["default"])
    given = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    torch.testing.assert_close(logits(model), wrapped(**given).logits, rtol=0, atol=1e-5)
    moved = logits(model) - MODELS[name](input_ids=IDS).logits
    assert moved.abs().max() > 0.01


@pytest.mark.parametrize(("family", "settings"), [(p_tuning, SETTINGS), (p_tuning, LSTM),
                                                  (reparametrised_prefix, SETTINGS)])  # fmt: skip
def test_encoders_start_as_pytorch_draws_them(family, settings):
    torch.manual_seed(0)
    wide = {**settings, "virtual_tokens": 400, "encoder_width": 64}
    model, plain = copy.deepcopy(MODELS["opt"]), copy.deepcopy(MODELS["opt"])
    for each in (model, plain):  # peft's own values are PyTorch's.
        each.config.max_position_embeddings = 1000
        position = torch.nn.Embedding(1002, 32)
        each.model.decoder.embed_positions.weight = position.weight
        family.adapt(each, wide)
    family.draw(model, generator("encoder"))
    pairs = zip(model.named_parameters(), plain.parameters(), strict=True)
    for name, ours, theirs in [(n, a, b) for (n, a), b in pairs if a.requires_grad]:
        assert not torch.equal(ours, theirs), name
        near = pytest.approx(theirs.std().item(), rel=0.15 if ours.ndim == 2 else 0.4)
        assert ours.std().item() == near, name
        if "embedding" not in name:
            assert ours.abs().max() <= 1.02 * theirs.abs().max() + 0.01, name


@pytest.fixture
def manifest(tmp_path) -> str:
    """Return the manifest of a tokenizer that gives the vocabulary of these models' ids."""
    tiny_tokenizer("opt").save_pretrained(tmp_path / "tokenizer")
    return write_manifest(tmp_path / "manifest.json", tmp_path / "tokenizer")


def test_prompts_start_from_label_words(manifest):
    """One token for each word, as the mean over what it is cut into; the rest are drawn."""
    ids = tiny_tokenizer("opt")([" Yes", " No not all"], add_special_tokens=False)["input_ids"]
    assert [len(word) for word in ids] == [1, 3]
    start = {"texts": [" Yes", " No not all"], "manifest": manifest}
    settings = {**SETTINGS, "initial_text": "label-words", "start": start}
    model = made(prompt_from_text, "opt", settings)
    words = MODELS["opt"].get_input_embeddings().weight
    found = model.get_input_embeddings().learned.weight
    torch.testing.assert_close(found[0], words[ids[0][0]])
    torch.testing.assert_close(found[1], words[torch.tensor(ids[1])].mean(dim=0))
    torch.testing.assert_close(found[2:], words[torch.tensor(DRAWN["opt"][2:])])


def test_prompts_start_from_the_patterns_text(manifest):
    """Without special tokens, and again from its start; drawn are none of them."""
    ids = tiny_tokenizer("opt")(" ? Answer:", add_special_tokens=False)["input_ids"]
    assert 2 <= len(ids) < TOKENS
    start = {"texts": [" ? Answer:"], "manifest": manifest}
    settings = {**SETTINGS, "initial_text": "pattern", "start": start}
    model = made(prompt_from_text, "llama", settings)
    expected = MODELS["llama"].get_input_embeddings().weight[torch.tensor((ids * 5)[:TOKENS])]
    assert torch.equal(model.get_input_embeddings().learned.weight, expected)
    before = model.get_input_embeddings().learned.weight.detach().clone()
    prompt_from_text.draw(model, generator("initial", "another"))
    assert torch.equal(model.get_input_embeddings().learned.weight, before)
    settings["start"] = {**start, "texts": [""]}
    with pytest.raises(UserError, match="initial_text: the tokenizer has no token for ''; valid:"):
        prompt_from_text.adapt(copy.deepcopy(MODELS["llama"]), settings)


@pytest.mark.parametrize("family", [prompt_tuning, prefix_tuning])
@pytest.mark.parametrize("name", CONFIGS)
def test_both_start_as_the_model_behind_the_drawn_tokens(family, name):
    model = made(family, name)
    ahead = torch.tensor([DRAWN[name]] * len(IDS))
    expected = MODELS[name](input_ids=torch.cat([ahead, IDS], dim=1)).logits[:, TOKENS:]
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 3, 30])
@pytest.mark.parametrize("name", CONFIGS)
def test_prefix_tuning_is_scored_as_real_tokens_are(name, prefix):
    """Routed or plainly; the reference reads whole prompts behind the drawn tokens."""
    rows = [1, 4, 9, 9, 17, 30] + [12] * 3
    prompts = draw(np.random.default_rng(3), prefix, rows, words=((5,), (6, 7, 8)))
    scores = score.score(made(prefix_tuning, name), prompts, batch_tokens=120)
    assert_equal(scores, reference(MODELS[name], prompts.behind(DRAWN[name])))
    assert scores.route == "shared prefix" or (name in PLAIN_ONLY and "plain" in scores.route)


ENCODED = [
    (family, name, prefix)
    for family, prefix in ((reparametrised_prefix, 0), (mix_and_match, 30))
    for name in ("opt", "gpt-neox", "llama", "qwen3", "gemma3")
]


@pytest.mark.parametrize(
    ("family", "name", "prefix"),
    [*((prefix_tuning, name, prefix) for name in CONFIGS for prefix in (0, 30)), *ENCODED],
)
def test_routed_and_plain_scores_of_a_learned_prefix_are_equal(family, name, prefix, monkeypatch):
    model = made(family, name)
    shift(model)
    prompts = draw(np.random.default_rng(4), prefix, [3, 8, 8, 21, 40])
    routed = score.score(model, prompts, batch_tokens=120)
    monkeypatch.setattr(routes, "usable_route", lambda *given: (PLAIN, None))
    plain = score.score(model, prompts, batch_tokens=120)
    assert plain.route == "plain"
    np.testing.assert_allclose(routed.logprobs, plain.logprobs, atol=1e-5, rtol=0)
    np.testing.assert_allclose(routed.logsumexp, plain.logsumexp, atol=1e-5, rtol=0)
    untouched = score.score(MODELS[name], prompts, batch_tokens=120)
    assert np.abs(plain.logprobs - untouched.logprobs).max() > 0.01


ENCODED_TOKENS = [
    *((p_tuning, SETTINGS, name, 20) for name in ("opt", "gpt-neox", "gemma3")),
    *((p_tuning, LSTM, name, 20) for name in ("llama", "qwen3")),
]


@pytest.mark.parametrize(
    ("family", "settings", "name", "tokens"),
    [
        *((prompt_tuning, SETTINGS, name, count) for name in CONFIGS for count in (TOKENS, 20)),
        *ENCODED_TOKENS,
    ],
)
def test_prompt_tuning_is_scored_as_whole_prompts_are(family, settings, name, tokens):
    model = copy.deepcopy(MODELS[name])
    family.adapt(model, {**settings, "virtual_tokens": tokens})
    family.draw(model, generator("initial", name))
    shift(model)
    assert virtual_ids(model) == tuple(range(VOCABULARY, VOCABULARY + tokens))
    prompts = draw(np.random.default_rng(5), 3, [1, 4, 9, 9, 30], words=((5,), (6, 7)))
    prompts = prompts.behind(virtual_ids(model))
    scores = score.score(model, prompts, batch_tokens=120)
    assert_equal(scores, reference(model, prompts))
    shares = tokens + 3 >= 16 and name not in PLAIN_ONLY
    assert (scores.route == "shared prefix") == shares


def test_readouts_tied_to_the_embedding_stay_tied_to_the_vocabulary():
    model = made(prompt_tuning, "opt")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().words.weight
    assert model(input_ids=IDS).logits.shape[-1] == VOCABULARY
    twin = copy.deepcopy(model)
    assert twin.get_output_embeddings().weight is twin.get_input_embeddings().words.weight


@pytest.mark.parametrize("name", OWN)
def test_the_students_gradient_reaches_the_learned_prefix_alone(name):
    model = made(prefix_tuning, name)
    found = {}
    for kind in ("alone", "padded"):
        student = TrainableModel(copy.deepcopy(model))
        ids = IDS if kind == "alone" else torch.cat([IDS, torch.zeros_like(IDS)], dim=1)
        student(ids, torch.tensor([[0, 9], [1, 9]])).logsumexp(dim=-1).sum().backward()
        found[kind] = {n: each.grad for n, each in student.named_parameters() if each.requires_grad}
    assert set(found["alone"]) == {"model.learned_prefix.keys", "model.learned_prefix.values"}
    for key, gradient in found["alone"].items():
        # Every layer, head and position matters.
        assert gradient.abs().amax(dim=-1).min() > 0
        torch.testing.assert_close(found["padded"][key], gradient, rtol=1e-4, atol=1e-6)


def test_learned_positions_count_towards_the_window():
    prompts = draw(np.random.default_rng(6), 0, [156, 3])
    plain = MODELS["llama"]
    assert score.score(plain, prompts, batch_tokens=400)
    message = "row with id 0: its prompt has 161 tokens, the model reads 160"
    model = made(prefix_tuning, "llama")
    with pytest.raises(UserError, match=message):
        score.score(model, prompts, batch_tokens=400)
    longer = prompts.behind(virtual_ids(made(prompt_tuning, "llama")))
    with pytest.raises(UserError, match=message):
        score.score(made(prompt_tuning, "llama"), longer, batch_tokens=400)
    assert tokens_ahead(model) == TOKENS
    for each, ahead in ((prompts, TOKENS), (longer, 0)):
        each = each.with_words([1, 2])
        with pytest.raises(
            UserError, match="training row with id 0 has 161 tokens, the model reads 160"
        ):
            training_rows(each, np.array([0, 1]), 160, ahead)
        assert training_rows(each, np.array([0, 1]), 161, ahead).ids.shape == (2, 1, 161 - ahead)


def test_prompts_stand_behind_other_tokens():
    prompts = Prompts((7,), (1, 2), [(3,)], [((4, 5), (6,))])
    behind = prompts.behind((8, 9))
    assert behind == Prompts((7,), (8, 9, 1, 2), [(3,)], [((4, 5), (6,))])
    assert behind.lengths == [6] and prompts.behind(()) == prompts


def test_a_model_without_a_cache_has_no_prefix_to_learn():
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    config = OpenAIGPTConfig(vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    with pytest.raises(UserError, match=r"'prefix_tuning' finds nothing .*'openai-gpt'; valid: "):
        prefix_tuning.adapt(OpenAIGPTLMHeadModel(config), SETTINGS)


@pytest.mark.parametrize(("name", "fits"), [("mistral", 23), ("gemma2", 23), ("gemma3", 23)])
def test_a_learned_prefix_must_fit_the_sliding_window(name, fits):
    model = copy.deepcopy(MODELS[name])
    prefix_tuning.adapt(model, {**SETTINGS, "virtual_tokens": fits})
    assert tokens_ahead(model) == fits
    with pytest.raises(UserError, match=r"finds nothing .*their sliding windows hold"):
        prefix_tuning.adapt(copy.deepcopy(MODELS[name]), {**SETTINGS, "virtual_tokens": fits + 1})


@pytest.mark.parametrize("family", [prompt_tuning, prefix_tuning, head_only, mix_and_match])
def test_no_family_needs_whole_weights(family):
    """At ZeRO stage 3 the model is in shards, and no engine gathers them yet."""
    from fewshot.models.deepspeed_zero import load_deepspeed
    from fewshot.runtime.processes import ProcessGroup

    deepspeed = load_deepspeed(ProcessGroup())
    whole = made(family, "opt")
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    model = copy.deepcopy(MODELS["opt"])
    deepspeed.zero.Init(module=model, config_dict_or_path=config)
    inner = model.model.decoder.embed_positions.weight
    assert inner.numel() == 0
    family.adapt(model, SETTINGS)
    family.draw(model, generator("initial", "opt"))
    assert inner.numel() == 0, "let go of again"
    for name, each in whole.named_parameters():
        if each.requires_grad:
            torch.testing.assert_close(model.get_parameter(name), each, rtol=0, atol=1e-6)
