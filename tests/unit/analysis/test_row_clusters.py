"""Which rows of an evaluation set vary together, and which clusters among themselves."""

import numpy as np
from arm_frames import ROWS, evaluation
from fewshot.analysis.row_clusters import row_clusters


def templates(ones):
    """Return a set with five templates of label 0 and so many of label 1."""
    return evaluation([f"{i % 2}-{i // 2 % (ones if i % 2 else 5)}" for i in range(ROWS)])


def test_templates_vary_label_by_label_where_each_label_has_two():
    """One template does not tell how those of its label vary: all six then vary together."""
    assert row_clusters(templates(1)).strata is None
    found = row_clusters(templates(2))
    assert np.bincount(found.strata).tolist() == [5, 2]
    assert np.bincount(found.strata, found.sizes).tolist() == [ROWS / 2, ROWS / 2]
