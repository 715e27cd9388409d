"""Fine-tuning against in-context learning: every pair of arms, every test, corrected by family."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from ..data.evaluation_sets import EvaluationSet
from ..rng import generator
from . import result_schemas, stats
from .arms import Arms, Bootstrap, answers_of, arms_of, bootstrap_of
from .metrics import ACCURACIES
from .titles import has_model, has_our_draws, is_baseline, is_imported, is_trained, way_of

SAME_MODEL = "same model"
MATRIX = "matrix"
ACROSS_PATTERNS = "matrix across patterns"
BASELINE = "baseline"
SIDE = ["model", "method", "pattern"]
GROUP = ["method", "pattern", "k", "selection"]
PAIRS = ["family", "arm", "reference", "group"]


def pairs_of(keys: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return the pairs among the arms `keys` (arms.ARM), k > 0, in a fixed order.

    Columns: family; arm and reference, which are rows of `keys`; group, a number shared by the
    comparisons that are corrected together. `catalog` is that of the study; names are ordered as
    it has them. Results made elsewhere are in no pair unless all their prompts were compared with
    the stored draws: tests over seeds ask for the same ones. Baselines are compared in families of
    their own, so that they change no verdict on fine-tuning.
    """
    ours = keys["method"].map(lambda name: has_our_draws(catalog, name)).astype(bool)
    arms = keys.assign(arm=range(len(keys)))[(keys["k"] > 0) & ours]
    kin = {name: entry["family"] for name, entry in catalog["models"].items()}
    arms["kin"] = arms["model"].map(kin)
    trained = arms["method"].map(lambda name: is_trained(catalog, name)).astype(bool)
    baseline = arms["method"].map(lambda name: is_baseline(catalog, name)).astype(bool)
    shown = arms[~trained & ~baseline]
    selected = [*_fine_tuned(arms[trained], shown, catalog), _held(arms[baseline], shown, catalog)]
    whole = pd.concat([pairs for pairs in selected if len(pairs)] or selected[-1:])
    if whole.empty:
        return pd.DataFrame(columns=PAIRS)
    whole = whole.reset_index(drop=True)
    whole["group"] = whole.groupby(["family", "group"], sort=False).ngroup()
    return whole[PAIRS]


def _fine_tuned(arms: pd.DataFrame, shown: pd.DataFrame, catalog: dict) -> list[pd.DataFrame]:
    """Return fine-tuned arms with models in context: of the same model, for each way in which it is
    shown the shots (titles.way_of), and of all of a family: the preferred reference, and those with
    another pattern or another way."""
    pairs = _paired_arms(arms, shown, ["k", "selection", "kin"], catalog)
    if pairs.empty:
        return []
    pairs["way"] = pairs["method_reference"].map(lambda name: way_of(catalog, name))
    same = pairs[pairs["model"] == pairs["model_reference"]]
    same = same[_preferred(same, ["model", "way", *GROUP])]
    first = _preferred(pairs, ["kin", *GROUP])
    other = ["method_reference", "pattern_reference"]
    return [
        _family(same, SAME_MODEL, ["way", *GROUP]),
        _family(pairs[first], MATRIX, ["kin", *GROUP]),
        _family(pairs[~first], ACROSS_PATTERNS, ["kin", *GROUP, *other]),
    ]


def _held(arms: pd.DataFrame, shown: pd.DataFrame, catalog: dict) -> pd.DataFrame:
    """Return baselines with the same model in context or, where they read none, with every one."""
    one = shown["method"].map(lambda name: not way_of(catalog, name)).astype(bool)
    pairs = _paired_arms(arms, shown[one] if one.any() else shown, ["k", "selection"], catalog)
    if pairs.empty:
        return pairs
    alone = ~pairs["method"].map(lambda name: has_model(catalog, name)).astype(bool)
    pairs = pairs[alone | (pairs["model"] == pairs["model_reference"])]
    pairs = pairs[_preferred(pairs, ["model", "model_reference", *GROUP])]
    return _family(pairs, BASELINE, GROUP)


def _paired_arms(
    arms: pd.DataFrame, shown: pd.DataFrame, on: list[str], catalog: dict
) -> pd.DataFrame:
    """Return arms with references that agree in the columns `on`, and how far down these are."""
    pairs = arms.merge(shown, on=on, suffixes=("", "_reference"))
    pairs = pairs.rename(columns={"arm_reference": "reference"})
    return pairs.assign(preference=_preference(pairs, catalog)) if len(pairs) else pairs


def _preference(pairs: pd.DataFrame, catalog: dict) -> pd.Series:
    """Return how far down the list of references a pair's is.

    Results made here come before those made elsewhere, all shots in one context before other ways
    to show them, and then the same pattern before others.
    """
    methods, patterns = list(catalog["methods"]), list(catalog["patterns"])
    method = pairs["method_reference"].map(methods.index)
    pattern = pairs["pattern_reference"].map(patterns.index)
    elsewhere = pairs["method_reference"].map(lambda name: is_imported(catalog, name)).astype(int)
    other = (pairs["pattern"] != pairs["pattern_reference"]).astype(int)
    divided = pairs["method_reference"].map(lambda name: way_of(catalog, name) != "").astype(int)
    rank = 4 * elsewhere + 2 * divided + other
    return (rank * len(methods) + method) * len(patterns) + pattern


def _preferred(pairs: pd.DataFrame, by: list[str]) -> pd.Series:
    return pairs["preference"] == pairs.groupby(by, sort=False)["preference"].transform("min")


def _family(pairs: pd.DataFrame, name: str, by: list[str]) -> pd.DataFrame:
    return pairs.assign(family=name, group=pairs.groupby(by, sort=False).ngroup())


SIDES = ("arm", "reference")
CORRECTED = ["bootstrap", "paired", "welch", "permutation"]
PAIRED = ["p_paired", "t_low", "t_high", "p_permutation", "floor_permutation"]
IMPROVEMENT = ["improvement", "improvement_low", "improvement_high"]
BOOTSTRAP = ["low", "high", "p_bootstrap", "detectable"]
SCORES = (*ACCURACIES, "roc_area")
"""What is compared. The area under the ROC curve counts no answers: it has tests over seeds only.
"""


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
    frames = [
        frame
        for item in sets
        if len(metrics)
        for frame in _compare_on(item, metrics, outcomes, catalog)
    ]
    columns = result_schemas.COMPARISONS.names
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _compare_on(
    item: EvaluationSet, metrics: pd.DataFrame, outcomes: pd.DataFrame, catalog: dict
) -> Iterator[pd.DataFrame]:
    """Yield the comparisons on one set by each score: by accuracy of all pairs, by others of the
    same model alone and where any run has them."""
    pairs = pairs_of(arms_of(metrics, outcomes, item.name).keys, catalog)
    if pairs.empty:
        return
    same_model = pairs[pairs["family"] == SAME_MODEL].reset_index(drop=True)
    bootstrap = bootstrap_of(metrics["task"].iloc[0], item, outcomes)
    shared = catalog.get("shared_draws", True)
    for score in SCORES:
        arms = arms_of(metrics, outcomes, item.name, score)
        compared = pairs if score == "accuracy" else same_model
        if len(compared) and (score == "accuracy" or not np.isnan(arms.score).all()):
            frame = _compare_by(score, arms, compared, outcomes, bootstrap, shared)
            frame["protocol"] = metrics["protocol"].iloc[0]
            yield frame[result_schemas.COMPARISONS.names]


def _compare_by(
    score: str,
    arms: Arms,
    pairs: pd.DataFrame,
    outcomes: pd.DataFrame,
    bootstrap: Bootstrap,
    shared: bool,
) -> pd.DataFrame:
    task, name = bootstrap.task, bootstrap.item.name
    frame = _names(pairs, arms.keys).assign(
        task=task, evaluation_set=name, domain="in" if name == task else "out", score=score
    )
    both = _scores(arms, pairs, shared)
    rng = generator("permutation", task, name)
    frame = frame.assign(**_counts(arms, pairs, both, shared), **_tests(*both, shared, rng))
    answers = answers_of(score)
    if answers is not None:
        bootstrap = bootstrap.of_answers(outcomes[answers].to_numpy(dtype=object))
    frame = frame.assign(**_bootstrap(arms, pairs, both, frame["difference"], bootstrap, shared))
    if answers is not None:
        sampled = frame["difference"].notna() & frame["low"].isna()
        frame["status"] = frame["status"].where(~sampled, _also(frame["status"], "sampled rows"))
    return _corrected(frame, pairs["group"])


def _names(pairs: pd.DataFrame, keys: pd.DataFrame) -> pd.DataFrame:
    """Return family and the names of both sides of each pair."""
    arm = keys.iloc[pairs["arm"]].reset_index(drop=True)
    other = keys.iloc[pairs["reference"]].reset_index(drop=True)[SIDE].add_prefix("reference_")
    return pd.concat([pairs[["family"]], arm, other], axis=1)


def _scores(arms: Arms, pairs: pd.DataFrame, shared: bool) -> list[np.ndarray]:
    """Return the scores [P, S] of both sides, nan for a shared draw that one of them lacks."""
    a, b = (arms.score[pairs[side]] for side in SIDES)
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
        "status": pd.Series([_status(*values) for values in told]),
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
    values = (paired.p, paired.difference.low, paired.difference.high, flips.p, flips.floor)
    return dict(zip(PAIRED, values, strict=True))


def _mean(values: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.nansum(values, axis=1) / np.where(n > 0, n, np.nan)


def _improvement(a: np.ndarray, b: np.ndarray, shared: bool) -> dict[str, np.ndarray]:
    """Return how often a run of a pair [P] beats one of its reference, nan without seeds."""
    beats = stats.paired_improvement if shared else stats.probability_of_improvement
    values = np.full((3, len(a)), np.nan)
    for i in np.flatnonzero(~np.isnan(a).all(axis=1)):
        share = beats(a[i], b[i])
        values[:, i] = share.mean, share.low, share.high
    return dict(zip(IMPROVEMENT, values, strict=True))


def _bootstrap(
    arms: Arms,
    pairs: pd.DataFrame,
    both: list[np.ndarray],
    difference: pd.Series,
    bootstrap: Bootstrap,
    shared: bool,
) -> dict[str, np.ndarray]:
    """Return BOOTSTRAP of the crossed bootstrap, nan where a row prediction is missing."""
    results = {name: np.full(len(pairs), np.nan) for name in BOOTSTRAP}
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
        results["low"][at], results["high"][at] = test.difference.low, test.difference.high
        results["p_bootstrap"][at] = test.p
        results["detectable"][at] = stats.detectable_difference(
            lines[0] - lines[1], comparisons=len(at)
        )
    return results | {"clusters": np.where(made, bootstrap.clusters, 0)}


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
