"""What a study of this size could have found."""

import numpy as np

from .resampling import bootstrap_floor


def detectable_difference(
    resampled: np.ndarray, power: float = 0.8, alpha: float = 0.05, comparisons: int = 1
) -> np.ndarray:
    """Return the true difference that the crossed bootstrap finds with chance `power`, about.

    (q(1 - α/2m) - q(α/2m)) / 2 + (q(power) - q(1 - power)) / 2 with the quantiles q of the
    `resampled` differences [..., B] and m `comparisons` (Bonferroni, Holm's first step): what lies
    outside the interval at the level α/m, and by as much more as the estimate may fall short. For
    resampled values from a normal distribution with standard error se this is the well-known
    (z_{1-α/2m} + z_{power}) se (Bloom 1995); quantiles carry the wider tails of few seeds, where
    a standard deviation may not even exist. nan where m times the smallest p that so many resamples
    can give is not below α: there nothing could be found.
    """
    if not alpha / comparisons < power < 1:
        raise ValueError("power must lie between alpha / comparisons and 1")
    resampled = np.asarray(resampled, dtype=float)
    if not comparisons * bootstrap_floor(resampled.shape[-1]) < alpha:
        return np.full(resampled.shape[:-1], np.nan)[()]
    tails = np.array([alpha / comparisons / 2, 1 - power])
    ends = np.quantile(resampled, [*(1 - tails), *tails], axis=-1, method="weibull")
    return ((ends[:2] - ends[2:]).sum(axis=0) / 2)[()]
