"""The kinds of draws by name: which rows of a training set are the shots."""

from collections.abc import Sequence

import pandas as pd

from .legacy import draw_fine_tuning, draw_in_context
from .sampling import draw_balanced

DRAWS = {
    "fair": draw_balanced,
    "mosbach2023-in-context": draw_in_context,
    "mosbach2023-fine-tuning": draw_fine_tuning,
}


def draw_shots(
    kind: str, rows: pd.DataFrame, k: int, labels: Sequence[str], task: str, seed: int
) -> pd.DataFrame:
    """Draw k of `rows` (id, label, in data-set order); return position, id and label.

    `labels` are the names of the task's labels.

    Raises UserError where the rows do not allow it.
    """
    return DRAWS[kind](rows, k, len(labels), task, seed, labels)
