"""Statistics over runs: pure functions of arrays and a generator.

They know nothing of files, models or columns. A run is one draw of demonstrations (one seed) scored
on all rows of an evaluation set, so there are two questions, and each test answers one of them.

Would another draw say the same? `mean_interval`, `welch_tests` (unrelated draws, as published),
`paired_tests` and `permutation_tests` (shared draws) take one score per seed. The permutation test
assumes least and has a floor: with n seeds p is at least 2 / 2^n, and ten seeds under Holm's
correction for 49 comparisons can never be significant (`holm_floor`).

Would another draw on other rows like these say the same? `parts` and `error_of` give the standard
error of a mean over crossed seeds and rows, or clusters of rows, for `t_test`, `t_bounds` and
`equivalence_test`, the verdicts of a study, and `share_bounds`, the interval of an accuracy (k = 0,
too). `crossed_bootstrap` resamples seeds and rows at once and checks them; its p is at least
2 / (resamples + 1), and it finds too little on small sets. Matthews correlation and F1 are no means
over rows: `linearised_metric` makes them such, `resampled_metric` resamples them. `wilson_interval`
is for independent rows or draws. Would other models, or patterns, too? `error_of_mean` has the
error of a mean over several of them, or over tasks.

Many comparisons: `holm` (no false rejection in the family), `benjamini_hochberg` (few among those
rejected). Many runs in one number: `interquartile_mean`, `median_iqr`,
`probability_of_improvement` (unrelated draws), `paired_improvement` (shared draws),
`mean_improvement` (over tasks). Why scores
differ: `component_sums` with the bounds of `square_sum_interval` and `crossed_jackknife`,
`prompt_sensitivity`. One run: `accuracy`, `matthews`, `f1` and `macro_f1` from confusion matrices,
`reliability`, `calibration_error` and `brier` from probabilities, `roc_area` from scores.
`MEANING` and `floor_note` say in words what a test means.

Missing values are nan: left out where a function says so, and then counted; refused elsewhere.
"""

from .aggregates import (
    Spread,
    interquartile_mean,
    interquartile_mean_interval,
    mean_improvement,
    median_iqr,
    paired_improvement,
    probability_of_improvement,
)
from .bootstrap import (
    BootstrapTest,
    bootstrap_floor,
    bootstrap_interval,
    bootstrap_tests,
    cluster_sums,
    crossed_bootstrap,
    over_seeds,
    resampled_means,
    resampled_sums,
    row_weights,
    seed_weights,
)
from .classification import (
    Area,
    Reliability,
    accuracy,
    brier,
    calibration_error,
    f1,
    macro_f1,
    matthews,
    reliability,
    roc_area,
)
from .confusion_scores import linearised_metric, resampled_confusions, resampled_metric
from .crossed import (
    Error,
    Parts,
    combined,
    equivalence_test,
    error_apart,
    error_from,
    error_of,
    parts,
    satterthwaite,
    share_bounds,
    t_bounds,
    t_test,
)
from .crossed_means import (
    SEVERAL,
    MeanParts,
    Share,
    draws_of_mean,
    error_of_mean,
    mean_parts,
    mean_parts_apart,
    mean_squares,
)
from .intervals import (
    CONFIDENCE,
    Estimate,
    mean_interval,
    t_interval,
    wilson_interval,
)
from .square_sums import SquareSum, square_sum_interval
from .tests import (
    PermutationTest,
    Test,
    benjamini_hochberg,
    holm,
    holm_floor,
    paired_tests,
    permutation_floor,
    permutation_tests,
    welch_tests,
)
from .variance import (
    Sensitivity,
    component_sums,
    crossed_jackknife,
    prompt_sensitivity,
)
from .wording import MEANING, floor_note

__all__ = [
    "CONFIDENCE",
    "MEANING",
    "SEVERAL",
    "Area",
    "BootstrapTest",
    "Error",
    "Estimate",
    "MeanParts",
    "Parts",
    "PermutationTest",
    "Reliability",
    "Sensitivity",
    "Share",
    "Spread",
    "SquareSum",
    "Test",
    "accuracy",
    "benjamini_hochberg",
    "bootstrap_floor",
    "bootstrap_interval",
    "bootstrap_tests",
    "brier",
    "calibration_error",
    "cluster_sums",
    "combined",
    "component_sums",
    "crossed_bootstrap",
    "crossed_jackknife",
    "draws_of_mean",
    "equivalence_test",
    "error_apart",
    "error_from",
    "error_of",
    "error_of_mean",
    "f1",
    "floor_note",
    "holm",
    "holm_floor",
    "interquartile_mean",
    "interquartile_mean_interval",
    "linearised_metric",
    "macro_f1",
    "matthews",
    "mean_improvement",
    "mean_interval",
    "mean_parts",
    "mean_parts_apart",
    "mean_squares",
    "median_iqr",
    "over_seeds",
    "paired_improvement",
    "paired_tests",
    "parts",
    "permutation_floor",
    "permutation_tests",
    "probability_of_improvement",
    "prompt_sensitivity",
    "reliability",
    "resampled_confusions",
    "resampled_means",
    "resampled_metric",
    "resampled_sums",
    "roc_area",
    "row_weights",
    "satterthwaite",
    "seed_weights",
    "share_bounds",
    "square_sum_interval",
    "t_bounds",
    "t_interval",
    "t_test",
    "welch_tests",
    "wilson_interval",
]
