"""Which clusters of an evaluation set have one gold label by design."""

import numpy as np
import pandas as pd
import pytest
from fewshot.data.evaluation_sets import EvaluationSet

LABELS = [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        (["b", "a", "b", "a"], [0, 1]),
        (["b", "a", "b", "c"], [0, 1, 0]),
        (["a", "a", "b", "b"], None),
        (["a", None, "a", None], None),
        ([None] * 4, None),
    ],
    ids=["templates", "one with one row", "mixed", "rows alone", "no clusters"],
)
def test_labels_of_clusters_are_known_where_all_rows_are_in_pure_ones(clusters, expected):
    rows = pd.DataFrame({"id": np.arange(4), "label": LABELS, "cluster": clusters})
    found = EvaluationSet("nli", (0, 1), rows).cluster_labels
    assert (found if found is None else found.tolist()) == expected
