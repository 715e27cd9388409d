"""Choice half and test half of a task's own evaluation rows: what is split, and by what."""

import numpy as np
import pandas as pd
import pytest
from fewshot.data import halves
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.errors import UserError
from fewshot.rng import generator
from hypothesis import given
from hypothesis import strategies as st


def item_of(labels, clusters=None, name="nli", base=""):
    """Return an evaluation set of rows with these labels, whose ids follow no order."""
    rows = pd.DataFrame({"label": np.asarray(labels, dtype=np.int16)})
    rows["id"] = (np.arange(len(rows)) * 37 + 5) % 1009
    rows = rows.assign(group=None, subset=None, cluster=clusters)
    return EvaluationSet(name, (0, 1, 2), rows, base)


def ids_of(item):
    return set(item.rows["id"])


def both(item):
    return halves.half_for_choice(item), halves.half_for_test(item)


def labels_of(item):
    return np.bincount(item.rows["label"], minlength=3).tolist()


def test_halves_are_disjoint_cover_all_rows_and_have_the_same_labels():
    item = item_of([0] * 40 + [1] * 31 + [2] * 6)
    choice, test = both(item)
    assert ids_of(choice) | ids_of(test) == ids_of(item)
    assert not ids_of(choice) & ids_of(test)
    # Of an odd number the test half has one more.
    assert (labels_of(choice), labels_of(test)) == ([20, 15, 3], [20, 16, 3])
    assert (choice.name, test.name, test.merge) == ("nli", "nli", item.merge)
    # Drawn, not cut: neither half is the first of the rows.
    assert 5 < item.rows["id"].iloc[:20].isin(ids_of(choice)).sum() < 15


def test_halves_do_not_depend_on_the_order_of_rows():
    item = item_of(np.arange(60) % 3, [f"c{i // 4}" for i in range(60)])
    mixed = EvaluationSet("nli", item.merge, item.rows.sample(frac=1, random_state=1))
    for one, other in zip(both(item), both(mixed), strict=True):
        assert ids_of(one) == ids_of(other)
    # Rows of a half keep their order, which is that of the scores.
    kept = mixed.rows[mixed.rows["id"].isin(ids_of(both(item)[1]))]
    pd.testing.assert_frame_equal(halves.half_for_test(mixed).rows, kept)


def test_halves_are_drawn_by_the_name_of_the_task_that_has_the_rows():
    labels = np.arange(50) % 2
    own, variant = (
        halves.half_for_test(item_of(labels, name=name, base=base))
        for name, base in (("nli", ""), ("nli-flip", "nli"))
    )
    other = halves.half_for_test(item_of(labels, name="rte"))
    assert ids_of(own) == ids_of(variant) != ids_of(other)


def test_a_cluster_is_in_one_half_and_a_row_without_one_is_its_own():
    names = [f"premise {i // 3}" if i < 90 else None for i in range(120)]
    item = item_of(np.arange(120) % 3, names)
    choice, test = both(item)
    assert not set(choice.rows["cluster"].dropna()) & set(test.rows["cluster"].dropna())
    assert labels_of(choice) == labels_of(test) == [20, 20, 20]
    assert choice.rows["cluster"].isna().sum() == 15


def test_clusters_of_unlike_size_are_dealt_to_the_half_that_lacks_their_labels():
    # One large cluster of label 0 stands against four small ones; label 1 is in both halves.
    clusters = [*["big"] * 8, *(f"s{i // 2}" for i in range(8)), *(f"t{i}" for i in range(6))]
    choice, test = both(item_of([0] * 16 + [1] * 6, clusters))
    assert labels_of(choice) == labels_of(test) == [8, 3, 0]
    names = [set(each.rows["cluster"].str[0]) for each in (choice, test)]
    assert sorted(map(sorted, names)) == [["b", "t"], ["s", "t"]]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 9), st.data())
def test_no_label_is_further_from_half_than_a_cluster_is_large(labels, seed, data):
    """With clusters of one label each, as templates have; without any, of one row."""
    labels = np.array(labels)
    share = data.draw(st.integers(1, 8))
    # Each label's rows in groups of `share`.
    rank = pd.Series(labels).groupby(labels).cumcount().to_numpy() // share
    clusters = np.unique(labels * 100 + rank, return_inverse=True)[1]
    first = halves.split_clusters(labels, clusters, generator("test", seed))
    for label in range(4):
        mine = first[labels == label]
        assert abs(2 * int(mine.sum()) - len(mine)) <= share
    for cluster in range(clusters.max() + 1):
        assert len(set(first[clusters == cluster])) == 1


def test_other_draws_give_other_halves():
    labels, rows = np.arange(40) % 2, np.arange(40)
    found = {tuple(halves.split_clusters(labels, rows, generator("test", i))) for i in range(20)}
    assert len(found) == 20


@pytest.mark.parametrize("item", [item_of([0]), item_of([0, 1, 1], ["a"] * 3)])
def test_what_cannot_be_split_is_told(item):
    with pytest.raises(UserError) as error:
        halves.half_for_test(item)
    assert str(error.value) == (
        "best_epoch: held-out: the evaluation rows of task 'nli' are a single row or cluster, "
        "which is no choice half and test half; valid for such a task: in-domain"
    )


def test_a_curve_counts_rows_of_the_choice_half_in_domain_alone():
    own, other = item_of(np.arange(200) % 2), item_of(np.arange(200) % 2, name="hans")
    usual = halves.counted_on_curve([own, other], {"curve_rows": 500})
    assert usual == {"nli": own, "hans": other} and usual["nli"] is own
    settings = {"curve_rows": "all", "best_epoch": "held-out"}
    found = halves.counted_on_curve([own, other], settings)
    assert ids_of(found["nli"]) == ids_of(halves.half_for_choice(own))
    assert found["hans"] is other
    few = halves.counted_on_curve([own, other], {**settings, "curve_rows": 30})["nli"]
    assert len(few.rows) == 30 and ids_of(few) < ids_of(found["nli"])
