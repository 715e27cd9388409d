"""What a study of this size could have found."""

import numpy as np
from scipy import optimize, special


def detectable_difference(
    sd: np.ndarray,
    n: int,
    power: float = 0.8,
    alpha: float = 0.05,
    paired: bool = True,
    comparisons: int = 1,
) -> np.ndarray:
    """Return the smallest true difference that a two-sided t-test finds with chance `power`.

    The δ for which P(|T| > t_{1-α/2}) = `power`, where T has the noncentral t distribution with
    noncentrality δ / se (Cohen 1988, 2.2-2.3). Paired: `sd` is that of the differences,
    se = sd / √n, n - 1 degrees of freedom. Else `sd` is that of the values within an arm of n,
    se = sd √(2/n), 2n - 2 degrees of freedom. `alpha` is divided by the number of `comparisons`
    (Bonferroni, Holm's first step). `sd` may be an array. nan where n < 2, and where the
    distribution cannot be computed (n = 2 with thousands of comparisons).
    """
    if not alpha / comparisons < power < 1:
        raise ValueError("power must lie between alpha / comparisons and 1")
    if n < 2:
        return np.full(np.shape(sd), np.nan)[()]
    df = n - 1 if paired else 2 * n - 2
    se = np.asarray(sd, dtype=float) * np.sqrt((1 if paired else 2) / n)
    critical = special.stdtrit(df, 1 - alpha / comparisons / 2)

    def shortfall(noncentrality: float) -> float:
        missed = special.nctdtr(df, noncentrality, critical)
        other = special.nctdtr(df, noncentrality, -critical)
        # A significant difference of the wrong sign: below 1e-10 where scipy has no number for it.
        return missed - (0 if np.isnan(other) else other) - (1 - power)

    highest = critical
    while shortfall(highest) > 0:
        highest *= 1.2
    if np.isnan(shortfall(highest)):
        return np.full(np.shape(sd), np.nan)[()]
    return (optimize.brentq(shortfall, 0, highest, xtol=1e-10) * se)[()]
