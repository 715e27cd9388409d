"""Statistics over runs: pure functions of arrays and a generator.

They know nothing of files, models or columns. A run is one draw of demonstrations (one seed) scored
on all rows of an evaluation set, so there are two questions, and each test answers one of them.

Would another draw say the same? `mean_interval`, `welch_tests` (unrelated draws, as published),
`paired_tests` and `permutation_tests` (shared draws) take one score per seed. The permutation test
assumes least and has a floor: with n seeds p is at least 2 / 2^n, and ten seeds under Holm's
correction for 49 comparisons can never be significant (`holm_floor`).

Would another draw on other rows say the same? `crossed_bootstrap` resamples seeds and rows, or
clusters of rows, at once; its p is at least 2 / (resamples + 1). `wilson_interval` resamples rows
alone, for k = 0, where nothing is drawn.

Many comparisons: `holm` (no false rejection in the family), `benjamini_hochberg` (few among those
rejected). Many runs in one number: `interquartile_mean`, `median_iqr`,
`probability_of_improvement` (unrelated draws), `paired_improvement` (shared draws). Why scores
differ: `variance_components`, `nested_components`, `prompt_sensitivity`. What could have been
found: `detectable_difference`. One run: `accuracy`, `matthews`, `f1` and `macro_f1` from confusion
matrices, `reliability`, `calibration_error` and `brier` from probabilities, `roc_area` from scores.
`MEANING` and `floor_note` say in words what a test means.

Missing values are nan: left out where a function says so, and then counted; refused elsewhere.
"""

from .aggregates import (
    Spread,
    interquartile_mean,
    interquartile_mean_interval,
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
    detectable_difference,
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
from .intervals import (
    CONFIDENCE,
    Estimate,
    mean_interval,
    normal_quantile,
    t_interval,
    wilson_interval,
)
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
    Component,
    Sensitivity,
    nested_components,
    prompt_sensitivity,
    variance_components,
)
from .wording import MEANING, floor_note

__all__ = [
    "CONFIDENCE",
    "MEANING",
    "Area",
    "BootstrapTest",
    "Component",
    "Estimate",
    "PermutationTest",
    "Reliability",
    "Sensitivity",
    "Spread",
    "Test",
    "accuracy",
    "benjamini_hochberg",
    "bootstrap_floor",
    "bootstrap_interval",
    "bootstrap_tests",
    "brier",
    "calibration_error",
    "cluster_sums",
    "crossed_bootstrap",
    "detectable_difference",
    "f1",
    "floor_note",
    "holm",
    "holm_floor",
    "interquartile_mean",
    "interquartile_mean_interval",
    "macro_f1",
    "matthews",
    "mean_interval",
    "median_iqr",
    "nested_components",
    "normal_quantile",
    "over_seeds",
    "paired_improvement",
    "paired_tests",
    "permutation_floor",
    "permutation_tests",
    "probability_of_improvement",
    "prompt_sensitivity",
    "reliability",
    "resampled_means",
    "resampled_sums",
    "roc_area",
    "row_weights",
    "seed_weights",
    "t_interval",
    "variance_components",
    "welch_tests",
    "wilson_interval",
]
