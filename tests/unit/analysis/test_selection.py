"""Which epoch is chosen, worked out by hand, and over which rows it is then counted."""

import pandas as pd
from fewshot.analysis.curves import (
    SELECTIONS,
    best_outside,
    kept_epochs,
    rows_on_curve,
    selected_rows,
    selections,
)


def frame(rows):
    """Return curve rows from (set, epoch, sampled, n, correct), for seed 0."""
    columns = ["evaluation_set", "epoch", "sampled", "n", "correct"]
    return pd.DataFrame(rows, columns=columns).assign(seed=0)


def test_the_best_epoch_is_the_earliest_of_equals():
    in_domain = pd.DataFrame(
        {"seed": [0, 0, 0, 1, 1, 1], "epoch": [1, 2, 3, 3, 2, 1], "correct": [5, 9, 9, 4, 4, 7]}
    )
    kept = kept_epochs(in_domain)
    assert kept["best"].to_dict() == {0: 2, 1: 1}
    assert kept["last"].to_dict() == {0: 3, 1: 3}


def test_out_of_domain_each_set_weighs_the_same():
    # Means .65 and .645; over all rows the second would be better: 409 and 795 of 1,010 right.
    rows = [("a", 1, False, 10, 9), ("b", 1, False, 1000, 400)]
    rows += [("a", 2, False, 10, 5), ("b", 2, False, 1000, 790)]
    assert best_outside(frame(rows)).to_dict() == {0: 1}


def test_out_of_domain_the_earliest_of_equals_counts():
    # 0.1 + 0.2 is more than 0.3 + 0.0 in floating point.
    rows = [("a", 1, False, 10, 3), ("b", 1, False, 10, 0)]
    rows += [("a", 2, False, 10, 1), ("b", 2, False, 10, 2)]
    assert best_outside(frame(rows[::-1])).to_dict() == {0: 1}


def test_parts_of_a_set_are_added_up_and_seeds_kept_apart():
    rows = [("a", 1, False, 5, 1), ("a", 1, False, 5, 4), ("a", 2, False, 5, 3)]
    rows += [("a", 2, False, 5, 3)]
    both = [frame(rows), frame(rows).assign(seed=7, correct=[3, 3, 1, 1])]
    assert best_outside(pd.concat(both)).to_dict() == {0: 2, 7: 1}


# In domain a sample of 10 in 100 rows says epoch 2, though of all rows epoch 3 has more right.
# The out-of-domain set `a` is sampled too, and best at epoch 1, which is not kept; `b` is small.
SAMPLED = frame(
    [
        *(("in", epoch, True, 10, correct) for epoch, correct in ((1, 5), (2, 8), (3, 7))),
        ("in", 2, False, 100, 70),
        ("in", 3, False, 100, 75),
        *(("a", epoch, True, 10, correct) for epoch, correct in ((1, 9), (2, 4), (3, 3))),
        ("a", 2, False, 100, 45),
        ("a", 3, False, 100, 35),
        *(("b", epoch, False, 8, correct) for epoch, correct in ((1, 4), (2, 5), (3, 6))),
    ]
)


def test_a_sampled_set_is_judged_by_its_sample():
    curve = rows_on_curve(SAMPLED)
    assert len(curve) == 9
    assert curve.groupby("evaluation_set")["n"].unique().map(list).to_dict() == {
        "in": [10], "a": [10], "b": [8],
    }  # fmt: skip
    kept = kept_epochs(curve[curve["evaluation_set"] == "in"])
    assert kept.to_dict("list") == {"last": [3], "best": [2]}


def test_kept_epochs_are_counted_over_all_rows_and_others_over_the_sample():
    found = selected_rows(SAMPLED, "in").set_index(["selection", "evaluation_set"])
    assert found["epoch"].groupby("selection").unique().map(list).to_dict() == {
        "best-in-domain": [2], "best-out-of-domain": [1], "last": [3],
    }  # fmt: skip
    expected = {
        ("last", "in"): (100, 75), ("last", "a"): (100, 35), ("last", "b"): (8, 6),
        ("best-in-domain", "in"): (100, 70), ("best-in-domain", "a"): (100, 45),
        ("best-in-domain", "b"): (8, 5),
        ("best-out-of-domain", "in"): (10, 5), ("best-out-of-domain", "a"): (10, 9),
        ("best-out-of-domain", "b"): (8, 4),
    }  # fmt: skip
    assert {key: (row["n"], row["correct"]) for key, row in found.iterrows()} == expected


def test_an_oracle_epoch_that_was_kept_is_counted_over_all_rows():
    better = SAMPLED.copy()
    better.loc[(better["evaluation_set"] == "a") & (better["epoch"] == 2) & better["sampled"],
               "correct"] = 10  # fmt: skip
    found = selected_rows(better, "in")
    found = found[found["selection"] == "best-out-of-domain"].set_index("evaluation_set")
    assert found["epoch"].eq(2).all()
    assert found["n"].to_dict() == {"in": 100, "a": 100, "b": 8}


def test_without_sets_out_of_domain_there_is_no_such_choice():
    assert selections(1) == ("last", "best-in-domain")
    assert selections(3) == SELECTIONS
    found = selected_rows(SAMPLED[SAMPLED["evaluation_set"] == "in"], "in")
    assert set(found["selection"]) == {"last", "best-in-domain"}
