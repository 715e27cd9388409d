"""Curve samples against shares worked out by hand, and the epochs of a curve."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from fewshot.data.curve_sample import allocate, curve_epochs, curve_sample, row_limit
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.errors import UserError
from hypothesis import given
from hypothesis import strategies as st
from mistakes import told


def rows_of(*parts):
    """Return prepared rows from (group, subset, label, count), with ids that follow no part."""
    frame = pd.DataFrame(
        [part[:3] for part in parts for _ in range(part[3])], columns=["group", "subset", "label"]
    )
    frame["id"] = (np.arange(len(frame)) * 37 + 5) % 1009
    return frame.astype({"label": "int16"})


HANS = rows_of(
    ("lexical", "swap", 1, 40), ("lexical", "passive", 0, 20), ("constituent", "x", 1, 40)
)


def counts(rows, chosen):
    picked = rows.iloc[chosen].fillna("")
    return picked.groupby(["group", "subset", "label"]).size().tolist()


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([10, 10, 10], 5, [2, 2, 1]),  # 1.67 each: equal remainders, the first ones get the row
        ([3479, 3213], 512, [266, 246]),  # MNLI: 266.17 and 245.83
        ([1000] * 30, 512, [18] * 2 + [17] * 28),  # HANS: 17.07 each
        ([41, 35, 24], 7, [3, 2, 2]),  # 2.87, 2.45, 1.68
        ([1, 1, 98], 10, [1, 1, 8]),  # 0.1, 0.1, 9.8: none is empty
        ([1, 1, 1, 20, 77], 5, [1, 1, 1, 1, 1]),  # 20 has one row until the three took theirs
        ([7, 3], 10, [7, 3]),
    ],
)
def test_shares_are_proportional_by_largest_remainders(sizes, limit, expected):
    assert allocate(sizes, limit).tolist() == expected


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40), st.data())
def test_shares_add_up_and_none_is_empty_or_beyond_its_stratum(sizes, data):
    limit = data.draw(st.integers(len(sizes), sum(sizes)))
    shares = allocate(sizes, limit)
    assert shares.sum() == limit
    assert (shares >= 1).all() and (shares <= sizes).all()
    quotas = np.array(sizes) * limit / sum(sizes)
    if (quotas >= 1).all():
        assert (np.abs(shares - quotas) < 1).all()


def test_a_set_within_the_limit_is_counted_whole():
    for limit in (None, 100, 101):
        assert curve_sample(HANS, limit, "hans").tolist() == list(range(100))
    assert row_limit("all") is None and row_limit(512) == 512


def test_every_part_has_its_share():
    chosen = curve_sample(HANS, 10, "hans")
    assert counts(HANS, chosen) == [4, 2, 4]  # constituent, passive, swap
    assert (np.diff(chosen) > 0).all()


def test_a_set_without_parts_is_stratified_by_label():
    rows = rows_of((None, None, 0, 30), (None, None, 1, 10))
    assert counts(rows, curve_sample(rows, 8, "mnli")) == [6, 2]


def test_the_sample_is_fixed():
    """A pinned draw: another one would make the curves of stored runs incomparable."""
    drawn = HANS["id"].to_numpy()[curve_sample(HANS, 6, "hans")]
    assert drawn.tolist() == [116, 227, 772, 725, 836, 123]


def test_the_sample_depends_on_ids_and_name_not_on_the_order_of_rows():
    ids = set(HANS["id"].to_numpy()[curve_sample(HANS, 20, "hans")])
    shuffled = HANS.sample(frac=1, random_state=3).reset_index(drop=True)
    # Stored rows come back with categories, in the order in which they occur.
    for name in ("group", "subset"):
        order = list(dict.fromkeys(shuffled[name]))
        shuffled[name] = pd.Categorical(shuffled[name], categories=order)
    assert set(shuffled["id"].to_numpy()[curve_sample(shuffled, 20, "hans")]) == ids
    assert set(HANS["id"].to_numpy()[curve_sample(HANS, 20, "other")]) != ids


def test_a_larger_sample_holds_the_smaller_one():
    small, large = (set(curve_sample(HANS, limit, "hans")) for limit in (10, 50))
    assert small < large


def test_the_draw_is_spread_over_each_part():
    """Not the first rows of a part: their ids would follow the order of the published file."""
    chosen = HANS.iloc[curve_sample(HANS, 50, "hans")]
    part = chosen.loc[chosen["subset"] == "swap", "id"].sort_values().tolist()
    first = HANS.loc[HANS["subset"] == "swap", "id"].sort_values().tolist()[: len(part)]
    assert part != first


def test_too_few_rows_for_the_parts_are_an_error():
    assert counts(HANS, curve_sample(HANS, 3, "hans")) == [1, 1, 1]
    assert told(curve_sample, HANS, 2, "hans") == (
        "methods.yaml: curve_rows: 2 rows cannot show each of the 3 parts (group, subset, "
        "label) of 'hans'; valid: 3 or more, or all"
    )


def test_a_task_with_a_base_is_sampled_as_its_base_is():
    """Else its learning curve would rest on other rows."""
    own = EvaluationSet("rte", (0, 1), HANS)
    changed = EvaluationSet("rte-flip25", (0, 1), HANS, "rte")
    other = EvaluationSet("rte-flip25", (0, 1), HANS)
    ids = [each.sample(10).rows["id"].tolist() for each in (own, changed, other)]
    assert ids[0] == ids[1] != ids[2]


def test_the_sample_of_a_set_is_a_set_with_the_same_parts():
    item = EvaluationSet("hans", (0, 1), HANS)
    sample = item.sample(10)
    assert sample.parts["n"].tolist() == [4, 2, 4]
    names = ["group", "subset", "label"]
    pd.testing.assert_frame_equal(sample.parts[names], item.parts[names])
    assert item.sample(None) is item and item.sample(100) is item


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("each", [1, 2, 3, 4]),
        ("last", [4]),
        ([2], [2, 4]),
        ([3, 1], [1, 3, 4]),
        ([4], [4]),
        (1, [4]),
        (2, [1, 4]),
        (4, [1, 2, 3, 4]),
        (9, [1, 2, 3, 4]),
    ],
)
def test_the_curve_always_ends_with_the_last_epoch(setting, expected):
    assert curve_epochs(setting, 4) == expected


@pytest.mark.parametrize(
    ("count", "epochs", "expected"),
    [
        (3, 100, [1, 10, 100]),
        (5, 16, [1, 2, 4, 8, 16]),
        # The next ones where 40^(1/9) = 1.5 is no step yet: 40^(4/9) = 5.2, 40^(5/9) = 7.8, …
        (10, 40, [1, 2, 3, 4, 5, 8, 12, 18, 27, 40]),
        (9, 10, [1, 2, 3, 4, 5, 6, 7, 8, 10]),
        (10, 0, [0]),
    ],
)
def test_a_number_of_epochs_is_evenly_spread_in_their_logarithm(count, epochs, expected):
    assert curve_epochs(count, epochs) == expected


def test_as_many_epochs_are_spread_as_are_asked_for():
    for count, epochs in product(range(1, 15), range(1, 60)):
        found = curve_epochs(count, epochs)
        assert found == sorted(set(found)) and found[-1] == epochs
        assert len(found) == min(count, epochs)


@pytest.mark.parametrize("epoch", [0, 5])
def test_an_epoch_that_is_never_trained_is_an_error(epoch):
    with pytest.raises(UserError, match=f"curve_epochs: {epoch} is none of the epochs; valid: 1 t"):
        curve_epochs([2, epoch], 4)
