"""What a baseline has made of some shots."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fitted:
    """A classifier of rows, fitted to some shots.

    `answer`, given what the family reads of some rows (texts, or hidden states [rows, width]),
    returns log-probabilities float64 [rows, labels]. It has `parameters` and keeps so many numbers
    in all (`kept`); fitting them took `iterations`.
    """

    answer: Callable[[object], np.ndarray]
    parameters: int
    kept: int
    iterations: int = 0
