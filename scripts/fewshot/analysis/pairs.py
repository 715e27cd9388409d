"""Which arms are compared: fine-tuned models and baselines with references in context."""

import pandas as pd

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
