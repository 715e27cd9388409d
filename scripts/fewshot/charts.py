"""The figures of a study: each function turns stored evidence into an Altair chart."""

from . import theme
from .courses import accuracy_by_k, learning_curves
from .crossings import break_even
from .errors import unknown
from .evidence import Evidence
from .frontiers import cost_accuracy
from .overview import metrics_panels
from .scatter import id_ood_scatter
from .subcases import hans_by_subcase

CHARTS = {
    "id_ood_scatter": id_ood_scatter,
    "accuracy_by_k": accuracy_by_k,
    "learning_curves": learning_curves,
    "hans_by_subcase": hans_by_subcase,
    "metrics_panels": metrics_panels,
    "cost_accuracy": cost_accuracy,
    "break_even": break_even,
}


def make(function: str, evidence: Evidence, catalog: dict, options: dict, title: str) -> dict:
    """Return the Vega-Lite specification of one entry of config/figures.yaml.

    Without results the figure says that it is empty.
    """
    if function not in CHARTS:
        raise unknown("figure function", function, CHARTS, "config/figures.yaml: figures")
    spec = CHARTS[function](evidence, catalog, **options).to_dict()
    return {**spec, "config": theme.config(), "description": title}
