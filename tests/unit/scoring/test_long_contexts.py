"""Contexts that are encoded in chunks: the same scores as whole prompts through transformers."""

import numpy as np
import pytest
import torch
from architectures import GROUPED, MODELS, PLAIN_ONLY, assert_equal, build, draw, reference
from fewshot.scoring import kernels, reader
from fewshot.scoring.prefix_attention import SharedPrefix, routed
from fewshot.scoring.reader import Reader, Route
from fewshot.scoring.score import score
from transformers import Gemma3TextConfig

SLIDING = 24
"""Tokens that the sliding layers of these models see."""
MIXED = build(
    Gemma3TextConfig(
        **GROUPED | {"num_hidden_layers": 4},
        head_dim=8,
        sliding_window=SLIDING,
        layer_types=["sliding_attention", "full_attention"] * 2,
    )
)
LONG = {name: model for name, model in MODELS.items() if name not in PLAIN_ONLY} | {"mixed": MIXED}
ROWS = [30, 9, 1, 31]
WORDS = [(5, 6), (7,)]


@pytest.fixture
def chunked(monkeypatch):
    """Return a function that makes chunks, and pieces of sliding attention, small."""

    def change(chunk: int, span: int = 512, queries: int = 1024) -> None:
        monkeypatch.setattr(reader, "CHUNK", chunk)
        monkeypatch.setattr(kernels, "SPAN", span)
        monkeypatch.setattr(kernels, "QUERIES", queries)

    return change


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(("chunk", "span"), [(16, 512), (30, 7), (64, 10)])
def test_scores_equal_those_of_whole_prompts(chunked, name, chunk, span):
    """Chunks shorter and longer than the windows, the last one a part; windows in pieces."""
    chunked(chunk, span)
    prompts = draw(np.random.default_rng(30), 100, ROWS, WORDS)
    scores = score(LONG[name], prompts, batch_tokens=100)
    assert_equal(scores, reference(LONG[name], prompts))
    assert scores.route == "shared prefix"


@pytest.mark.parametrize("name", ["llama", "gemma2", "mixed"])
def test_chunks_of_any_size_give_the_same(chunked, name):
    prompts = draw(np.random.default_rng(31), 100, ROWS, WORDS)
    found = []
    for chunk in (99, 1, 23, 24, 25, 100, 2048):
        chunked(chunk, span=16, queries=9)
        found.append(score(LONG[name], prompts, batch_tokens=100).logprobs)
    for each in found[:-1]:
        np.testing.assert_allclose(each, found[-1], atol=1e-5, rtol=0)
    assert (found[-2] == found[-1]).all(), "a context of one chunk is read in one piece"


def test_no_call_reads_more_than_a_chunk_and_sliding_layers_hold_what_is_in_reach(chunked):
    chunked(32)
    calls = []
    prompts = draw(np.random.default_rng(32), 100, ROWS, WORDS)
    hook = MIXED.model.register_forward_pre_hook(
        lambda _, given, named: calls.append(tuple(named["input_ids"].shape)), with_kwargs=True
    )
    with torch.no_grad(), routed(MIXED):
        held = Reader(MIXED, prompts, Route(shared=True)).prefix
    hook.remove()
    assert calls == [(1, 32), (1, 32), (1, 32), (1, 4)]
    tokens = [held.layers[layer][0].shape[2] for layer in range(4)]
    assert tokens == [SLIDING - 1, 100, SLIDING - 1, 100]
    assert all(t.is_contiguous() for pair in held.layers.values() for t in pair)
    assert held.layers[0][0].untyped_storage().nbytes() == held.layers[0][0].nbytes


def test_a_window_is_read_within_its_reach_only(chunked, monkeypatch):
    """Of each piece of queries: its own keys and the window before, however long the context."""
    chunked(64, span=16)
    most, true = [], torch.nn.functional.scaled_dot_product_attention

    def spy(query, key, *rest, **named):
        most.append((query.shape[2], key.shape[2]))
        return true(query, key, *rest, **named)

    monkeypatch.setattr(kernels.functional, "scaled_dot_product_attention", spy)
    prompts = draw(np.random.default_rng(33), 128, ROWS, WORDS)
    with torch.no_grad(), routed(MIXED):
        Reader(MIXED, prompts, Route(shared=True))
    assert max(most) == (16, 16 + SLIDING - 1)
    assert len(most) == 2 * 128 / 16


def test_a_window_of_one_token_holds_nothing():
    held = SharedPrefix(length=10)
    held.keep(0, [torch.ones(1, 2, 4, 8)] * 2, 1)
    assert held.layers[0][0].shape[2] == 0


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("span", [3, 512])
def test_attention_within_a_window_is_that_of_a_mask(chunked, span, softcap):
    chunked(2048, span)
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 2, 20, 8), torch.randn(1, 2, 29, 8), torch.randn(1, 2, 29, 8)
    before = torch.arange(9, 29)[:, None] - torch.arange(29)
    mask = ((before >= 0) & (before < 7))[None, None]
    expected, _ = kernels.attend_plainly(q, k, v, False, 0.3, mask, softcap)
    found = kernels.attend_within(q, k, v, 7, 0.3, softcap)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_fewer_queries_are_held_where_keys_are_many():
    assert [kernels.at_once(torch.empty(1, 1, n, 1)) for n in (1, 2048, 4096, 2**15)] == [
        1024, 1024, 512, 64,
    ]  # fmt: skip
