"""Which arms are compared, and which comparisons are corrected together.

Every comparison is a fine-tuned arm minus an in-context arm at the same number of shots, on one
evaluation set, under one selection of the checkpoint. Families:

SAME_MODEL: both sides are the same model. The reference has the same pattern, or the study's first
one where in-context learning was not run with it. Corrected together: all models of one method,
pattern, number of shots, selection and evaluation set.

MATRIX: every model of a model family (as in config/models.yaml) fine-tuned against every one of
them in context; Table 1 of Mosbach et al. 2023 is such a matrix. Its diagonal repeats SAME_MODEL.
Corrected together: one matrix.

ACROSS_PATTERNS: such matrices with every other pattern, or method, in context. (The paper sets
fine-tuning with its minimal pattern against in-context learning with that of GPT-3.)
"""

import pandas as pd

from .catalog import has_our_draws, is_imported, is_trained

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
