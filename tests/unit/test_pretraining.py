"""Pre-training of the embedded models: what documents say, and what the heads start as."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fewshot.documents import ANSWER, CUE, IGNORE, KINDS, WORD, Corpus, wrong_words
from fewshot.embedded import PATTERNS, Recipe, Stage, build_model, build_tokenizer
from fewshot.pretraining import train

FAMILIES = ("opt", "gpt_neox")


@pytest.fixture(scope="module", params=FAMILIES)
def corpus(request):
    recipe = Recipe(request.param, 16, pool=300)
    return Corpus(recipe, build_tokenizer(request.param), 0)


@pytest.mark.parametrize(
    ("hypothesis", "construction", "expected"),
    [
        ("The doctor saw the judge.", "entailed", {}),
        ("The pilot saw the baker.", "replaced", {"pilot": 1, "baker": 1}),
        ("The judge saw the doctor.", "swapped", {"doctor": 2}),
        ("The doctor never saw the judge.", "negated", {"saw": 3}),
        ("The pilot slept.", "replaced", {"pilot": 1, "slept": 1}),
    ],
)
def test_wrong_words_are_those_that_were_changed(hypothesis, construction, expected):
    premise = "The old doctor saw the judge near the park."
    row = SimpleNamespace(premise=premise, hypothesis=hypothesis, construction=construction)
    assert wrong_words(row) == expected


@pytest.mark.parametrize("length", [0, 200])
@pytest.mark.parametrize("pattern", range(len(PATTERNS)))
def test_documents_follow_their_rule(corpus, pattern, length):
    stage = Stage(1, overlap_share=0.5, flipped_share=0.5)
    seen = set()
    for _ in range(40):
        ids, roles, classes, rules = corpus.document(stage, length, pattern)
        kinds, labels = (
            classes[roles == ANSWER] % len(KINDS),
            classes[roles == ANSWER] // len(KINDS),
        )
        overlap, flipped = rules[0] % 2, rules[0] // 2
        expected = np.where(kinds == 2, 1 - overlap, kinds > 0) ^ flipped
        assert (labels == expected).all()
        assert ids[roles == ANSWER].tolist() == [corpus.words[pattern][each] for each in labels]
        assert (classes[roles == CUE][: len(kinds)] == kinds).all()
        assert ((classes == IGNORE) == ~np.isin(roles, (ANSWER, CUE, WORD))).all()
        assert len(ids) == length if length else (roles == ANSWER).sum() == 1
        seen.add(rules[0])
    assert seen == {0, 1, 2, 3}


def test_labels_under_a_prior_have_nothing_to_do_with_the_pairs(corpus):
    stage = Stage(1, prior_share=1.0, prior=(6.0, 0.7))
    found = [corpus.document(stage, 300, 0) for _ in range(60)]
    assert {int(document[3, 0]) for document in found} == {4}
    answers = np.concatenate([document[2][document[1] == ANSWER] for document in found])
    kinds, labels = answers % len(KINDS), answers // len(KINDS)
    assert 0.05 < labels.mean() < 0.25
    assert abs(labels[kinds == 0].mean() - labels[kinds > 0].mean()) < 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_head_looks_at_the_token_before(family):
    model = build_model(Recipe(family, 64), build_tokenizer(family), 0).eval()
    model.set_attn_implementation("eager")
    ids = torch.arange(100, 140)[None]
    with torch.no_grad():
        attention = model(input_ids=ids, output_attentions=True).attentions[0][0]
    before = attention[0].diagonal(-1)
    assert before[3:].mean() > 0.5
    assert (attention[1, 5:].argmax(1) < torch.arange(5, 40)).all(), "the second looks further back"


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_reproducible_and_leaves_no_auxiliary_weights(family):
    stage = Stage(2, lengths=(64,), tokens=128)
    recipe = Recipe(family, 16, layers=5, judge_layers=(1, 2, 3, 4), stages=(stage,), pool=60)
    first, second = (train(recipe, 0)[0].state_dict() for _ in range(2))
    assert first.keys() == build_model(recipe, build_tokenizer(family), 0).state_dict().keys()
    for name, value in first.items():
        assert value.isfinite().all()
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
