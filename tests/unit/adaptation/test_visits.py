"""Steps in the place of epochs, and patterns that are drawn for each row and visit."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from fewshot.adaptation import setup, training
from fewshot.adaptation.batches import epoch_order
from fewshot.adaptation.visits import Visits, visits_of
from fewshot.analysis.flops import ModelSize, TrainingPasses
from fewshot.analysis.run_costs import FlopsModel, _training
from fewshot.prompts.patterns import Pattern
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from job_files import PATTERN
from seed_runs import K, a_job, outcome, reading, set_up
from tiny import tiny_model, tiny_tokenizer

OTHER = replace(PATTERN, name="other", parts=(("the ", "text_b"), (" ", "text_a")), cue=" Answer:")
LONG = replace(OTHER, name="long", words=(" True", " False not"))
THREE = (PATTERN, OTHER, LONG)


def drawing(placement=0, patterns=THREE, **settings):
    return a_job(placement, train_patterns=[asdict(each) for each in patterns], **settings)


def train(job, folder, kind="opt"):
    torch.set_num_threads(1)
    made = setup.set_up(reading(job, tiny_tokenizer(kind)), lambda: tiny_model(kind))
    result = training.train_seed(made, 0, folder)
    return result, result.curves[result.curves["evaluation_set"] == "train"]


def test_training_ends_with_its_steps(tmp_path):
    """10 rows in batches of 4 are 3 steps: the fourth epoch of 10 steps has 4 rows of its 10."""
    job = a_job(epochs=4, steps=10, curve_epochs="last")
    result, curve = train(job, tmp_path / "steps")
    assert result.facts["steps"] == 10 and curve["n"].tolist() == [10, 10, 10, 4]
    assert set(result.predictions["epoch"]) == {4}


def test_steps_of_whole_epochs_are_these_epochs(tmp_path):
    first, second = (
        outcome(training.train_seed(set_up("opt", a_job(**more)), 0, tmp_path / str(len(more))))
        for more in ({}, {"steps": 9})
    )
    assert first == second


def test_each_row_is_visited_once_in_an_epoch_with_a_pattern_of_its_own():
    visits = Visits(18, 4, 30, 150, 3, "task", 7)
    seen = []
    for epoch in range(1, 31):
        batches = visits.of_epoch(epoch)
        order = np.concatenate(batches)
        # The same rows in the same batches as without patterns.
        plain = epoch_order(18, 4, "task", 7, epoch)
        assert all((each % 18 == rows).all() for each, rows in zip(batches, plain, strict=True))
        drawn = generator("patterns", "task", 7, epoch).integers(3, size=18)
        assert (order // 18 == drawn[order % 18]).all()
        seen.append(drawn)
    shares = np.bincount(np.concatenate(seen)) / (18 * 30)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.07)
    assert len({tuple(drawn) for drawn in seen}) == 30, "anew in each epoch"
    assert visits.counts().sum() == 18 * 30
    assert (visits.counts().reshape(3, 18).sum(axis=0) == 30).all()


def test_draws_depend_on_task_and_seed_alone():
    job = drawing()
    visits = visits_of(job, 0)
    assert visits == visits_of(drawing(3, family="lora", learning_rate=0.5), 0)
    other = visits_of(replace(job, shots={1: job.shots[0]}), 1)
    assert any((a != b).any() for a, b in zip(visits.of_epoch(1), other.of_epoch(1), strict=True))


def prompt(pattern: Pattern, row) -> tuple[list[int], list[int]]:
    """Return the tokens of a row with the right word, and where these are predicted."""
    tokenizer = tiny_tokenizer("opt")
    query = pattern.query(row.text_a, row.text_b)
    start = len(tokenizer(query)["input_ids"])
    ids = tokenizer(query + pattern.words[row.label])["input_ids"]
    return ids, list(range(start, len(ids)))


def test_a_visit_reads_the_pattern_that_it_draws(tmp_path):
    """Losses of untrained models, by transformers alone; words are of one and two tokens."""
    job = drawing(learning_rate=0.0, epochs=2)
    _, curve = train(job, tmp_path)
    model, rows = tiny_model("opt"), [*job.shots[0].itertuples()]
    for epoch, found in zip((1, 2), curve["mean_logprob"], strict=True):
        drawn = generator("patterns", "task", 0, epoch).integers(3, size=K)
        logprobs = []
        for row, which in zip(rows, drawn, strict=True):
            ids, places = prompt(THREE[which], row)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
            logprobs.append(np.mean([logits[place - 1, ids[place]].item() for place in places]))
        assert found == pytest.approx(np.mean(logprobs), abs=1e-5)


def test_scored_is_with_the_pattern_of_the_cell(tmp_path):
    """Which changes no weight."""
    job = drawing()
    (own, _), (others, _) = (
        train(replace(job, pattern=pattern), tmp_path / pattern.name) for pattern in THREE[:2]
    )
    for name, result in (("own", own), ("others", others)):
        result.files["seed0.safetensors"](tmp_path / f"{name}.bin")
    first, second = ((tmp_path / f"{name}.bin").read_bytes() for name in ("own", "others"))
    assert first == second
    columns = ["logprob_0", "logprob_1"]
    assert (own.predictions[columns] != others.predictions[columns]).all(axis=None)


def test_however_a_step_is_cut_the_same_patterns_are_read(tmp_path):
    loss = ["vocabulary", "unlikelihood", "length-normalised"]
    _, whole = train(drawing(loss=loss), tmp_path / "whole")
    _, other = train(drawing(Placement(micro_tokens=16), loss=loss), tmp_path / "pieces")
    np.testing.assert_allclose(other["mean_logprob"], whole["mean_logprob"], rtol=0, atol=1e-5)


def test_what_was_read_is_counted_over_all_visits(tmp_path):
    """Means over the epochs, so that these times them is what was read."""
    job = drawing(epochs=4, steps=10)
    result, _ = train(job, tmp_path)
    counted, visits = result.facts["training"], visits_of(job, 0)
    read = [
        (job.shots[0].iloc[number % K], THREE[number // K])
        for epoch in range(1, 5)
        for number in np.concatenate(visits.of_epoch(epoch))
    ]
    lengths = [len(prompt(pattern, row)[0]) - 1 for row, pattern in read]
    answers = [len(prompt(pattern, row)[1]) for row, pattern in read]
    expected = {
        "rows": 34 / 4, "tokens": sum(lengths) / 4, "squares": sum(n**2 for n in lengths) / 4,
        "answers": sum(answers) / 4, "learned_keys": 0, "epochs": 4,
    }  # fmt: skip
    assert counted == pytest.approx(expected)


def test_costs_take_means_over_epochs():
    """Twice 3 rows and once 2 are 8 rows, as often as epochs × means say."""
    model, passes = FlopsModel(ModelSize(100), 2), TrainingPasses(2, 3, 2)
    done = {"rows": 8 / 3, "tokens": 80 / 3, "squares": 800 / 3, "learned_keys": 0, "epochs": 3}
    entry = {"steps": 8, "training": done}
    found = _training({}, entry, model, passes, 10)
    assert found["train_tokens"] == 27 and found["epochs"] == 3
    assert found["flops_train"] == pytest.approx(2 * 2 * 100 * 80 + 2 * 2 * 10 * 8)
