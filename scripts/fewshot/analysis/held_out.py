"""Scores of the shots, held out in turn (rule cross_validate): all that the k rows can tell."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .label_probabilities import FittedToShots, fit_to_shots
from .predictions import read_blocks


@dataclass(frozen=True)
class HeldOutScores:
    """What label words of the held-out shots are ranked by, [rows, words], and the words that are
    right [rows], of one seed and epoch."""

    ranks: np.ndarray
    labels: np.ndarray


def read_held_out(folder: str) -> dict[int, dict[int, HeldOutScores]]:
    """Return the scores of a run's held-out shots by seed and epoch, both ascending; raises
    UserError for a file that is missing or not readable."""
    path, found = Path(folder, "predictions.parquet"), {}
    for (seed, epoch, _), block in read_blocks(path):
        ranks = np.stack(block["ranks"], axis=1).astype(np.float64)
        found.setdefault(seed, {})[epoch] = HeldOutScores(ranks, block["label"].astype(np.int64))
    return found


def fits_to_shots(folder: str) -> dict[int, dict[str, FittedToShots]]:
    """Return by seed the calibrations that are fitted to a run's held-out shots at its last
    epoch, which serve for all epochs; raises UserError as `read_held_out` does."""
    found = {}
    for seed, epochs in read_held_out(folder).items():
        last = epochs[max(epochs)]
        found[seed] = fit_to_shots(last.ranks, last.labels)
    return found
