"""What each test says and how small its p can get, in words that tables and the report quote."""

from ...formatting import number_of
from .bootstrap import bootstrap_floor
from .tests import holm_floor, permutation_floor

MEANING = {
    "crossed": (
        "The verdict: a t-test with the standard error of crossed seeds and evaluation rows "
        "(clusters of rows where some belong together). It speaks of other draws and of other rows "
        "like these."
    ),
    "welch": (
        "Welch's t-test treats the draws of the two arms as unrelated samples, as published; where "
        "draws are shared it usually finds less than a paired test. It speaks of other draws, on "
        "these evaluation rows."
    ),
    "paired": (
        "The paired t-test compares the arms draw by draw. It speaks of other draws, on these "
        "evaluation rows, and takes differences to be roughly normal."
    ),
    "permutation": (
        "The permutation test flips the signs of the differences per draw. It assumes no "
        "distribution, but its p has a floor that only more seeds can lower."
    ),
    "bootstrap": (
        "The crossed bootstrap resamples seeds and evaluation rows at once, the same rows for all "
        "seeds and both arms. It checks the verdict with fewer assumptions, and finds less on "
        "small evaluation sets."
    ),
}


def floor_note(seeds: int, comparisons: int, resamples: int, alpha: float = 0.05) -> str:
    """Say how small p can get with so many seeds and resamples, and what Holm makes of it."""
    floors = {
        f"the permutation test of {seeds} seeds": permutation_floor(seeds),
        f"the bootstrap of {resamples:,} resamples": bootstrap_floor(resamples),
    }
    adjusted = holm_floor(seeds, comparisons), min(1.0, bootstrap_floor(resamples) * comparisons)
    sentences = []
    for (test, floor), corrected in zip(floors.items(), adjusted, strict=True):
        verdict = "can" if corrected < alpha else "can never"
        sentences.append(
            f"The smallest p of {test} is {_p(floor)}; over "
            f"{number_of(comparisons, 'comparison')} Holm's correction makes it {_p(corrected)}, "
            f"so that it {verdict} fall below {alpha:g}."
        )
    return " ".join([*sentences, "The t-tests have no floor."])


def _p(p: float) -> str:
    return f"{p:.2g}"
