"""Methods that train and read the shots in a context too: what is read, and what follows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import CONFIGS, WINDOW, build
from fewshot.adaptation import forward_pass, training
from fewshot.adaptation.evaluate import score_sets
from fewshot.adaptation.outputs import Phases
from fewshot.adaptation.setup import Member, start_run
from fewshot.adaptation.setup import set_up as set_up_with
from fewshot.errors import UserError
from fewshot.models.parts import learned_prefix
from fewshot.prompts.contexts import others
from fewshot.runtime.stop import Interrupted, Stop
from fewshot.scoring.score import score
from job_files import PATTERN
from seed_runs import K, StopAfter, a_job, outcome, reading, set_up
from tiny import ALL_KINDS, TARGETS, tiny_model, tiny_tokenizer

LORA = {"family": "lora", "targets": TARGETS["opt"]}
TUNED = {"family": "context_tuning", "token_dropout": 0.0}


def started(made):
    return start_run(Member(made, 0), 0, Phases(), Stop())


def in_context(kind, job, model=None):
    """Return the scores of the job's own evaluation set behind all shots, nothing being trained."""
    prompts = set_up(kind, job).prompts.scored(PATTERN.context_of(job.shots[0]))
    return score(model or tiny_model(kind), prompts.whole["task"].prompts, batch_tokens=256)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_before_training_a_learned_context_is_that_of_in_context_learning(kind):
    run = started(set_up(kind, a_job(**TUNED), dropout=0.0))
    context = tiny_tokenizer(kind)(PATTERN.context_of(run.setup.job.shots[0]))["input_ids"]
    # The last token is another where nothing stands behind it, as in inputs without content.
    assert run.ahead == len(context) - 1 == learned_prefix(run.engine.trainable.model).tokens
    found = score_sets(run, run.sets.whole)["task"]
    expected = in_context(kind, run.setup.job)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-5)
    np.testing.assert_allclose(found.logsumexp, expected.logsumexp, atol=1e-5)
    assert (found.best_words(np.arange(24)) == expected.best_words(np.arange(24))).all()


def today(kind, window=WINDOW):
    """Return a model of one of today's architectures, of which Gemma 3 has sliding windows."""
    config = CONFIGS[kind].to_dict() | ({"sliding_window": window} if kind == "gemma3" else {})
    return build(type(CONFIGS[kind])(**config))


@pytest.mark.parametrize("kind", ["qwen3", "gemma3"])
def test_so_it_is_in_todays_architectures(kind):
    made = set_up_with(reading(a_job(**TUNED), tiny_tokenizer("llama")), lambda: today(kind))
    run = started(made)
    found = score_sets(run, run.sets.whole)["task"]
    prompts = made.prompts.scored(PATTERN.context_of(made.job.shots[0])).whole["task"].prompts
    expected = score(today(kind), prompts, batch_tokens=256)
    np.testing.assert_allclose(found.logprobs, expected.logprobs, atol=1e-5)
    ids, places, _ = run.rows.together(np.arange(4))
    seen = run.engine.forward(ids, places, forward_pass.own_shots(run, np.arange(4)))
    unseen = run.engine.forward(ids, places, torch.full((4,), K + 1))
    assert seen.isfinite().all() and not torch.allclose(seen, unseen)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_in_training_a_shot_does_not_see_itself(kind):
    """What its own tokens have for keys and values changes nothing, that of the others does."""
    run = started(set_up(kind, a_job(**TUNED), dropout=0.0))
    prefix, shot = learned_prefix(run.engine.trainable.model), 3
    ids, places, _ = run.rows.together(np.array([shot]))

    def logits():
        return run.engine.forward(ids, places, forward_pass.own_shots(run, np.array([shot])))

    before, own = logits(), prefix.shot_of == shot
    loss = before.logsumexp(dim=-1).sum()
    gradient = torch.autograd.grad(loss, prefix.values)[0].abs().sum(dim=(0, 1, 3))
    assert own.sum() > 3 and (gradient[own] == 0).all() and (gradient[~own] > 0).all()
    with torch.no_grad():
        prefix.keys[:, :, own] += 1.0
        assert torch.equal(logits(), before)
        prefix.keys[:, :, ~own] += 1.0
        assert not torch.allclose(logits(), before)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_hidden_tokens_leave_the_positions_of_others_as_they_are(kind):
    """A row of no shot sees all: its logits are those of the whole text by transformers."""
    run = started(set_up(kind, a_job(**TUNED), dropout=0.0))
    ids, places, _ = run.rows.together(np.array([0]))
    found = run.engine.forward(ids, places, torch.tensor([K + 1]))
    context = tiny_tokenizer(kind)(PATTERN.context_of(run.setup.job.shots[0]))["input_ids"]
    whole = torch.cat([torch.tensor([context[: run.ahead]]), ids], dim=1)
    expected = tiny_model(kind)(whole).logits[0, -1]
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)


def test_dropped_tokens_differ_from_row_to_row_and_step_to_step():
    run = started(set_up("opt", a_job(**{**TUNED, "token_dropout": 0.4}), dropout=0.0))
    prefix = learned_prefix(run.engine.trainable.model)
    first, again = (prefix.seen_by(torch.arange(K), 5)["attention_mask"] for _ in range(2))
    assert first.shape == (K, run.ahead + 5) and (first[:, -5:] == 1).all()
    assert not torch.equal(first, again) and not torch.equal(first[0], first[1])
    others_seen = first[:, :-5][prefix.shot_of[None] != torch.arange(K)[:, None]]
    assert 0.5 < others_seen.double().mean() < 0.7


@pytest.mark.parametrize("settings", [{**TUNED, "token_dropout": 0.2}, {**LORA, "dropout": 0.1,
    "train_context": "others", "score_context": "shots"}], ids=["context", "lora"])  # fmt: skip
def test_an_interrupted_seed_ends_in_the_same_bytes(settings, tmp_path):
    job = a_job(epochs=2, **settings)
    whole = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        training.train_seed(set_up("opt", job), 0, tmp_path / "parts", stop=StopAfter(4))
    assert [*(tmp_path / "parts").glob("seed0.step*")]
    assert outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "parts")) == whole


def test_shots_are_trained_on_behind_the_others():
    made = set_up("opt", a_job(**LORA, train_context="others"))
    shots, (prompts, labels, _) = made.job.shots[0], made.prompts.of_shots(0)
    assert labels.tolist() == shots["label"].tolist()
    for row, suffix in enumerate(prompts.suffixes):
        text = PATTERN.context_of(others(shots, row)) + PATTERN.queries(shots.iloc[[row]])[0]
        assert list(prompts.prefix + suffix) == tiny_tokenizer("opt")(text)["input_ids"]
    assert made.prompts.of_seed(0).sets is made.prompts.bare


def test_the_same_weights_are_scored_with_and_without_the_context(tmp_path):
    """Which is told by the setting alone; behind the context as in-context learning reads rows."""
    jobs = [
        a_job(**LORA, train_context="others", epochs=1, **more)
        for more in ({}, {"score_context": "shots"})
    ]
    bare, shown = (
        training.train_seed(set_up("opt", job, dropout=0.0), 0, tmp_path / str(number))
        for number, job in enumerate(jobs)
    )
    (weights,) = {outcome(result)[2] for result in (bare, shown)}
    assert weights and not bare.predictions["logprob_0"].equals(shown.predictions["logprob_0"])
    run = started(set_up("opt", jobs[1], dropout=0.0))
    expected = in_context("opt", jobs[1])
    np.testing.assert_allclose(
        score_sets(run, run.sets.whole)["task"].logprobs, expected.logprobs, atol=1e-5
    )
    context = PATTERN.context_of(jobs[1].shots[0])
    assert shown.facts["kept_bytes"] == bare.facts["kept_bytes"] + len(context.encode())


def test_a_context_beyond_a_sliding_window_is_one_line():
    made = set_up_with(
        reading(a_job(**TUNED), tiny_tokenizer("llama")), lambda: today("gemma3", 24)
    )
    with pytest.raises(
        UserError, match=r"family 'context_tuning' needs keys and values of all \d+"
    ):
        started(made)


def test_a_shot_sees_no_copies_of_itself():
    """As a factor of the data may make them, in the context that is learned and in prompts."""
    job = a_job(**TUNED)
    twice = job.shots[0].assign(id=[*range(5), *range(5)])
    made = set_up("opt", replace(job, shots={0: twice}))
    read, kinds = made.prompts.of_seed(0), {}
    for token, shot in zip(read.ahead, read.shot_of, strict=True):
        kinds.setdefault(int(shot), []).append(token)
    assert set(kinds) == {-1, *range(5)}
    assert others(twice, 7)["id"].tolist() == [0, 1, 3, 4, 0, 1, 3, 4]
