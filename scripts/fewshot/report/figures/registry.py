"""The figures of a study: each function turns stored evidence into a Vega-Lite specification."""

import logging
from dataclasses import replace
from pathlib import Path

from altair.utils.schemapi import debug_mode

from ...analysis.evidence import Evidence, Watched
from ...analysis.titles import is_baseline
from ...errors import unknown
from .. import render, select
from . import glyphs, panels, theme
from .aggregates import aggregates
from .bias import bias
from .break_even import break_even
from .by_size import calibration, effect_of_k, icl_patterns_shots, methods_compared, model_selection
from .choices import honest_choice
from .cost_accuracy import cost_accuracy
from .curves import accuracy_by_k, accuracy_by_wrong_labels, learning_curves
from .differences import differences
from .forgetting import forgetting
from .hans import hans_by_heuristic, hans_by_subcase
from .latency import latency
from .matrix import welch_matrix
from .method_list import methods_listed
from .metrics_by_k import metrics_panels
from .money import money
from .order_spread import order_spread
from .over_training import over_training
from .scatter import id_ood_scatter, individual_runs
from .variance import prompt_sensitivity, variance

LOG = logging.getLogger(__name__)
CHARTS = {
    "id_ood_scatter": id_ood_scatter,
    "accuracy_by_k": accuracy_by_k,
    "learning_curves": learning_curves,
    "hans_by_subcase": hans_by_subcase,
    "metrics_panels": metrics_panels,
    "cost_accuracy": cost_accuracy,
    "break_even": break_even,
    "money": money,
    "latency": latency,
    "forgetting": forgetting,
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
    "aggregates": aggregates,
    "bias": bias,
}
CURVES = ("learning_curves", "over_training", "metrics_panels")
BREAKDOWN = ("hans_by_subcase", "hans_by_heuristic")


ANY_CHECKPOINT = (
    *("learning_curves", "over_training", "model_selection"),
    *("icl_patterns_shots", "honest_choice", "bias", "forgetting", "latency"),
)
"""Functions that show no checkpoint, several by name, or one that is never the oracle."""
ORACLE = "best-out-of-domain"
ORACLE_NOTE = (
    "Oracle: the checkpoint is the best out of domain, chosen by the out-of-domain rows: nobody "
    "has it, and its accuracy on them is too high."
)


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
    oracle = (
        function not in ANY_CHECKPOINT
        and select.main_selection(catalog, options.get("selection")) == ORACLE
    )
    with debug_mode(False):
        spec = CHARTS[function](watched, marked(catalog) if oracle else catalog, **options)
    if oracle:
        spec = panels.footnote(spec, [ORACLE_NOTE])
    datasets = {name: list(rows) for name, rows in spec["datasets"].items()}
    # What the figure was made from; Vega-Lite leaves `usermeta` to its users.
    common = {"datasets": datasets, "config": theme.config(), "usermeta": {"read": watched.read}}
    return {**spec, **common, "description": title}


def marked(catalog: dict) -> dict:
    """Return a catalog in which the title of each fine-tuned method says that it is an oracle: its
    checkpoint was chosen by out-of-domain rows."""
    methods = {
        name: {**entry, "title": f"{entry['title']} (oracle)"} if entry["trained"] else entry
        for name, entry in catalog["methods"].items()
    }
    return {**catalog, "methods": methods}


def without_baselines(evidence: Evidence, catalog: dict) -> tuple[Evidence, dict]:
    """Return evidence and catalog without baselines: figures set ways to adapt a model side by
    side, and tables have the rest."""
    names = [name for name in catalog["methods"] if is_baseline(catalog, name)]
    if not names:
        return evidence, catalog
    frames = {
        part: frame[~frame["method"].isin(names)]
        for part in ("metrics", "windows", "costs", "comparisons", "variance", "bias")
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
    render.render(spec, {kind: paths[kind] for kind in render.KINDS}, entry["caption"])
    for line in glyphs.missing(Path(paths["svg"]).read_text("utf-8")):
        LOG.warning("figure '%s': %s", entry["title"], line)
    return spec
