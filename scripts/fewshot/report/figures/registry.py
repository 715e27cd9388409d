"""The figures of a study: each function turns stored evidence into a Vega-Lite specification."""

from dataclasses import replace
from pathlib import Path

from altair.utils.schemapi import debug_mode

from ...analysis.evidence import Evidence, Watched
from ...analysis.titles import is_baseline
from ...errors import unknown
from .. import render
from . import theme
from .break_even import break_even
from .by_size import calibration, effect_of_k, icl_patterns_shots, methods_compared, model_selection
from .choices import honest_choice
from .cost_accuracy import cost_accuracy
from .curves import accuracy_by_k, accuracy_by_wrong_labels, learning_curves
from .differences import differences
from .hans import hans_by_heuristic, hans_by_subcase
from .matrix import welch_matrix
from .method_list import methods_listed
from .metrics_by_k import metrics_panels
from .order_spread import order_spread
from .over_training import over_training
from .scatter import id_ood_scatter, individual_runs
from .variance import prompt_sensitivity, variance

CHARTS = {
    "id_ood_scatter": id_ood_scatter,
    "accuracy_by_k": accuracy_by_k,
    "learning_curves": learning_curves,
    "hans_by_subcase": hans_by_subcase,
    "metrics_panels": metrics_panels,
    "cost_accuracy": cost_accuracy,
    "break_even": break_even,
    "hans_by_heuristic": hans_by_heuristic,
    "individual_runs": individual_runs,
    "over_training": over_training,
    "model_selection": model_selection,
    "methods_compared": methods_compared,
    "methods_listed": methods_listed,
    "icl_patterns_shots": icl_patterns_shots,
    "effect_of_k": effect_of_k,
    "welch_matrix": welch_matrix,
    "differences": differences,
    "calibration": calibration,
    "honest_choice": honest_choice,
    "variance": variance,
    "prompt_sensitivity": prompt_sensitivity,
    "accuracy_by_wrong_labels": accuracy_by_wrong_labels,
    "order_spread": order_spread,
}
CURVES = ("learning_curves", "over_training", "metrics_panels")
BREAKDOWN = ("hans_by_subcase", "hans_by_heuristic")


def part_of(function: str) -> str:
    """Return which of `evidence.PARTS` a function needs."""
    return "curves" if function in CURVES else "breakdown" if function in BREAKDOWN else "overall"


def make_figure(
    function: str, evidence: Evidence, catalog: dict, options: dict, title: str
) -> dict:
    """Return the Vega-Lite specification of one entry of config/figures.yaml.

    Without results the figure says that it is empty. The specification is not checked against
    Vega-Lite's schema, which would take longer than all the rest; the tests do that.
    """
    if function not in CHARTS:
        raise unknown("figure function", function, CHARTS, "figures.yaml: figures")
    evidence, catalog = without_baselines(evidence, catalog)
    watched = Watched(evidence)
    with debug_mode(False):
        spec = CHARTS[function](watched, catalog, **options)
    datasets = {name: list(rows) for name, rows in spec["datasets"].items()}
    # What the figure was made from; Vega-Lite leaves `usermeta` to its users.
    common = {"datasets": datasets, "config": theme.config(), "usermeta": {"read": watched.read}}
    return {**spec, **common, "description": title}


def without_baselines(evidence: Evidence, catalog: dict) -> tuple[Evidence, dict]:
    """Return evidence and catalog without baselines: figures set ways to adapt a model side by
    side, and tables have the rest."""
    names = [name for name in catalog["methods"] if is_baseline(catalog, name)]
    if not names:
        return evidence, catalog
    frames = {
        part: frame[~frame["method"].isin(names)]
        for part in ("metrics", "windows", "costs", "comparisons", "variance")
        for frame in [getattr(evidence, part)]
    }
    catalog = {
        **catalog,
        "methods": {key: each for key, each in catalog["methods"].items() if key not in names},
        "models": {key: each for key, each in catalog["models"].items() if each["parameters"]},
    }
    return replace(evidence, **frames), catalog


def write_figure(
    paths: dict[str, str | Path], entry: dict, evidence: Evidence, catalog: dict
) -> dict:
    """Make the figure of an entry, write it to `paths` ("spec" and `render.KINDS`), return it."""
    spec = make_figure(entry["function"], evidence, catalog, entry["options"], entry["title"])
    render.write_spec(paths["spec"], spec)
    render.render(spec, {kind: paths[kind] for kind in render.KINDS})
    return spec
