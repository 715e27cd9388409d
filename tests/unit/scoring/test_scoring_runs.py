"""What the scorer does about windows, label words, lack of memory, several processes and logs."""

import dataclasses

import numpy as np
import pytest
import torch
from architectures import MODELS, assert_equal, build, draw, reference
from fewshot.errors import UserError
from fewshot.runtime.processes import ProcessGroup
from fewshot.scoring import passes, reader
from fewshot.scoring.score import score


def test_a_prompt_longer_than_the_window_is_refused():
    prompts = draw(np.random.default_rng(9), 100, [5, 61, 60])
    with pytest.raises(
        UserError, match=r"row with id 1: its prompt has 161 tokens, the model reads 160"
    ):
        score(MODELS["opt"], prompts, batch_tokens=64)
    longest = draw(np.random.default_rng(9), 100, [5, 60])
    assert_equal(
        score(MODELS["opt"], longest, batch_tokens=64),
        reference(MODELS["opt"], longest),
    )


def test_label_words_count_for_the_window():
    prompts = draw(np.random.default_rng(9), 100, [5, 59], [(5, 6, 7), (8,)])
    with pytest.raises(UserError, match=r"row with id 1: its prompt has 161 tokens"):
        score(MODELS["opt"], prompts, batch_tokens=64)
    # Behind a shared prefix both words are packed into a sequence that is longer than the window.
    prompts = draw(np.random.default_rng(9), 100, [5, 58], [(5, 6, 7), (8, 9, 10)])
    scores = score(MODELS["opt"], prompts, batch_tokens=64)
    assert scores.route == "shared prefix"
    assert_equal(scores, reference(MODELS["opt"], prompts))


def test_words_may_differ_from_row_to_row():
    """As they do where a tokenizer merges words with the end of the prompt."""
    prompts = draw(np.random.default_rng(11), 40, [5, 9, 3])
    words = [((5,), (6,)), ((7, 8), (9,)), ((5, 6, 7), (8, 9))]
    prompts = dataclasses.replace(prompts, words=words)
    scores = score(MODELS["llama"], prompts, batch_tokens=64)
    assert_equal(scores, reference(MODELS["llama"], prompts))
    assert scores.tokens.tolist() == [[1, 1], [2, 1], [3, 2]]


def test_words_are_ranked_by_what_a_character_has():
    prompts = draw(np.random.default_rng(12), 40, [5, 9, 3, 8], [(5, 6, 7), (8,)])
    scores = score(
        MODELS["opt"], prompts, batch_tokens=64, rank_by="characters", characters=(12, 3)
    )
    np.testing.assert_allclose(scores.ranking, scores.logprobs / np.array([12, 3]), rtol=1e-6)
    assert (scores.ranking.argmax(1) != scores.logprobs.argmax(1)).any()


def test_words_are_ranked_by_sum_or_mean():
    prompts = draw(np.random.default_rng(12), 40, [5, 9, 3, 8], [(5, 6, 7), (8,)])
    by_sum = score(MODELS["opt"], prompts, batch_tokens=64)
    by_mean = score(MODELS["opt"], prompts, batch_tokens=64, rank_by="mean")
    assert (by_sum.logprobs == by_mean.logprobs).all()
    assert (by_sum.ranking == by_sum.logprobs).all()
    np.testing.assert_allclose(by_mean.ranking, by_sum.logprobs / np.array([3, 1]), rtol=1e-6)
    assert (by_sum.ranking.argmax(1) != by_mean.ranking.argmax(1)).any()


def test_prompts_without_words_are_refused():
    with pytest.raises(ValueError, match="label words"):
        prompts = dataclasses.replace(draw(np.random.default_rng(0), 0, [5]), words=[])
        score(MODELS["opt"], prompts, batch_tokens=64)


@pytest.fixture
def little_memory(monkeypatch):
    """Let batches of more than two sequences run out of memory, or of fewer if set so."""
    limit = [2]
    hidden = reader.Reader.hidden

    def failing(self, batch):
        if len(batch) > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden(self, batch)

    monkeypatch.setattr(reader.Reader, "hidden", failing)
    return limit


@pytest.mark.parametrize("prefix", [0, 40])
def test_a_batch_that_does_not_fit_is_halved_and_counted(prefix, little_memory, caplog):
    prompts = draw(np.random.default_rng(13), prefix, [5] * 7, [(5, 6), (8,)])
    scores = score(MODELS["opt"], prompts, batch_tokens=10_000)
    assert_equal(scores, reference(MODELS["opt"], prompts))
    assert scores.splits == 3 and scores.ties == 0
    assert "memory ran out on 7 rows" in caplog.text
    little_memory[0] = 99
    assert score(MODELS["opt"], prompts, batch_tokens=10_000).splits == 0


@pytest.fixture
def only_calls(monkeypatch):
    """Return a function that lets memory run out after so many batches; checks read three."""

    def limit(calls: int, error=torch.OutOfMemoryError) -> None:
        hidden, seen = reader.Reader.hidden, []

        def failing(self, batch):
            seen.append(batch)
            if len(seen) > calls:
                raise error("out of memory")
            return hidden(self, batch)

        monkeypatch.setattr(reader.Reader, "hidden", failing)

    return limit


def test_a_row_that_does_not_fit_alone_is_named(only_calls):
    model, prompts = build("opt"), draw(np.random.default_rng(14), 40, [5, 9])
    only_calls(3, MemoryError)
    with pytest.raises(
        UserError, match=r"row with id 1: reading its 9 tokens alone takes more memory"
    ):
        score(model, prompts, batch_tokens=5)


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_memory_does_not_decide_how_rows_are_read(only_calls, calls):
    """Neither in the check of the readout nor in the probes, of which the second is trimmed."""
    only_calls(calls)
    with pytest.raises(UserError, match="memory ran out on a single row, before the first batch"):
        score(MODELS["opt"], draw(np.random.default_rng(0), 40, [5]), batch_tokens=64)


def test_a_batch_of_shared_weights_is_not_halved(only_calls):
    prompts = draw(np.random.default_rng(13), 40, [5] * 7)
    only_calls(3)
    with pytest.raises(UserError, match=r"batch of 7 rows of up to 5 tokens.*lower batch_tokens"):
        score(MODELS["opt"], prompts, batch_tokens=1000, processes=ProcessGroup(0, 2), sharded=True)


def test_a_context_that_does_not_fit_alone_is_named(monkeypatch):
    def failing(self, *_):
        raise MemoryError

    prompts = draw(np.random.default_rng(13), 40, [5])
    monkeypatch.setattr(reader.Reader, "_call", failing)
    with pytest.raises(UserError, match="the context of 40 tokens alone does not fit in memory"):
        reader.Reader(MODELS["opt"], prompts, reader.Route(shared=True))


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch):
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(reader.Reader, "hidden", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        score(MODELS["opt"], draw(np.random.default_rng(0), 0, [5]), batch_tokens=64)


def test_ties_are_counted():
    base = score(MODELS["opt"], draw(np.random.default_rng(15), 0, [5, 9]), batch_tokens=64)
    tied = dataclasses.replace(base, logprobs=np.float32([[-1.0, -1.000015], [-1.0, -1.1]]))
    assert tied.ties == 1
    # Means of two and of one token.
    tokens = np.int16([[1, 1], [2, 1]])
    tied = dataclasses.replace(
        base, logprobs=np.float32([[-1, -2], [-4, -2]]), tokens=tokens, rank_by="mean"
    )
    assert tied.ties == 1
    assert dataclasses.replace(base, logprobs=base.logprobs[:, :1], tokens=tokens[:, :1]).ties == 0


@pytest.mark.parametrize("sharded", [False, True])
def test_processes_share_the_batches(sharded, monkeypatch):
    """Each row is read by one process, with the same bytes as one process alone gives it."""
    prompts = draw(np.random.default_rng(16), 40, list(range(1, 30)), [(5, 6), (8,)])
    alone = score(MODELS["gpt-neox"], prompts, batch_tokens=64)
    calls = []
    hidden = reader.Reader.hidden
    monkeypatch.setattr(
        reader.Reader, "hidden", lambda self, batch: calls.append(batch) or hidden(self, batch)
    )
    monkeypatch.setattr(ProcessGroup, "sum", lambda self, numbers: numbers)
    parts, counts = [], []
    for rank in range(3):
        calls.clear()
        processes = ProcessGroup(rank, 3)
        parts.append(
            score(
                MODELS["gpt-neox"], prompts, batch_tokens=64, processes=processes, sharded=sharded
            )
        )
        counts.append(len(calls))
    assert (sum(part.logprobs for part in parts) == alone.logprobs).all()
    assert (sum(part.logsumexp for part in parts) == alone.logsumexp).all()
    owners = sum((part.logprobs != 0).all(axis=1).astype(int) for part in parts)
    assert (owners == 1).all()
    assert not sharded or len(set(counts)) == 1


def test_progress_is_logged(caplog, monkeypatch):
    monkeypatch.setattr(passes, "PROGRESS", 0.0)
    with caplog.at_level("INFO"):
        score(MODELS["opt"], draw(np.random.default_rng(0), 0, [5, 9]), batch_tokens=1)
    assert "1 of 2 rows" in caplog.text and "2 of 2 rows" in caplog.text
