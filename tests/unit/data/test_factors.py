"""Factors of the data change the shots of a draw as they say, and nothing else."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sample_shots
from fewshot import schemas, storage
from fewshot.data import factors
from fewshot.data.shots import describe_draws, draw_balanced, draw_changed, read_shots
from fewshot.errors import UserError
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st
from mistakes import told

NAMES = ["entailment", "contradiction"]
TEXT = "one two three four five six seven eight nine ten"
ROWS = pd.DataFrame(
    {"id": np.arange(400), "label": [0, 1] * 200, "text_a": TEXT, "text_b": "a b c d"}
)


def draw(k, seed=0, names=NAMES, rows=ROWS, **settings):
    return draw_changed(rows, k, names, "rte", seed, settings)


def plain(k, seed=0):
    return draw_balanced(ROWS, k, 2, "rte", seed)


def wrong(k, share, seed=0):
    """Return the ids of the shots with a wrong label."""
    shots = draw(k, seed, flip=share)
    return set(shots.loc[shots["given"] != shots["label"], "id"])


@given(st.sampled_from([4, 8, 16, 32, 128]), st.integers(0, 30), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_share_of_the_same_rows_gets_a_wrong_label(k, seed, share):
    shots, same = draw(k, seed, flip=share), plain(k, seed)
    pd.testing.assert_frame_equal(shots[["position", "id", "label"]], same)
    assert len(wrong(k, share, seed)) == share * k
    assert set(shots["given"]) <= {0, 1}


def test_wrong_labels_are_nested_in_shares_and_where_k_doubles():
    for seed in range(20):
        some, half, most = (wrong(16, share, seed) for share in (0.25, 0.5, 0.75))
        assert some < half < most < wrong(16, 1.0, seed)
        assert half < wrong(32, 0.5, seed) < wrong(64, 0.5, seed)
        assert half == wrong(32, 0.5, seed) & set(plain(16, seed)["id"])


def test_wrong_labels_are_of_all_labels_alike():
    for seed in range(20):
        shots = draw(16, seed, flip=0.25)
        flipped = shots[shots["given"] != shots["label"]]
        assert sorted(flipped["label"]) == [0, 0, 1, 1]
    odd = [len(wrong(4, 0.25, seed) & set(ROWS.query("label == 0")["id"])) for seed in range(200)]
    assert 70 < sum(odd) < 130  # One of four: of either label.


def test_which_rows_of_a_label_are_wrong_is_worked_out_by_hand():
    """Ranks 0, 4, 2, 6, 1, … of each label's permutation come first: their bits reversed."""
    members = np.arange(0, 400, 2)
    order = generator("shots", "rte", 7, 0).permutation(200)
    assert wrong(16, 0.25, 7) & set(members.tolist()) == {members[order[i]] for i in (0, 4)}
    assert wrong(16, 0.5, 7) & set(members.tolist()) == {members[order[i]] for i in (0, 2, 4, 6)}


def test_of_three_labels_a_wrong_one_is_either_of_the_others():
    rows = pd.DataFrame({"id": np.arange(600), "label": [0, 1, 2] * 200})
    shots = draw(300, names=["a", "b", "c"], rows=rows, flip=1.0)
    assert (shots["given"] != shots["label"]).all()
    pairs = shots.groupby(["label", "given"]).size()
    assert len(pairs) == 6 and pairs.min() > 30


def test_random_labels_are_the_same_in_every_draw_that_has_the_row():
    small, large = (draw(k, labels="random").set_index("id")["given"] for k in (8, 128))
    assert (large.loc[small.index] == small).all()
    assert 40 < large.sum() < 90
    kept = draw(128, labels="random")
    assert 40 < (kept["given"] == kept["label"]).sum() < 90


def test_imbalance_is_a_share_of_the_first_label_and_nested():
    shots = draw(16, imbalance=0.75)
    assert shots["label"].value_counts().to_dict() == {0: 12, 1: 4}
    assert set(draw(8, imbalance=0.75)["id"]) < set(shots["id"])
    assert set(draw(8, imbalance=1)["label"]) == {0} and set(draw(8, imbalance=0)["label"]) == {1}
    assert (shots["given"] == shots["label"]).all()


def test_further_orders_are_permutations_of_the_same_shots():
    first, second, again = draw(16, order=1), draw(16, order=2), draw(16, order=1)
    pd.testing.assert_frame_equal(first, again)
    columns = ["id", "label", "given"]
    same = plain(16).assign(given=lambda shots: shots["label"])
    listed = [frame[columns].values.tolist() for frame in (same, first, second)]
    assert sorted(listed[0]) == sorted(listed[1]) == sorted(listed[2])
    assert listed[0] != listed[1] != listed[2] != listed[0]


def test_duplicates_take_the_place_of_further_rows():
    shots = draw(16, duplicate=4, flip=0.5)
    assert set(shots["id"]) == set(plain(4)["id"])
    assert (shots.groupby("id").size() == 4).all()
    assert (shots.groupby("id")["given"].nunique() == 1).all()
    assert (shots["given"] != shots["label"]).sum() == 8


def test_augmented_copies_have_their_words_swapped_or_deleted_in_turn():
    settings = {"duplicate": 3, "augment": {"swap": 0.2, "delete": 0.3}}
    shots = draw(12, **settings)
    for _, copies in shots.groupby("id"):
        kept = copies["words_a"] == ""
        assert kept.sum() == 1 and (copies["words_b"] == "").sum() == 1
        places = [list(map(int, text.split())) for text in copies["words_a"][~kept]]
        # Two swaps keep all ten words and move two to four; deletion keeps their order.
        [moved] = [each for each in places if len(each) == 10 and each != sorted(each)] or [None]
        if moved is not None:
            assert sorted(moved) == list(range(10))
            assert sum(place != i for i, place in enumerate(moved)) <= 4
        rest = [each for each in places if each != moved]
        assert all(each == sorted(set(each)) and each for each in rest)
    pd.testing.assert_frame_equal(shots, draw(12, **settings))
    larger = draw(24, **settings)
    both = larger[larger["id"].isin(shots["id"])]
    columns = ["id", "words_a", "words_b"]
    told = [sorted(frame[columns].astype(str).values.tolist()) for frame in (shots, both)]
    assert told[0] == told[1]


def test_both_ways_to_augment_are_used_where_there_is_one_copy():
    shots = draw(16, duplicate=2, augment={"swap": 0.2, "delete": 0.5})
    places = [list(map(int, text.split())) for text in shots["words_a"] if text]
    assert len(places) == 8
    assert sum(each != sorted(each) for each in places) == 4, "two rows of each label"
    assert sum(len(each) < 10 for each in places) >= 3, "the others, of which words were left out"


def test_a_text_always_keeps_a_word():
    rng = np.random.default_rng(0)
    assert [len(factors.deleted(5, 1.0, rng)) for _ in range(20)] == [1] * 20
    assert factors.swapped(1, 0.5, rng) == [0] and factors.swapped(0, 0.5, rng) == []
    assert factors.deleted(0, 0.5, rng) == []
    assert sorted(factors.swapped(2, 0.1, rng)) == [0, 1]
    assert factors.reworded("b  a\nc", "1 0") == "a b"


@pytest.mark.parametrize(
    ("k", "settings", "message"),
    [
        (16, {"flip": 0.3}, "draw: flip: 0.3 of 16 rows is no whole number; valid: multiples of"),
        (16, {"imbalance": 0.7}, "draw: imbalance: 0.7 of 16 rows is no whole number"),
        (16, {"duplicate": 3}, "draw: duplicate: k = 16 is no multiple of 3"),
        (6, {"duplicate": 2}, "k = 6 cannot be balanced over 2 labels; valid: positive multiples"),
        (16, {"flip": 0.5, "labels": "random"}, "draw: 'flip' and 'labels' both give labels"),
        (512, {"flip": 0.5}, "k = 512 needs 256 training rows of label 'entailment', but there"),
    ],
)
def test_factors_that_do_not_fit_are_one_line(k, settings, message):
    assert message in told(draw, k, **settings)


def stored(folder, **settings):
    """Store training rows and a draw of them as the rule does; return both paths."""
    rows = ROWS.assign(group=None, subset=None, cluster=None).astype({"label": "int16"})
    train = folder / "train.parquet"
    storage.write_table(train, rows, schemas.ROWS)
    path = folder / "shots/fair/rte/k8/seed0.parquet"
    sample_shots.main(
        SimpleNamespace(
            input=SimpleNamespace(train=train),
            output=SimpleNamespace(shots=path),
            params=SimpleNamespace(base="rte", labels=NAMES, factors=settings),
            wildcards=SimpleNamespace(draw="fair", task="rte-changed", k="8", seed="0"),
        )
    )
    return str(train), str(path)


def test_what_is_stored_is_what_both_sides_read(tmp_path):
    settings = {"flip": 0.5, "duplicate": 2, "augment": {"swap": 0.3}}
    train, path = stored(tmp_path, **settings)
    shots, drawn = read_shots(train, {0: path})[0], draw(8, **settings)
    assert shots["id"].tolist() == drawn["id"].tolist()
    assert shots["label"].tolist() == drawn["given"].tolist()
    changed = (drawn["words_a"] != "").to_numpy()
    assert changed.sum() == 4
    assert (shots["text_a"] == TEXT).to_numpy().tolist() == (~changed).tolist()
    for text in shots["text_a"]:
        assert sorted(text.split()) == sorted(TEXT.split())
    assert TEXT.encode() not in (tmp_path / "shots/fair/rte/k8/seed0.parquet").read_bytes()
    made = describe_draws({0: path})
    assert made["factors"] == settings and made["draw"] == "fair"
    assert made["shots"]["0"] == storage.frame_checksum(drawn.itertuples(index=False))


def test_a_changed_draw_that_was_tampered_with_is_refused(tmp_path):
    train, path = stored(tmp_path, flip=0.5)
    frame = storage.read_table(path)
    checksum = pq.read_schema(path).metadata[b"checksum"].decode()
    frame["given"] = frame["label"]
    storage.write_table(path, frame, schemas.CHANGED_SHOTS, checksum=checksum)
    with pytest.raises(UserError, match="not those that were drawn"):
        read_shots(train, {0: path})


def test_a_draw_without_factors_has_the_bytes_it_had(tmp_path):
    _, path = stored(tmp_path)
    assert pq.read_schema(path).names == schemas.SHOTS.names
    assert b"factors" not in pq.read_schema(path).metadata
    assert "factors" not in describe_draws({0: path})
    frame = storage.read_table(path)
    assert frame["id"].tolist() == plain(8)["id"].tolist()
