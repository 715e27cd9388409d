"""The figures of a study: each function turns stored evidence into an Altair chart."""

from . import theme
from .courses import accuracy_by_k, learning_curves
from .errors import unknown
from .evidence import Evidence, Watched
from .scatter import id_ood_scatter
from .subcases import hans_by_subcase

CHARTS = {
    "id_ood_scatter": id_ood_scatter,
    "accuracy_by_k": accuracy_by_k,
    "learning_curves": learning_curves,
    "hans_by_subcase": hans_by_subcase,
}


def make(function: str, evidence: Evidence, catalog: dict, options: dict, title: str) -> dict:
    """Return the Vega-Lite specification of one entry of config/figures.yaml.

    Without results the figure says that it is empty.
    """
    if function not in CHARTS:
        raise unknown("figure function", function, CHARTS, "config/figures.yaml: figures")
    watched = Watched(evidence)
    spec = CHARTS[function](watched, catalog, **options).to_dict()
    # What the figure was made from; Vega-Lite leaves `usermeta` to its users.
    meta = {"read": watched.read}
    return {**spec, "config": theme.config(), "description": title, "usermeta": meta}
