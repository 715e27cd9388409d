"""What is true in the golden study, in half points of accuracy: exact in numbers of rows.

Every set has a multiple of 200 rows, so half a point is a whole number of rows. Accuracies are a
cell's true one plus a deviation of the seed; the deviations of ten seeds sum to nothing, so means
over seeds are exact as well.
"""

EPOCHS = 4
SEEDS = range(1, 11)
"""Two jobs each: the grid of chunks cuts between 9 and 10."""

DRAWS = {
    "in_context": (-4, -3, -2, -1, 0, 0, 1, 2, 3, 4),
    "full": (1, -2, 0, -3, 3, -1, 2, 0, 2, -2),
}
"""By family, what the draw of each seed adds; other families' draws are those of `full`."""

INSIDE = {"opt-125m": 108, "opt-1.3b": 114, "opt-6.7b": 126, "pythia-410m": 110, "pythia-1.4b": 118}
"""Accuracy in domain by model, with 16 shots in context."""
OUTSIDE = {
    "opt-125m": 101,
    "opt-1.3b": 104,
    "opt-6.7b": 118,
    "pythia-410m": 102,
    "pythia-1.4b": 106,
}
"""Accuracy out of domain by model, with 16 shots in context."""
GAIN = {"opt-125m": 0, "opt-1.3b": 6, "opt-6.7b": -6, "pythia-410m": 0, "pythia-1.4b": 3}
"""What fine-tuning adds to it: 3 points at one size, nothing at another, less at a third."""
INSIDE_GAIN = 8
SHOTS = {0: -8, 2: -4, 16: 0, 32: 2, 64: 4, 128: 6}
PATTERNS = {"minimal": 0, "gpt-3": 2, "eval-harness": -3}
METHODS = {"vanilla-ft": -4, "lora": 0, "bitfit": -2}
COURSE = {True: (-16, -6, None, 0), False: (-8, 4, 1, 0)}
"""What each epoch lacks of the last, in domain (True) and out: the best out of domain is the
second. In domain the third is a little better for odd seeds alone."""

BIAS = {"in_context": 50, "full": 30}
"""Half points by which entailment is more often right than the mean on HANS, by family."""

MISSING = {
    ("mnli", "opt-1.3b", "pattern-ft", "minimal", 16, 10),
    ("rte", "opt-6.7b", "lora", "minimal", 16, 10),
}
"""Runs (the last item is their first seed) that were never made: nine of ten seeds are left."""
UNFIT = {("rte", 32): None, ("mnli", 32): 4}
"""By task and k, the seed whose context exceeds the window; None: that of every seed."""


def fits(task: str, family: str, k: int, seed: int) -> bool:
    """Return whether the demonstrations of a draw fit."""
    if family != "in_context" or (task, k) not in UNFIT:
        return True
    return UNFIT[task, k] not in (None, seed)


def half_points(cell: dict, family: str, seed: int, epoch: int, inside: bool) -> int:
    """Return a run's accuracy in half points, of 200."""
    trained = family != "in_context"
    value = (INSIDE if inside else OUTSIDE)[cell["model"]] + SHOTS[cell["k"]]
    value += PATTERNS[cell["pattern"]] + METHODS.get(cell["method"], 0)
    if trained:
        value += INSIDE_GAIN if inside else GAIN[cell["model"]]
        value += course(seed, epoch, inside)
    return value + draw(family, seed, cell["k"])


def draw(family: str, seed: int, k: int) -> int:
    """Return what a seed adds; without shots nothing is drawn."""
    return DRAWS["in_context" if family == "in_context" else "full"][seed - 1] if k else 0


def course(seed: int, epoch: int, inside: bool) -> int:
    """Return what an epoch lacks of the last."""
    value = COURSE[inside][epoch - 1]
    return (2 if seed % 2 else -2) if value is None else value


def best_epoch(seed: int) -> int:
    """Return the epoch that is best in domain."""
    return 3 if seed % 2 else EPOCHS


def by_label(half: int, sizes: tuple[int, int], family: str, biased: bool) -> dict[int, int]:
    """Return the number of correct rows of each label, whose sum is exact.

    `sizes` are the rows by label. On a `biased` set label 0 is right more often than label 1.
    """
    total = half * sum(sizes) // 200
    bias = BIAS["in_context" if family == "in_context" else "full"] if biased else 0
    first = min(total * sizes[0] // sum(sizes) + bias * sizes[0] // 200, sizes[0])
    return {0: first, 1: total - first}
