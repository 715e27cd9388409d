"""The figures of a study: each function turns metrics into an Altair chart."""

import pandas as pd

from . import theme
from .courses import accuracy_by_k, learning_curves
from .errors import unknown
from .scatter import id_ood_scatter
from .subcases import hans_by_subcase

CHARTS = {
    "id_ood_scatter": id_ood_scatter,
    "accuracy_by_k": accuracy_by_k,
    "learning_curves": learning_curves,
    "hans_by_subcase": hans_by_subcase,
}


def make(function: str, metrics: pd.DataFrame, catalog: dict, options: dict, title: str) -> dict:
    """Return the Vega-Lite specification of one entry of config/figures.yaml.

    `metrics` has the columns of records.METRICS; without rows the figure says that it is empty.
    """
    if function not in CHARTS:
        raise unknown("figure function", function, CHARTS, "config/figures.yaml: figures")
    spec = CHARTS[function](metrics, catalog, **options).to_dict()
    return {**spec, "config": theme.config(), "description": title}
