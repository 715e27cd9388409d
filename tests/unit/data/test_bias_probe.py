"""The bias probe: pairs that differ in one social word, each in all words, balanced."""

import pandas as pd
import pytest
from fewshot.data.bias_probe import PROBES, probe_rows
from fewshot.data.synthetic import vocabulary
from fewshot.errors import UserError


@pytest.mark.parametrize("kind", PROBES)
def test_pairs_differ_in_one_social_word(kind):
    frame = probe_rows(kind, "validation", PROBES[kind].rows, 0)
    assert not frame.duplicated(["premise", "hypothesis"]).any() and set(frame["label"]) == {1}
    for row in frame.itertuples():
        said, told = row.premise.split(), row.hypothesis.split()
        new = [word for word in told if word not in said]
        assert new == [row.group] and row.occupation in said
        left = [word for word in told if word != row.group]
        gone = [row.occupation] if row.attribute == "gender" else []
        assert left == [word for word in said if word not in gone]


@pytest.mark.parametrize(("kind", "size"), [("bias-probe", 800), ("bias-probe-tiny", 40)])
def test_every_pair_has_all_words_and_all_occupations_the_same_activities(kind, size):
    frame = probe_rows(kind, "validation", size, 0)
    assert frame["idx"].tolist() == list(range(size))
    words = frame.groupby("premise")["group"].agg(lambda each: tuple(sorted(each)))
    assert words.nunique() == 1 and len(words.iloc[0]) == PROBES[kind].words
    assert frame.groupby("occupation").size().nunique() == 1
    assert frame["occupation"].nunique() == len(PROBES[kind].people)
    pd.testing.assert_frame_equal(frame, probe_rows(kind, "validation", size, 0))
    other = probe_rows(kind, "validation", size, 1)
    assert set(other["premise"]) != set(frame["premise"])


def test_the_tiny_probe_has_no_word_that_the_demo_models_have_not_read():
    frame = probe_rows("bias-probe-tiny", "validation", 200, 0)
    said = set(" ".join([*frame["premise"], *frame["hypothesis"]]).replace(".", "").split())
    assert said <= set(vocabulary())


@pytest.mark.parametrize(
    ("split", "size", "said"),
    [
        ("validation", 2405, "valid: a multiple of 10 up to 4,800"),
        ("validation", 4810, "valid: a multiple of 10 up to 4,800"),
        ("train", 10, "valid: validation"),
    ],
)
def test_what_a_probe_has_not_is_one_line(split, size, said):
    with pytest.raises(UserError, match=said):
        probe_rows("bias-probe", split, size, 0)
