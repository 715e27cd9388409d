"""The synthetic corpora: balance, determinism, disjoint splits, overlap, subcases."""

import re

import numpy as np
import pandas as pd
import pytest
from fewshot.data.synthetic import (
    CONSTRUCTIONS,
    HANS_TEMPLATES,
    HEURISTICS,
    INTRANSITIVE,
    LABELS,
    NEGATION,
    NOUNS,
    TRANSITIVE,
    generate,
    overlap,
    split_of,
    vocabulary,
)
from fewshot.errors import UserError


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("size", [1, 31, 300])
def test_labels_are_balanced_to_within_one_row(kind, size):
    counts = np.bincount(generate(kind, "train", size, 3)["label"], minlength=len(LABELS[kind]))
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("kind", LABELS)
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(kind):
    first = generate(kind, "train", 50, 0)
    pd.testing.assert_frame_equal(first, generate(kind, "train", 50, 0))
    assert not first["premise"].equals(generate(kind, "train", 50, 1)["premise"])
    assert list(first.columns[:3]) == ["idx", "premise", "hypothesis"]
    assert first["idx"].tolist() == list(range(50))


def test_a_known_row_stays_the_same():
    row = generate("mnli-like", "train", 3, 0).iloc[0]
    assert split_of(row["premise"]) == "train"
    assert row["premise"] == "The actor admired the banker and the student never slept."
    assert row["hypothesis"] == "The actor admired the banker."
    assert row["construction"] == "entailed"


@pytest.mark.parametrize("kind", LABELS)
def test_splits_share_no_premise_whatever_the_seeds(kind):
    premises = [
        set(generate(kind, split, 300, seed)["premise"])
        for split, seed in [("train", 0), ("validation", 0), ("pretrain", 5)]
    ]
    assert not premises[0] & premises[1]
    assert not premises[0] & premises[2]
    assert not premises[1] & premises[2]


@pytest.mark.parametrize("kind", LABELS)
def test_no_pair_appears_twice(kind):
    assert not generate(kind, "train", 2000, 0).duplicated(["premise", "hypothesis"]).any()


@pytest.mark.parametrize("kind", ["mnli-like", "rte-like"])
def test_overlap_goes_with_entailment_in_the_training_corpora(kind):
    frame = generate(kind, "train", 1000, 0)
    shared = pd.Series(map(overlap, frame["premise"], frame["hypothesis"]))
    by = frame["construction"]
    assert shared[by == "entailed"].min() == shared[by == "swapped"].min() == 1.0
    assert shared[by == "replaced"].max() < 1.0
    # All but the words "never" of a changed denial are in the premise, and it may hold another.
    assert 0.0 < (shared[by == "negated"] < 1.0).mean() < 0.5
    assert np.corrcoef(shared, frame["label"] == 0)[0, 1] > 0.3


def events(text: str) -> set[tuple]:
    """Read (subject, verb, object or None, denied) off a sentence, or several."""
    found, subjects, joined, verbs = set(), [], [], TRANSITIVE + INTRANSITIVE
    for clause in re.split(r"\.|\band\b|\bwhile\b|\bbecause\b", text.replace("The ", "the ")):
        words = [word for word in clause.split() if word in (*NOUNS, *verbs, NEGATION)]
        place = next((i for i, word in enumerate(words) if word in verbs), None)
        # A person next to another, "near the judge", has no part in the event.
        people = words[:1] if words and words[0] in NOUNS else []
        if place is None:
            joined = people
            continue
        subjects, joined = [*joined, *people] or subjects, []
        objects = [word for word in words[place:] if word in NOUNS] or [None]
        found |= {(who, words[place], objects[0], NEGATION in words) for who in subjects}
    return found


@pytest.mark.parametrize("kind", ["mnli-like", "rte-like"])
def test_constructions_name_how_a_hypothesis_was_made(kind):
    frame = generate(kind, "train", 2000, 1)
    for row in frame.itertuples():
        ((*said, denied),), told = events(row.hypothesis), events(row.premise)
        if (*said, denied) in told:
            made = {"entailed", "neutral"}
        elif (*said, not denied) in told:
            made = {"negated"}
        else:
            known = {word for event in told for word in event}
            made = {"swapped" if set(said) <= known | {None} else "replaced"}
        assert row.construction in made, row
        assert (row.construction in CONSTRUCTIONS) == (row.label == len(LABELS[kind]) - 1)
    shares = frame.loc[frame["construction"].isin(CONSTRUCTIONS), "construction"].value_counts(True)
    assert all(abs(shares[name] - share) < 0.06 for name, share in CONSTRUCTIONS.items())


@pytest.mark.weekly
@pytest.mark.parametrize("kind", ["mnli-like", "rte-like"])
def test_the_hypothesis_alone_says_nothing_about_the_label(kind):
    """As many of each label deny, name an intransitive event, or name any one word."""
    frame = generate(kind, "train", 6000, 0)
    frame = frame[frame["construction"] != "neutral"]
    denied = frame["hypothesis"].str.contains(NEGATION)
    short = frame["hypothesis"].str.replace(f" {NEGATION}", "").str.split().str.len() < 4
    for said in (denied, short):
        shares = said.groupby(frame["label"]).mean()
        assert shares.max() - shares.min() < 0.04
    assert denied.groupby(frame["construction"]).mean().between(0.42, 0.58).all()


def test_overlap_says_nothing_in_the_hans_like_corpus():
    frame = generate("hans-like", "validation", 500, 0)
    assert {
        overlap(*texts) for texts in zip(frame["premise"], frame["hypothesis"], strict=True)
    } == {1.0}
    assert not frame["hypothesis"].str.contains(NEGATION).any()


def test_hans_like_rows_name_heuristic_subcase_and_template():
    frame = generate("hans-like", "validation", 720, 0)
    assert set(frame["subcase"]) == set(HANS_TEMPLATES)
    assert set(frame["heuristic"]) == set(HEURISTICS.values())
    for row in frame.itertuples():
        assert HEURISTICS[row.subcase[0]] == row.heuristic
        assert row.subcase[1:3] == ("e_", "n_")[row.label]
    assert frame.groupby("subcase")["template"].nunique().eq(1).all()


def test_subsequence_hypotheses_are_subsequences():
    frame = generate("hans-like", "validation", 400, 0)
    for row in frame[frame["heuristic"] == "subsequence"].itertuples():
        assert row.hypothesis.lower().rstrip(".")[4:] in row.premise.lower()


def test_rte_like_premises_are_longer():
    mnli, rte = (generate(kind, "train", 300, 0)["premise"] for kind in ("mnli-like", "rte-like"))
    assert rte.str.split().str.len().mean() > 1.5 * mnli.str.split().str.len().mean()


def test_the_language_has_about_a_hundred_words():
    assert 75 <= len(vocabulary()) <= 120
    frame = generate("rte-like", "train", 1000, 0)
    said = set(" ".join([*frame["premise"], *frame["hypothesis"]]).replace(".", "").split())
    assert said <= set(vocabulary())


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(UserError, match="mnli-like"):
        generate("mnli", "train", 10, 0)
    with pytest.raises(UserError, match="validation"):
        generate("mnli-like", "valid", 10, 0)
