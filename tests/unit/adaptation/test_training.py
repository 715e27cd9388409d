"""The loop equals plain PyTorch: same losses, same weights; and its rules hold."""

import copy
import math
import tempfile
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from architectures import MODELS
from fewshot.adaptation import setup, training
from fewshot.adaptation.job import AdaptationJob
from fewshot.adaptation.learning_rate import rate
from fewshot.methods import lora
from fewshot.models.heads import ClassificationHead
from fewshot.prompts.patterns import best_words
from fewshot.rng import generator
from job_files import PATTERN
from safetensors.torch import load_file
from seed_runs import K, a_job, reading
from thinned import thinned
from tiny import KINDS, TARGETS, tiny_model, tiny_tokenizer

ARCHITECTURES = ("llama", "qwen3", "gemma2", "gemma3", "olmo2")
"""Models of more embeddings than their tokenizer has tokens; all but two are tied."""


def new_model(kind: str) -> torch.nn.Module:
    return tiny_model(kind) if kind in KINDS else copy.deepcopy(MODELS[kind])


def train(kind: str, job: AdaptationJob, model=None, seed: int = 0):
    """Return the final state by name, the mean loss of each epoch and the result."""
    torch.set_num_threads(1)
    model = model or new_model(kind)
    made = setup.set_up(reading(job, tiny_tokenizer(kind)), lambda: model)
    with tempfile.TemporaryDirectory() as folder:
        result = training.train_seed(made, seed, Path(folder))
        curve = result.curves[result.curves["evaluation_set"] == "train"]
        return state_of(result, seed, Path(folder)), -curve["mean_logprob"].to_numpy(), result


def state_of(result, seed: int, folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "state.safetensors"
    result.files[f"seed{seed}.safetensors"](path)
    return load_file(path)


def plain(model, forward, job: AdaptationJob, targets, seed: int = 0) -> tuple[dict, list[float]]:
    """Train with nothing but PyTorch: rows one batch at a time, padded, attention masked."""
    tokenizer = tiny_tokenizer(model.config.model_type)
    rows, settings = job.shots[seed], job.settings
    texts = [f"{a} {b} ?" for a, b in zip(rows["text_a"], rows["text_b"], strict=True)]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    steps, step, losses = 3 * math.ceil(K / 4), 0, []
    model.train()
    for epoch in range(1, settings["epochs"] + 1):
        order, total = generator("batches", "task", seed, epoch).permutation(K), 0.0
        for start in range(0, K, 4):
            batch = order[start : start + 4]
            longest = max(len(ids[i]) for i in batch)
            padded = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in batch])
            last = torch.tensor([len(ids[i]) - 1 for i in batch])
            logits = forward(model, padded, last)
            gold = torch.tensor([targets[rows["label"].iloc[i]] for i in batch])
            loss = torch.nn.functional.cross_entropy(logits.float(), gold)
            warmup = math.ceil(0.3 * steps - 1e-9)
            optimizer.param_groups[0]["lr"] = 0.01 * min(1.0, (step + 1) / warmup)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, settings["gradient_clip"])
            optimizer.step()
            step += 1
            total += loss.item() * len(batch)
        losses.append(total / K)
    return {name: each.detach() for name, each in model.named_parameters()}, losses


def vocabulary_logits(model, ids, last):
    """Return what the whole model answers, with whatever it does to its logits."""
    return model(input_ids=ids, use_cache=False).logits[torch.arange(len(last)), last]


def words_of(kind: str) -> list[int]:
    return tiny_tokenizer(kind).convert_tokens_to_ids(["ĠYes", "ĠNo"])


def assert_equal_states(found: dict, expected: dict, tolerance: float = 1e-5) -> None:
    """Compare states, without the biases of attention keys.

    Softmax does not depend on them, so that their gradient is rounding, which Adam scales up.
    """
    assert found
    for name, each in found.items():
        if not name.endswith(("k_proj.bias", "query_key_value.bias")):
            torch.testing.assert_close(each, expected[name], rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [*KINDS, *ARCHITECTURES])
def test_full_fine_tuning_equals_plain_pytorch(kind):
    """With soft caps, norms of queries and keys, and scaled or tied embeddings, trained once."""
    job = a_job()
    state, losses, _ = train(kind, job)
    expected, curve = plain(new_model(kind), vocabulary_logits, job, words_of(kind))
    np.testing.assert_allclose(losses, curve, rtol=0, atol=1e-6)
    assert len(state) == len(expected)
    assert_equal_states(state, {f"model.{n}": each for n, each in expected.items()})
    assert losses[-1] < losses[0] - 0.5


def test_tied_label_words_are_told_apart_by_the_row_not_by_the_label():
    kind, job = "opt", a_job(learning_rate=0.0)
    model, (yes, no) = tiny_model(kind), words_of(kind)
    with torch.no_grad():
        readout = model.get_output_embeddings().weight
        readout[no] = readout[yes]
    _, _, result = train(kind, job, model)
    rows = result.curves[result.curves["evaluation_set"] == "train"]
    shots = job.shots[0]
    tied = [np.zeros(len(shots))] * 2
    right = best_words(tied, shots["id"].to_numpy()) == shots["label"].to_numpy()
    assert right.sum() != (shots["label"] == 0).sum(), "the first label would do as well"
    assert set(rows["correct"]) == {right.sum()}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_clipped_as_in_pytorch(kind):
    job = a_job(gradient_clip=0.5, learning_rate=0.01)
    state, losses, _ = train(kind, job)
    expected, curve = plain(tiny_model(kind), vocabulary_logits, job, words_of(kind))
    np.testing.assert_allclose(losses, curve, rtol=0, atol=1e-5)
    assert_equal_states(state, {f"model.{n}": each for n, each in expected.items()}, 1e-5)
    free, _, _ = train(kind, a_job())
    with pytest.raises(AssertionError):
        assert_equal_states(state, free, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_bitfit_equals_plain_pytorch_on_biases(kind):
    job = a_job(family="bitfit")
    model = tiny_model(kind)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    state, losses, _ = train(kind, job, model)
    reference = tiny_model(kind)
    for name, each in reference.named_parameters():
        each.requires_grad_(name.endswith("bias"))
    expected, curve = plain(reference, vocabulary_logits, job, words_of(kind))
    np.testing.assert_allclose(losses, curve, rtol=0, atol=1e-6)
    assert_equal_states(state, {f"model.{n}": each for n, each in expected.items()})
    assert all(torch.equal(each, before[name]) for name, each in model.named_parameters())


@pytest.mark.parametrize("kind", [*KINDS, *ARCHITECTURES])
def test_lora_equals_peft_in_plain_pytorch(kind):
    targets = TARGETS.get(kind, ["q_proj", "v_proj"])
    job = a_job(family="lora", targets=targets)
    state, losses, _ = train(kind, job)
    wrapped = peft.get_peft_model(
        new_model(kind),
        peft.LoraConfig(r=2, lora_alpha=4, target_modules=targets),
    )
    lora.draw(wrapped, generator("initial", "tiny", 0))
    expected, curve = plain(wrapped, vocabulary_logits, job, words_of(kind))
    np.testing.assert_allclose(losses, curve, rtol=0, atol=1e-6)
    assert_equal_states(
        state, {n.replace("base_model.model.", "model.", 1): e for n, e in expected.items()}
    )


@pytest.mark.parametrize("kind", ["opt", "qwen3", "gemma2", "gemma3"])
def test_a_tied_readout_alone_is_trained_apart_from_the_embeddings(kind):
    job = a_job(family="head_only")
    state, losses, _ = train(kind, job)
    reference = new_model(kind).requires_grad_(False)
    head = reference.get_output_embeddings()
    assert head.weight is reference.get_input_embeddings().weight
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    expected, curve = plain(reference, vocabulary_logits, job, words_of(kind))
    np.testing.assert_allclose(losses, curve, rtol=0, atol=1e-6)
    assert list(state) == ["model.lm_head.weight"]
    assert_equal_states(state, {f"model.{n}": each for n, each in expected.items()})


class Classifier(torch.nn.Module):
    """A backbone with a head, written apart from the code under test."""

    def __init__(self, kind: str):
        super().__init__()
        model = tiny_model(kind)
        self.config, self.base = model.config, model.base_model
        self.head = ClassificationHead(32, 2, 0.0, torch.float32)
        self.head.draw(0.1, generator("initial", "tiny", 0))

    def forward(self, ids, last):
        hidden = self.base(input_ids=ids, attention_mask=None).last_hidden_state
        return self.head(hidden[torch.arange(len(last)), last])


@pytest.mark.parametrize("kind", KINDS)
def test_vanilla_fine_tuning_equals_plain_pytorch(kind):
    job = a_job(head="classification")
    state, losses, _ = train(kind, job)
    expected, curve = plain(Classifier(kind), lambda model, *batch: model(*batch), job, [0, 1])
    np.testing.assert_allclose(losses, curve, rtol=0, atol=1e-6)
    inner = "model.model." if kind == "opt" else "model.gpt_neox."
    renamed = {name.replace("base.", inner, 1): each for name, each in expected.items()}
    assert state.keys() == renamed.keys()
    assert_equal_states(state, renamed)


def test_bitfit_trains_the_classification_head_too():
    _, _, result = train("opt", a_job(family="bitfit", head="classification"))
    parts = result.facts["parameters"]
    assert {"head.dense", "head.out"} < set(parts["modules"])
    assert parts["trainable"] == 2 * 288 + 32 + 32 * 32 + 32 + 2 * 32 + 2


@pytest.mark.parametrize("stage", thinned([1, 2, 3], [1], [3]))
def test_every_zero_stage_gives_the_same_training(stage):
    state, losses, result = train("opt", a_job(gradient_clip=1.0))
    other, curve, sharded = train("opt", a_job(stage, gradient_clip=1.0))
    np.testing.assert_allclose(curve, losses, rtol=0, atol=1e-6)
    assert_equal_states(other, state, 1e-5)
    columns = ["logprob_0", "logprob_1", "logsumexp"]
    np.testing.assert_allclose(
        sharded.predictions[columns], result.predictions[columns], rtol=0, atol=1e-4
    )


@pytest.mark.slow
def test_bfloat16_trains_at_stage_1():
    model = tiny_model("opt").to(torch.bfloat16)
    _, losses, _ = train("opt", a_job(1, dtype="bfloat16", epochs=6), model)
    _, expected, _ = train("opt", a_job(epochs=6))
    np.testing.assert_allclose(losses, expected, rtol=0.1, atol=0.1)


def test_dropout_is_on_in_training_and_belongs_to_the_seed():
    _, off, _ = train("opt", a_job())
    model = tiny_model("opt", dropout=0.2)
    _, on, _ = train("opt", a_job(), model)
    _, again, _ = train("opt", a_job(), tiny_model("opt", dropout=0.2))
    assert (on == again).all() and (np.abs(on - off) > 1e-3).all()


def test_kept_epochs_are_the_best_in_domain_and_the_last():
    job = a_job(epochs=6, learning_rate=0.02)
    _, _, result = train("opt", job)
    own = result.curves[result.curves["evaluation_set"] == "task"]
    correct = own.groupby("epoch")["correct"].sum()
    best = int(correct.idxmax())  # the earliest of equals
    kept = sorted(result.predictions["epoch"].unique())
    assert kept == sorted({best, 6})
    for column, epoch in (("last", 6), ("best", best)):
        assert (result.predictions[column] == (result.predictions["epoch"] == epoch)).all()
    counted = result.predictions.groupby(["epoch", "evaluation_set"], observed=True).size()
    assert set(counted.xs("task", level=1)) == {24} and set(counted.xs("other", level=1)) == {11}
    assert sorted(result.curves["epoch"].unique()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("head", ["language-model", "classification"])
def test_inputs_without_content_are_scored_with_the_weights_of_each_kept_epoch(head):
    job = a_job(epochs=3, head=head)
    _, _, result = train("opt", job)
    found = result.facts["content_free"]
    kept = sorted(result.predictions["epoch"].unique())
    assert list(found) == [str(epoch) for epoch in kept]
    assert np.shape(list(found[str(kept[-1])].values())) == (3, len(job.labels))
    if head == "language-model":
        state, _, _ = train("opt", job)
        model = new_model("opt")
        missing = model.load_state_dict(
            {name.removeprefix("model."): each for name, each in state.items()}, strict=False
        )
        assert not missing.unexpected_keys
        tokenizer = tiny_tokenizer("opt")
        words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
        for text, ranks in found["3"].items():
            ids = tokenizer(f"{text} {text} ?", return_tensors="pt")["input_ids"]
            with torch.no_grad():
                expected = torch.log_softmax(model.eval()(ids).logits[0, -1], -1)[words]
            np.testing.assert_allclose(ranks, expected.numpy(), atol=1e-5)


def test_the_training_curve_counts_the_draw():
    _, losses, result = train("opt", a_job(epochs=12))
    rows = result.curves[result.curves["evaluation_set"] == "train"]
    assert (rows["n"] == K).all() and rows["label"].isna().all()
    assert (rows["correct_vocabulary"] <= rows["correct"]).all()
    assert rows["correct_vocabulary"].iloc[-1] == K and losses[-1] < 0.1


@pytest.mark.parametrize("family", ["full", "lora", "prompt_tuning", "prefix_tuning"])
def test_the_manifest_counts_what_was_trained_and_read(family):
    settings = {"targets": TARGETS["opt"], "virtual_tokens": 4, "epochs": 3}
    job = a_job(family=family, **settings)
    _, _, result = train("opt", job)
    facts, tokenizer = result.facts, tiny_tokenizer("opt")
    ahead = 4 if family == "prompt_tuning" else 0

    def lengths(rows):
        texts = [PATTERN.query(row.text_a, row.text_b) for row in rows.itertuples()]
        return np.array([ahead + len(tokenizer(text)["input_ids"]) for text in texts])

    shots = lengths(job.shots[0])
    assert facts["training"] == {
        "epochs": 3, "rows": K, "tokens": shots.sum(), "squares": (shots**2).sum(),
        "learned_keys": 4 if family == "prefix_tuning" else 0,
    }  # fmt: skip
    kept = result.predictions["epoch"].nunique()
    assert facts["scored_rows"] == (3 + kept - 1) * 35
    assert facts["kept_bytes"] == 4 * facts["parameters"]["trainable"]
    for each in job.evaluation:
        found = facts["scoring"][each.name]
        assert found["rows"] == len(each.rows) and found["shared_tokens"] >= 1 + ahead
        own = lengths(each.rows) - found["shared_tokens"]
        assert found["own_tokens"] == own.sum() and found["own_squares"] == (own**2).sum()


def test_the_rate_rises_over_the_warmup_and_stays():
    settings = {"learning_rate": 2.0, "warmup": 0.1}
    rates = [rate(step, 40, settings) for step in range(6)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert rate(0, 40, {"learning_rate": 2.0, "warmup": 0.0}) == 2.0
