"""Studies whose truth is known: right and wrong answers drawn from effects of draws and rows.

An answer is right where a normal variable is below what its arm reaches on average, after effects
of the row (shared by all arms, and of the arm alone), of the row's cluster, of the draw and of what
the draw makes of a cluster. The mean over all draws and rows is exact, so that arms differ by
nothing, or by a known number of points. Nothing here is shared with the statistics under test.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri


@dataclass(frozen=True)
class Regime:
    """How large a study is and what varies in it.

    Effects are standard deviations on the scale of one answer's own noise, which is 1; `draw` has
    one of each side, in context and fine-tuned: 0.2 is about four points of accuracy.
    `uneven` clusters have sizes of a lognormal law; `designed` ones have one label each, in turn,
    on which the sides differ by `favour`.
    """

    seeds: int = 10
    rows: int = 277
    clusters: int = 0
    accuracy: float = 0.6
    draw: tuple[float, float] = (0.15, 0.25)
    row: float = 1.0
    row_of_arm: float = 0.7
    cluster: float = 0.0
    cluster_of_arm: float = 0.0
    draw_of_cluster: float = 0.0
    uneven: bool = False
    designed: bool = False
    favour: float = 0.0

    def of(self, **changes) -> "Regime":
        """Return the same with other numbers."""
        return replace(self, **changes)


def cluster_of_rows(rng: np.random.Generator, regime: Regime) -> np.ndarray:
    """Return the cluster of each row, ascending, int [rows]; every cluster has two rows or more."""
    count = regime.clusters or regime.rows
    if not regime.uneven:
        return np.arange(regime.rows) * count // regime.rows
    shares = rng.lognormal(0, 0.6, count)
    rest = rng.choice(count, regime.rows - 2 * count, p=shares / shares.sum())
    return np.sort(np.concatenate([np.repeat(np.arange(count), 2), rest]))


def draw_family(
    rng: np.random.Generator,
    regime: Regime,
    of: np.ndarray,
    models: int = 1,
    methods: int = 1,
    gain: float = 0.0,
) -> np.ndarray:
    """Return which answers are right: bool [models, 1 + methods, seeds, rows].

    Of each model the first arm learns in context, the others are fine-tuned and reach `gain` more
    in accuracy, averaged over all draws and rows. Models share the rows' difficulty and, on each
    side, half of the variance of their draws: good examples help them all.
    """
    seeds, clusters = regime.seeds, of.max() + 1
    normal = rng.standard_normal
    row = regime.row * normal(regime.rows) + regime.cluster * normal(clusters)[of]
    side = [regime.draw[0]] + [regime.draw[1]] * methods
    shared = normal((1, 1 + methods, seeds)) * np.sqrt(0.5)
    own = normal((models, 1 + methods, seeds)) * np.sqrt(0.5)
    shape = (models, 1 + methods)
    right = np.empty((*shape, seeds, regime.rows), dtype=bool)
    for model, arm in np.ndindex(shape):
        latent = row + regime.row_of_arm * normal(regime.rows)
        latent = latent + regime.cluster_of_arm * normal(clusters)[of]
        latent = latent + side[arm] * (shared[0, arm] + own[model, arm])[:, None]
        latent = latent + regime.draw_of_cluster * normal((seeds, clusters))[:, of]
        latent = latent + normal((seeds, regime.rows))
        spread = np.sqrt(
            1
            + regime.row**2
            + regime.row_of_arm**2
            + regime.cluster**2
            + regime.cluster_of_arm**2
            + regime.draw_of_cluster**2
            + side[arm] ** 2
        )
        right[model, arm] = latent < spread * _reached(regime, of, arm, gain)
    return right


def _reached(regime: Regime, of: np.ndarray, arm: int, gain: float) -> np.ndarray:
    """Return, per row, the bound that a standard normal variable is below as often as the arm is
    right; labels that a side favours differ by as much up as down."""
    mean = regime.accuracy + (gain if arm else 0.0)
    if not regime.designed:
        return np.full(len(of), ndtri(mean))
    first = (of % 2 == 0).astype(float)
    share = first.mean()
    lean = regime.favour * (1 if arm else -1) / 2
    return ndtri(mean + lean * np.where(first > 0, 1 - share, -share) * 2)
