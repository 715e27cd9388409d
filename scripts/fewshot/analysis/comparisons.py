"""Fine-tuning against in-context learning: every pair of arms, every test, corrected by family."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet
from ..rng import generator
from . import result_schemas, stats
from .arms import Arms, Bootstrap, arms_of, bootstrap_of
from .titles import has_our_draws, is_imported, is_trained

SAME_MODEL = "same model"
MATRIX = "matrix"
ACROSS_PATTERNS = "matrix across patterns"
SIDE = ["model", "method", "pattern"]
GROUP = ["method", "pattern", "k", "selection"]
PAIRS = ["family", "arm", "reference", "group"]


def pairs_of(keys: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the pairs among the arms `keys` (arms.ARM), k > 0, in a fixed order.

    Columns: family; arm and reference, which are rows of `keys`; group, a number shared by the
    comparisons that are corrected together. `catalog` is that of the study; names are ordered as
    it has them. Results made elsewhere are in no pair unless all their prompts were compared with
    the stored draws: tests over seeds ask for the same ones.
    """
    ours = keys["method"].map(lambda name: has_our_draws(catalog, name)).astype(bool)
    arms = keys.assign(arm=range(len(keys)))[(keys["k"] > 0) & ours]
    kin = {name: entry["family"] for name, entry in catalog["models"].items()}
    arms["kin"] = arms["model"].map(kin)
    trained = arms["method"].map(lambda name: is_trained(catalog, name)).astype(bool)
    pairs = arms[trained].merge(
        arms[~trained], on=["k", "selection", "kin"], suffixes=("", "_reference")
    )
    if pairs.empty:
        return pd.DataFrame(columns=PAIRS)
    pairs = pairs.rename(columns={"arm_reference": "reference"})
    pairs["preference"] = _preference(pairs, catalog)
    same = pairs[pairs["model"] == pairs["model_reference"]]
    same = same[_preferred(same, ["model", *GROUP])]
    first = _preferred(pairs, ["kin", *GROUP])
    other = ["method_reference", "pattern_reference"]
    found = [
        _family(same, SAME_MODEL, GROUP),
        _family(pairs[first], MATRIX, ["kin", *GROUP]),
        _family(pairs[~first], ACROSS_PATTERNS, ["kin", *GROUP, *other]),
    ]
    whole = pd.concat(found, ignore_index=True)
    whole["group"] = whole.groupby(["family", "group"], sort=False).ngroup()
    return whole[PAIRS]


def _preference(pairs: pd.DataFrame, catalog: dict) -> pd.Series:
    """Return how far down the list of references a pair's is.

    Results made here come before those made elsewhere, and then the same pattern before others.
    """
    methods, patterns = list(catalog["methods"]), list(catalog["patterns"])
    method = pairs["method_reference"].map(methods.index)
    pattern = pairs["pattern_reference"].map(patterns.index)
    elsewhere = pairs["method_reference"].map(lambda name: is_imported(catalog, name)).astype(int)
    other = (pairs["pattern"] != pairs["pattern_reference"]).astype(int)
    return ((2 * elsewhere + other) * len(methods) + method) * len(patterns) + pattern


def _preferred(pairs: pd.DataFrame, by: list[str]) -> pd.Series:
    return pairs["preference"] == pairs.groupby(by, sort=False)["preference"].transform("min")


def _family(pairs: pd.DataFrame, name: str, by: list[str]) -> pd.DataFrame:
    return pairs.assign(family=name, group=pairs.groupby(by, sort=False).ngroup())


SIDES = ("arm", "reference")
CORRECTED = ["bootstrap", "paired", "welch", "permutation"]
PAIRED = ["p_paired", "t_low", "t_high", "p_permutation", "floor_permutation"]
IMPROVEMENT = ["improvement", "improvement_low", "improvement_high"]
BOOTSTRAP = ["low", "high", "p_bootstrap", "detectable"]


def compare(
    metrics: pd.DataFrame,
    outcomes: pd.DataFrame,
    sets: Iterable[EvaluationSet],
    catalog: dict,
) -> pd.DataFrame:
    """Return all comparisons (result_schemas.COMPARISONS) of one task.

    `metrics` and `outcomes` are those of all its models, `sets` its evaluation sets. Where the
    catalog says that draws are not shared (`shared_draws` is false), each side keeps its own seeds,
    they are resampled apart and no paired test is made. Everything missing stays: a pair with a
    side of fewer than two such seeds has no estimate, and its status says why.
    """
    frames = [_compare_on(item, metrics, outcomes, catalog) for item in sets if len(metrics)]
    frames = [frame for frame in frames if len(frame)]
    columns = result_schemas.COMPARISONS.names
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _compare_on(
    item: EvaluationSet, metrics: pd.DataFrame, outcomes: pd.DataFrame, catalog: dict
) -> pd.DataFrame:
    arms = arms_of(metrics, outcomes, item.name)
    pairs = pairs_of(arms.keys, catalog)
    if pairs.empty:
        return pd.DataFrame()
    first = metrics.iloc[0]
    frame = _names(pairs, arms.keys).assign(
        protocol=first["protocol"],
        task=first["task"],
        evaluation_set=item.name,
        domain="in" if item.name == first["task"] else "out",
    )
    shared = catalog.get("shared_draws", True)
    both = _accuracies(arms, pairs, shared)
    rng = generator("permutation", first["task"], item.name)
    frame = frame.assign(**_counts(arms, pairs, both, shared), **_tests(*both, shared, rng))
    bootstrap = bootstrap_of(first["task"], item, outcomes)
    frame = frame.assign(**_bootstrap(arms, pairs, both, frame["difference"], bootstrap, shared))
    sampled = frame["difference"].notna() & frame["low"].isna()
    frame["status"] = frame["status"].where(~sampled, _also(frame["status"], "sampled rows"))
    return _corrected(frame, pairs["group"])[result_schemas.COMPARISONS.names]


def _names(pairs: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """Return family and the names of both sides of each pair."""
    arm = keys.iloc[pairs["arm"]].reset_index(drop=True)
    other = keys.iloc[pairs["reference"]].reset_index(drop=True)[SIDE].add_prefix("reference_")
    return pd.concat([pairs[["family"]], arm, other], axis=1)


def _accuracies(arms: Arms, pairs: pd.DataFrame, shared: bool) -> list[np.ndarray]:
    """Return the accuracies [P, S] of both sides, nan for a shared draw that one of them lacks."""
    a, b = (arms.accuracy[pairs[side]] for side in SIDES)
    if not shared:
        return [a, b]
    common = ~np.isnan(a + b)
    return [np.where(common, side, np.nan) for side in (a, b)]


def _counts(
    arms: Arms, pairs: pd.DataFrame, both: list[np.ndarray], shared: bool
) -> dict[str, np.ndarray]:
    """Return seeds, rows and status of each pair; apart, of the side that limits it."""
    sides = [pairs[side].to_numpy() for side in SIDES]
    planned, unfit = ([mask[at] for at in sides] for mask in (arms.planned, arms.unfit))
    if shared:
        one, two = planned
        planned = [one & two] * 2
        unfit = [one & two & (unfit[0] | unfit[1])] * 2
    large = np.iinfo(np.int64).max
    used = [~np.isnan(values) for values in both]
    rows = [np.where(here, arms.rows[at], large) for here, at in zip(used, sides, strict=True)]
    fewest = np.minimum(*rows).min(axis=1)
    counts = [np.stack([mask.sum(axis=1) for mask in masks]) for masks in (used, planned, unfit)]
    told = [_limiting(list(map(tuple, pair))) for pair in np.stack(counts).T.tolist()]
    return {
        "seeds": [done for done, _, _ in told],
        "seeds_planned": [wanted for _, wanted, _ in told],
        "rows": np.where(fewest < large, fewest, 0),
        "status": pd.Series([_status(*each) for each in told]),
    }


def _limiting(sides: list[tuple[int, int, int]]) -> tuple[int, int, int]:
    """Return the counts (done, planned, unfit) of the side that a reader has to know of.

    It is one without a test, else one that lacks seeds, else the one with fewer.
    """
    return min(sides, key=lambda side: (side[0] > 1, side[0] >= side[1], side[0]))


def _status(done: int, planned: int, unfit: int) -> str:
    """Return 'ok', or why a comparison is not what was planned."""
    if not done:
        return "does not fit" if planned and unfit == planned else "missing"
    if done < 2:
        return f"too few seeds: {done}/{planned}"
    return "ok" if done == planned else f"{done}/{planned} seeds"


def _also(status: pd.Series, what: str) -> pd.Series:
    return status.where(status != "ok", "").str.cat([what] * len(status), sep="; ").str.lstrip("; ")


def _tests(
    a: np.ndarray, b: np.ndarray, shared: bool, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the tests over seeds [P] of accuracies [P, S], nan for pairs with too few seeds."""
    counts = [(~np.isnan(values)).sum(axis=1) for values in (a, b)]
    enough = np.minimum(*counts) > 1
    a, b = np.where(enough[:, None], a, np.nan), np.where(enough[:, None], b, np.nan)
    n = np.where(enough, counts, 0)
    welch = stats.welch_tests(a, b)
    paired = _paired(a, b, rng) if shared else dict.fromkeys(PAIRED, np.full(len(a), np.nan))
    return paired | {
        "mean": _mean(a, n[0]),
        "reference_mean": _mean(b, n[1]),
        "difference": welch.difference.mean,
        "welch_t": welch.t,
        "welch_df": welch.df,
        "p_welch": welch.p,
        **_improvement(a, b, shared),
    }


def _paired(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the tests over shared draws, PAIRED, of accuracies [P, S]."""
    paired, flips = stats.paired_tests(a, b), stats.permutation_tests(a, b, rng)
    found = (paired.p, paired.difference.low, paired.difference.high, flips.p, flips.floor)
    return dict(zip(PAIRED, found, strict=True))


def _mean(values: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.nansum(values, axis=1) / np.where(n > 0, n, np.nan)


def _improvement(a: np.ndarray, b: np.ndarray, shared: bool) -> dict[str, np.ndarray]:
    """Return how often a run of a pair [P] beats one of its reference, nan without seeds."""
    beats = stats.paired_improvement if shared else stats.probability_of_improvement
    found = np.full((3, len(a)), np.nan)
    for i in np.flatnonzero(~np.isnan(a).all(axis=1)):
        share = beats(a[i], b[i])
        found[:, i] = share.mean, share.low, share.high
    return dict(zip(IMPROVEMENT, found, strict=True))


def _bootstrap(
    arms: Arms,
    pairs: pd.DataFrame,
    both: list[np.ndarray],
    difference: pd.Series,
    bootstrap: Bootstrap,
    shared: bool,
) -> dict[str, np.ndarray]:
    """Return BOOTSTRAP of the crossed bootstrap, nan where a row prediction is missing."""
    found = {name: np.full(len(pairs), np.nan) for name in BOOTSTRAP}
    runs = [arms.outcome[pairs[side]] for side in SIDES]
    used = [~np.isnan(values) for values in both]
    whole = [(~here | (run >= 0)).all(axis=1) for here, run in zip(used, runs, strict=True)]
    made = whole[0] & whole[1] & difference.notna().to_numpy()
    sides = ("draws", "draws" if shared else "other draws")
    for _, members in pairs[made].groupby("group", sort=False):
        at = members.index.to_numpy()
        lines = [
            np.array([bootstrap.line(run[i][here[i]], side) for i in at])
            for run, here, side in zip(runs, used, sides, strict=True)
        ]
        estimate = difference.to_numpy()[at]
        test = stats.crossed_bootstrap(*lines, estimate, used[0][at].sum(axis=1))
        found["low"][at], found["high"][at] = test.difference.low, test.difference.high
        found["p_bootstrap"][at] = test.p
        found["detectable"][at] = stats.detectable_difference(
            lines[0] - lines[1], comparisons=len(at)
        )
    return found | {"clusters": np.where(made, bootstrap.clusters, 0)}


def _corrected(frame: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    """Add p-values adjusted within each group, and how many comparisons a group has."""
    numbers = frame[[f"p_{name}" for name in CORRECTED]].to_numpy(dtype=float)
    holm, bh = np.full_like(numbers, np.nan), np.full_like(numbers, np.nan)
    for places in group.groupby(group, sort=False).indices.values():
        for column in range(len(CORRECTED)):
            holm[places, column] = stats.holm(numbers[places, column])
            bh[places, column] = stats.benjamini_hochberg(numbers[places, column])
    adjusted = {f"holm_{name}": holm[:, i] for i, name in enumerate(CORRECTED)}
    adjusted |= {f"bh_{name}": bh[:, i] for i, name in enumerate(CORRECTED)}
    # The verdict rests on the bootstrap: a pair without its p takes no part in that correction.
    tested = frame["p_bootstrap"].notna().groupby(group).transform("sum")
    estimated = frame["difference"].notna().groupby(group).transform("sum")
    return frame.assign(**adjusted, family_size=tested.where(tested > 0, estimated))
