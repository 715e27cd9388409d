"""What changes outside the task, against transformers run directly and computed by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fewshot import schemas, storage
from fewshot.adaptation import setup, training
from fewshot.adaptation.forgetting import Elsewhere, ReadingMode, read_elsewhere
from fewshot.errors import UserError
from fewshot.prompts.pieces import pieces_of, start_of
from fewshot.prompts.set_queries import SetQueries
from fewshot.runtime import peaks
from fewshot.runtime.stop import Interrupted
from fewshot.scoring.score import score
from job_files import PATTERN, some_rows
from seed_runs import StopAfter, a_job, outcome, reading
from tiny import KINDS, TARGETS, WORDS, tiny_model, tiny_tokenizer

SEED, LONGEST = 0, 20
TEXTS = [" ".join(WORDS[i % 20 : i % 20 + 9]) * n for i, n in enumerate((1, 1, 4, 2, 1))]
CELL = {"protocol": "fair", "task": "task", "model": "m", "method": "x", "pattern": "p", "k": 10}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> SimpleNamespace:
    """Return the inputs of a job that measures a text and another task, with 0 and 2 shots."""
    folder = tmp_path_factory.mktemp("elsewhere")
    documents = pd.DataFrame({"id": np.arange(5) + 7, "text": TEXTS})
    storage.write_table(folder / "text.parquet", documents, schemas.TEXTS)
    rows, train = some_rows(14, "elsewhere"), some_rows(9, "drawn")
    # One row is longer than the window with two shots, not without.
    rows.loc[3, "text_a"] = "some " * 112
    storage.write_table(folder / "rows.parquet", rows, schemas.ROWS)
    storage.write_table(folder / "train.parquet", train, schemas.ROWS)
    draw = pd.DataFrame({"position": [0, 1], "id": [103, 106], "label": train["label"][[3, 6]]})
    checksum = storage.frame_checksum(draw.itertuples(index=False))
    storage.write_table(folder / "shots.parquet", draw, schemas.SHOTS, checksum=checksum)
    return SimpleNamespace(
        texts=[str(folder / "text.parquet")],
        other_rows=[str(folder / "rows.parquet")],
        other_train=[str(folder / "train.parquet")],
        other_shots=[str(folder / "shots.parquet")],
    )


def elsewhere_of(files, kind: str, pattern=PATTERN):
    told = {
        "texts": [{"text": "wiki", "tokens": LONGEST}],
        "tasks": [{"task": "elsewhere", "base": "elsewhere", "pattern": pattern.__dict__}],
        "k": [0, 2],
        "rows": 500,
    }
    smk = SimpleNamespace(params=SimpleNamespace(forgetting=told), input=files)
    return read_elsewhere(smk, [SEED], SetQueries(tiny_tokenizer(kind)), 128)


def before(files, kind: str) -> pd.DataFrame:
    """Return what is measured of the model as it is, as the job that does so scores it."""
    model = tiny_model(kind)

    def scored(_, prompts, pattern):
        return score(model, prompts, batch_tokens=256)

    return elsewhere_of(files, kind).measure(CELL, [SEED], ReadingMode(), scored)


def after(files, tmp_path, kind: str, stop=None, **settings):
    """Return the result of a trained seed that measures, and its job."""
    torch.set_num_threads(1)
    job = reading(a_job(**{"epochs": 1, **settings}), tiny_tokenizer(kind))
    job = replace(job, elsewhere=elsewhere_of(files, kind) if files else None)
    model = tiny_model(kind)  # Made in shards, it would have other weights.
    made = setup.set_up(job, lambda: model)
    return training.train_seed(made, SEED, tmp_path, stop=stop), made


def by_transformers(model, tokenizer, text: str) -> tuple[float, int]:
    """Return the sum of the losses of a text's tokens by transformers' own `labels=`, which shifts
    logits by one itself, piece by piece behind the token that starts a text."""
    ids, total = tokenizer(text, add_special_tokens=False)["input_ids"], 0.0
    for at in range(0, len(ids), LONGEST):
        piece = torch.tensor([[tokenizer.bos_token_id, *ids[at : at + LONGEST]]])
        with torch.no_grad():
            total += model(input_ids=piece, labels=piece).loss.item() * (piece.shape[1] - 1)
    return total, len(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_text_losses_are_those_of_transformers(files, kind):
    """OPT's tokenizer starts a text with a token, GPT-NeoX's does not; long texts are in pieces."""
    found = before(files, kind).query("kind == 'text'")
    model, tokenizer = tiny_model(kind), tiny_tokenizer(kind)
    assert found["id"].tolist() == [7, 8, 9, 10, 11]
    for row, text in zip(found.itertuples(), TEXTS, strict=True):
        total, tokens = by_transformers(model, tokenizer, text)
        assert row.tokens == tokens and row.loss == pytest.approx(total / tokens, abs=1e-5)
    # By hand, one document: −log p of each token given the start and all before it.
    ids = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0]
    by_hand = [
        float(torch.logsumexp(logits[i], 0) - logits[i, token]) for i, token in enumerate(ids)
    ]
    assert found["loss"].iloc[0] == pytest.approx(np.mean(by_hand), abs=1e-5)
    shifted_wrong = [
        float(torch.logsumexp(logits[i + 1], 0) - logits[i + 1, token])
        for i, token in enumerate(ids)
    ]
    assert abs(np.mean(shifted_wrong) - np.mean(by_hand)) > 0.01, "the test would see the mistake"


NEUTRAL = {
    "lora": {"targets": TARGETS["opt"]},
    "ia3": {"targets": ["k_proj", "v_proj", "fc1"]},
}


@pytest.mark.parametrize("family", NEUTRAL)
def test_an_untrained_neutral_method_changes_nothing_at_all(files, tmp_path, family):
    settings = {"family": family, "learning_rate": 0.0, "weight_decay": 0.0, **NEUTRAL[family]}
    result, _ = after(files, tmp_path, "opt", **settings)
    columns = ["source", "shots", "id", "tokens", "loss", "correct"]
    pd.testing.assert_frame_equal(result.forgetting[columns], before(files, "opt")[columns])
    trained, _ = after(files, tmp_path / "b", "opt", **{**settings, "learning_rate": 0.05})
    assert not trained.forgetting["loss"].equals(result.forgetting["loss"])


def test_before_is_without_virtual_tokens_which_are_not_neutral(files, tmp_path):
    """The published mistake: with the untrained prompt in front, "before" is another number."""
    settings = {"family": "prompt_tuning", "virtual_tokens": 3, "learning_rate": 0.0}
    result, made = after(files, tmp_path, "opt", **settings)
    texts = result.forgetting.query("kind == 'text'")
    plain = before(files, "opt").query("kind == 'text'")
    assert (abs(texts["loss"] - plain["loss"]) > 1e-3).all()
    # As deployed: in front of each piece, by transformers with the same embeddings.
    tokenizer, run = (
        tiny_tokenizer("opt"),
        made.origin.start(SEED, a_job().placement, torch.device("cpu")),
    )
    virtual = list(made.prompts.virtual_ids)
    ids = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    whole = torch.tensor([[*virtual, tokenizer.bos_token_id, *ids]])
    with torch.no_grad():
        logits = run.model.eval()(input_ids=whole).logits[0, len(virtual) : -1]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids)).item()
    assert texts["loss"].iloc[0] == pytest.approx(loss, abs=1e-5)


def test_other_tasks_are_asked_as_they_are_in_context(files):
    """Argmax of the label words by the model's own forward pass, without and with shots."""
    found = before(files, "gpt_neox").query("kind == 'task'")
    model, tokenizer = tiny_model("gpt_neox"), tiny_tokenizer("gpt_neox")
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    rows, train = some_rows(14, "elsewhere"), some_rows(9, "drawn")
    context = PATTERN.context_of(train.iloc[[3, 6]])
    for shots, start in ((0, ""), (2, context)):
        part = found[found["shots"] == shots]
        for row, answer in zip(rows.itertuples(), part["correct"], strict=True):
            if row.Index == 3:
                assert pd.isna(answer) == bool(shots), "it fits without the context alone"
                continue
            ids = tokenizer(start + PATTERN.query(row.text_a, row.text_b))["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -1, words]
            assert answer == (int(logits.argmax()) == row.label)


def test_what_no_draw_changes_is_measured_once(files):
    elsewhere, model = elsewhere_of(files, "opt"), tiny_model("opt")
    (other,) = elsewhere.tasks
    drawn = {**other.shots, (2, 1): other.shots[2, SEED]}
    elsewhere = replace(elsewhere, tasks=[replace(other, shots=drawn)])

    def scored(_, prompts, pattern):
        return score(model, prompts, batch_tokens=256)

    found = elsewhere.measure(CELL, [SEED, 1], ReadingMode(), scored)
    counts = found.groupby(["kind", "shots", "seed"]).size().to_dict()
    assert counts == {
        ("text", 0, 0): 5, ("task", 0, 0): 14, ("task", 2, 0): 14, ("task", 2, 1): 14
    }  # fmt: skip


@pytest.mark.slow
def test_a_classification_head_has_losses_of_texts_and_no_answers(files, tmp_path):
    """By the readout over the vocabulary, which no step has used: whole, and in shards."""
    settings = {"head": "classification", "family": "full"}
    whole, shards = (
        after(files, tmp_path / str(stage), "opt", placement=stage, **settings)[0].forgetting
        for stage in (0, 3)
    )
    assert whole.query("kind == 'task'")["correct"].isna().all()
    losses = whole.query("kind == 'text'")["loss"]
    assert losses.notna().all()
    np.testing.assert_allclose(shards.query("kind == 'text'")["loss"], losses, atol=1e-4)
    plain = before(files, "opt").query("kind == 'text'")["loss"]
    assert (abs(losses - plain) > 1e-3).all()


@pytest.mark.slow
def test_seeds_that_are_trained_together_are_measured_as_each_alone(files, tmp_path):
    settings = {"family": "lora", "targets": TARGETS["opt"], "seeds": (SEED, 1)}
    job = reading(a_job(epochs=1, **settings), tiny_tokenizer("opt"))
    elsewhere = elsewhere_of(files, "opt")
    (other,) = elsewhere.tasks
    drawn = {**other.shots, (2, 1): other.shots[2, SEED]}
    job = replace(job, elsewhere=replace(elsewhere, tasks=[replace(other, shots=drawn)]))
    made = setup.set_up(job, lambda: tiny_model("opt"))
    members = [setup.Member(made, seed) for seed in (SEED, 1)]
    for name, result in training.train_stack(members, tmp_path / "both"):
        alone = training.train_seed(made, name, tmp_path / f"alone{name}").forgetting
        assert result.facts["together"] == [SEED, 1]
        np.testing.assert_allclose(result.forgetting["loss"], alone["loss"], atol=1e-5)
        assert result.forgetting["correct"].equals(alone["correct"])


@pytest.mark.slow
def test_asking_changes_no_byte_and_survives_an_interruption(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"family": "lora", "targets": TARGETS["opt"], "curve_rows": 8}
    plain, _ = after(None, tmp_path / "plain", "opt", **settings)
    looks = StopAfter(10**6)
    whole, _ = after(files, tmp_path / "whole", "opt", stop=looks, **settings)
    assert plain.forgetting is None and len(whole.forgetting) == 5 + 2 * 14
    assert whole.facts["forgetting"] == {"wiki": {"documents": 5, "pieces": 6, "cut": 1}}
    assert "forgetting" not in plain.facts
    expected, total = outcome(plain), 10**6 - looks.looks
    assert outcome(whole) == expected
    for back in (1, 8):  # In the last of all scoring, and while texts are scored.
        folder = tmp_path / f"parts{back}"
        with pytest.raises(Interrupted):
            after(files, folder, "opt", stop=StopAfter(total - back), **settings)
        result, _ = after(files, folder, "opt", **settings)
        assert result.facts["resumed_after_steps"] == [3]
        assert outcome(result) == expected
        pd.testing.assert_frame_equal(result.forgetting, whole.forgetting)


@pytest.mark.skipif(not peaks.CLEAR.exists(), reason="only Linux counts the peak anew")
def test_peak_memory_is_that_of_the_task_alone(files, tmp_path, monkeypatch):
    """Of later seeds of the process, too."""
    measure = Elsewhere.measure

    def hungry(*given):
        assert np.ones((1024, 2**17)).any()  # One GiB.
        return measure(*given)

    monkeypatch.setattr(Elsewhere, "measure", hungry)
    monkeypatch.setitem(peaks._BEFORE, "cpu", 0)
    peaks.forget(torch.device("cpu"))
    before = peaks.largest() / 2**20
    for number in range(2):
        result, _ = after(files, tmp_path / str(number), "opt", family="bitfit")
        assert before < result.facts["peak_memory_mib"] < before + 500


@pytest.mark.parametrize(
    "what", ["text 'wiki', document 9, piece 2", "task 'elsewhere', row with id 103"]
)
def test_a_score_that_is_not_finite_is_one_line_and_not_unfit(files, what):
    """A document or row that did not fit is left out and counted; a broken model is told."""
    model = tiny_model("opt")

    def broken(_, prompts, pattern):
        scores = score(model, prompts, batch_tokens=256)
        if (pattern is None) == what.startswith("text"):
            scores.logprobs[3] = np.nan
        return scores

    expected = f"fair/task/m/x/p/10: seed 0: {what}: the score is not finite \\(1 such"
    with pytest.raises(UserError, match=expected):
        elsewhere_of(files, "opt").measure(CELL, [SEED], ReadingMode(), broken)


def test_label_words_of_another_task_are_compared_before_anything_is_loaded(files):
    with pytest.raises(UserError, match=r"'minimal', tokenizer of .* ' Yes No' begins with"):
        elsewhere_of(files, "opt", replace(PATTERN, words=(" Yes", " Yes No")))


def test_a_text_that_cannot_be_started_or_has_no_token_is_one_line():
    tokenizer = tiny_tokenizer("gpt_neox")
    with pytest.raises(UserError, match=r"text 'w': document 3 has no tokens"):
        pieces_of(tokenizer, ["a", ""], [2, 3], 10, 100, "text 'w'")
    assert start_of(tokenizer, "") == (tokenizer.bos_token_id,)
    tokenizer.bos_token = None
    assert start_of(tokenizer, "") == (tokenizer.eos_token_id,)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no token that begins or ends a text"):
        start_of(tokenizer, "")
