"""lm-evaluation-harness as an independent judge: the same prompts, words and models, its numbers.

Real rows, real tokenizers, models of random weights. The judge gets strings only, and tokenizes,
batches and sums by its own code.
"""

import logging
from dataclasses import replace

import numpy as np
import pytest
from benchmarks import cases, shapes
from benchmarks.cases import scorer
from thinned import thinned

huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="lm_eval is not installed")
from lm_eval.api.instance import Instance  # noqa: E402

MODELS = ("tiny-opt", "tiny-pythia")
ROWS = {0: 12, 2: 6, 16: 3}
"""Rows by k, so that the judge, which reads each prompt whole, takes seconds."""
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=MODELS)
def judged(request, shared_data):
    """Return tokenizer, model and judge of one architecture."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    family = shapes.family(request.param)
    model = shapes.build(request.param)
    # The judge sets a padding token on its tokenizer.
    own = cases.tokenizer(shared_data, family)
    judge = huggingface.HFLM(pretrained=model, tokenizer=own, batch_size=3)
    return cases.tokenizer(shared_data, family), model, judge


def verdict(judge, case: cases.Case) -> np.ndarray:
    """Return the judge's log-likelihoods [rows, labels]."""
    requests = [
        Instance("loglikelihood", {}, (case.context + text, word), index)
        for text in case.texts
        for index, word in enumerate(case.pattern.words)
    ]
    answers = judge.loglikelihood(requests, disable_tqdm=True)
    return np.array([logprob for logprob, _ in answers]).reshape(len(case.texts), -1)


def assert_agreement(judged, case: cases.Case) -> np.ndarray:
    """Compare the scorer with the judge, rows by rows; return the log-probabilities."""
    tokenizer, model, judge = judged
    prompts = scorer(tokenizer, case.pattern, case.context, case.texts)
    found = prompts.run(model, batch_tokens=512).logprobs
    expected = verdict(judge, case)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=0)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    gold = np.array(case.labels)
    assert (found.argmax(axis=1) == gold).mean() == (expected.argmax(axis=1) == gold).mean()
    return found


def few(shared_data, tokenizer, task: str, k: int, pattern: str = cases.PATTERN) -> cases.Case:
    case = cases.make_case(shared_data, tokenizer, task, k, pattern)
    assert case.status == "ok"
    return case.take(cases.stratified(case.lengths, ROWS[k]))


@pytest.mark.parametrize(
    ("task", "pattern", "k"),
    thinned(
        [
            ("rte", cases.PATTERN, 0),
            ("rte", "minimal", 2),
            ("rte", cases.PATTERN, 16),
            ("mnli", cases.PATTERN, 2),
            ("mnli", "minimal", 16),
        ],
        [("rte", "minimal", 2)],
        [("rte", cases.PATTERN, 0), ("mnli", "minimal", 16)],
    ),
)
def test_the_judge_finds_the_same_numbers(judged, shared_data, task, pattern, k):
    case = few(shared_data, judged[0], task, k, pattern)
    found = assert_agreement(judged, case)
    assert found.std(axis=0).min() > 100 * TOLERANCE, "the rows could be confused unnoticed"


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("words", "k"),
    [((" Yes", " No, it does not"), 16), ((" not at all", " not", " it is"), 2)],
)
def test_the_judge_sums_the_same_tokens_of_a_word(judged, shared_data, words, k):
    case = few(shared_data, judged[0], "rte", k)
    assert_agreement(judged, replace(case, pattern=replace(case.pattern, words=words)))


def test_the_judge_would_notice_another_context(judged, shared_data):
    """Guards the tests above: a scorer that lost or confused its context would fail them."""
    tokenizer, model, judge = judged
    case = few(shared_data, tokenizer, "rte", 2)
    other = scorer(tokenizer, case.pattern, "", case.texts).run(model, batch_tokens=512)
    assert np.abs(other.logprobs - verdict(judge, case)).max() > 100 * TOLERANCE
