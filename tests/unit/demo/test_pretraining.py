"""Pre-training of the embedded models: what documents say, and what the heads start as."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fewshot.demo.documents import ANSWER, CUE, IGNORE, KINDS, WORD, Corpus, wrong_words
from fewshot.demo.pretraining import train
from fewshot.demo.recipes import PATTERNS, SEPARATOR, Recipe, Stage, build_model, build_tokenizer

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


def attention(family: str, ids: torch.Tensor, start: int = 0) -> tuple[torch.Tensor, ...]:
    """Return each layer's attention [heads, tokens, tokens] of a model before training."""
    recipe = Recipe(family, 64, heads=2 if family == "opt" else 4)
    model = build_model(recipe, build_tokenizer(family), 0).eval()
    model.set_attn_implementation("eager")
    places = {"position_ids": start + torch.arange(len(ids))[None]} if family == "opt" else {}
    with torch.no_grad():
        found = model(input_ids=ids[None], output_attentions=True, **places).attentions
    return tuple(layer[0] for layer in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_heads_look_at_the_tokens_before(family):
    found = attention(family, torch.arange(100, 140))
    second = found[1][0] if family == "opt" else found[0][1]
    assert found[0][0].diagonal(-1)[3:].mean() > 0.5
    assert (second[5:].argmax(1) < torch.arange(5, 40)).all(), "the second looks further back"
    if family == "opt":
        assert second.diagonal(-2)[3:].mean() > 0.5


def test_words_find_each_other_behind_the_same_separator():
    """Rather than in other pairs, and the separator where there is no such word; in the mean."""
    tokenizer = build_tokenizer("opt")
    corpus = Corpus(Recipe("opt", 64, pool=200), tokenizer, 0)
    ids, roles, _, _ = torch.from_numpy(corpus.document(Stage(1), 256, 0))
    places = torch.arange(len(ids))
    opens = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids(["</s>", SEPARATOR])))
    last = torch.where(opens, places, 0).cummax(0).values
    layers = attention("opt", ids, start=300)
    finding = layers[0][1][places, last]
    assert finding.mean() > 0.9
    matching, equal = layers[1][1], (ids[:, None] == ids) & (places[:, None] > places)
    here = equal & (last[:, None] == last)
    asked = (roles == WORD) & (last > 0)
    found, alone = asked & here.any(1), asked & ~here.any(1)
    assert (matching * here).sum(1)[found].mean() > 0.3, "equal words in the pair"
    assert (matching * (equal & ~here)).sum(1)[found].mean() < 0.2, "rather than in others"
    assert matching.diagonal()[found].mean() < 0.2, "or the word itself"
    sink = matching[places, last]
    assert sink[alone].mean() > sink[found].mean() + 0.1, "the separator"


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_reproducible_and_leaves_no_auxiliary_weights(family):
    stage = Stage(2, lengths=(64,), tokens=128)
    recipe = Recipe(family, 64, layers=5, judge_layers=(1, 2, 3, 4), stages=(stage,), pool=60)
    first, second = (train(recipe, 0)[0].state_dict() for _ in range(2))
    assert first.keys() == build_model(recipe, build_tokenizer(family), 0).state_dict().keys()
    for name, value in first.items():
        assert value.isfinite().all()
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
