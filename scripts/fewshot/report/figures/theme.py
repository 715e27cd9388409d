"""How every figure looks: sizes, fonts, and the colour and shape of each model and method.

One pixel of a chart is one point in print. `WIDTH` is the text width of a two-column paper (7 in),
`COLUMN` one column (3.3 in).
"""

from collections.abc import Iterable
from functools import partial
from itertools import cycle

import altair as alt
import pandas as pd

from ...analysis.titles import SELECTIONS as SELECTION_TITLES
from ...analysis.titles import arms, model_order, titles

WIDTH = 504
COLUMN = 238
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
INK, GREY, LIGHT = "#222222", "#6b6b6b", "#e4e4e4"
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")

# Sizes of a family run from light to dark in one hue; with any colour vision the ends of all are
# told apart, and so are their middles. Families differ in shape as well.
FAMILIES = [
    (("#cfb0dc", "#40004b"), "circle"),
    (("#9fd8a4", "#00441b"), "triangle-up"),
    (("#f0b46a", "#7f3b08"), "square"),
    (("#9fe8f5", "#08589e"), "diamond"),
    (("#f89777", "#300e03"), "triangle-down"),
    (("#b6d8cf", "#194d40"), "cross"),
    (("#e28db8", "#391326"), "triangle-right"),
    (("#c794f9", "#52089b"), "triangle-left"),
]
# Okabe and Ito's palette. Fixed by what a method does, so that a figure with fewer methods does
# not give its colours to others.
METHODS = {
    "in-context": ("#0072B2", "circle"),
    "pattern-ft": ("#D55E00", "square"),
    "vanilla-ft": ("#E69F00", "diamond"),
    "lora": ("#009E73", "triangle-up"),
    "bitfit": ("#CC79A7", "triangle-down"),
}
OTHERS = [
    *(("#56B4E9", "cross"), ("#8c6d1f", "triangle-left"), ("#555555", "triangle-right")),
    *(("#7570B3", "square"), ("#000000", "diamond"), ("#A6001A", "circle")),
    *(("#1B7837", "cross"), ("#C51B7D", "triangle-left"), ("#2166AC", "triangle-right")),
]
# What is no model and no method has colours of its own (from Paul Tol's muted palette).
SELECTIONS = {
    "last": ("#222222", "circle"),
    "best-in-domain": ("#44AA99", "square"),
    "held-out": ("#AA4499", "triangle-up"),
    "best-out-of-domain": ("#CC6677", "diamond"),
}
DOMAINS = {"in": "#332288", "out": "#CC6677"}
PATTERNS = [
    *(("#332288", "circle"), ("#CC6677", "square"), ("#44AA99", "diamond")),
    *(("#DDCC77", "triangle-up"), ("#88CCEE", "triangle-down"), ("#882255", "cross")),
]
# Better in context or fine-tuned: tints of these methods' colours, lightest in the middle.
DIVERGING = ["#0072B2", "#c3dcec", "#ffffff", "#f7d3bb", "#D55E00"]
PALE = "#f3f3f3"
COMPONENTS = {
    "seed": "#332288",
    "order": "#117733",
    "pattern": "#CC6677",
    "seed × pattern": "#DDCC77",
    "rows": "#88CCEE",
}
TONES = [("#ffffff", 0.0), ("#000000", 0.45), ("#ffffff", 0.45)]
"""What the colour of a method is blended with for the study's first, second and third pattern."""
DASHES = [[1, 0], [4, 2], [1, 2], [6, 2, 1, 2]]


def config() -> dict:
    """Return the Vega-Lite configuration of every figure."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 7.5, "titleFontSize": 8}
    return {
        "font": FONT,
        "background": "white",
        "padding": 4,
        "view": {"stroke": "#bbbbbb", "strokeWidth": 0.5},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "domainColor": GREY,
            "domainWidth": 0.5,
            "tickColor": GREY,
            "tickSize": 3,
            "tickWidth": 0.5,
            "gridColor": LIGHT,
            "gridWidth": 0.5,
            "titlePadding": 4,
            "labelPadding": 2,
            "labelLimit": 200,
        },
        "legend": {
            **text,
            "orient": "bottom",
            "titleFontWeight": "bold",
            "symbolSize": 45,
            "columnPadding": 14,
            "rowPadding": 2,
            "labelLimit": 220,
            "offset": 6,
        },
        "title": {"fontSize": 8, "color": INK, "anchor": "middle", "offset": 4},
        "text": {"fontSize": 8, "color": INK},
    }


def model_styles(catalog: dict, present: set[str] | None = None) -> dict[str, dict]:
    """Return title -> colour, shape and dash of the models, in order; of those `present` alone."""
    models = catalog["models"]
    families = list(dict.fromkeys(entry["family"] for entry in models.values()))
    styles = {}
    for name in model_order(catalog):
        family = models[name]["family"]
        ends, shape = FAMILIES[families.index(family) % len(FAMILIES)]
        members = [other for other in model_order(catalog) if models[other]["family"] == family]
        # One or two models stand between the ends, more reach both.
        inner = len(members) < 3
        share = (members.index(name) + inner) / (len(members) + (1 if inner else -1))
        title = titles(catalog, "models")[name]
        if present is None or title in present:
            styles[title] = _style(blend(*ends, share), shape)
    return styles


def shaped(names: Iterable[str]) -> dict[str, dict]:
    """Return name -> style where colour tells something else: a shape each, in order."""
    return {name: _style(INK, shape) for name, shape in zip(names, cycle(SHAPES), strict=False)}


def blend(first: str, last: str, share: float) -> str:
    """Return the colour that lies `share` of the way from `first` to `last` (hex, sRGB)."""
    pairs = zip(_channels(first), _channels(last), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def _channels(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def _looks(catalog: dict) -> dict[str, tuple[str, str]]:
    """Return method -> colour and shape, the same in every figure of a study."""
    taken, spare, looks = set(), iter(OTHERS * len(catalog["methods"])), {}
    for name, entry in catalog["methods"].items():
        kind = entry["kind"]
        looks[name] = METHODS[kind] if kind in METHODS and kind not in taken else next(spare)
        taken.add(kind)
    return looks


def method_styles(catalog: dict) -> dict[str, dict]:
    """Return title -> colour, shape and dash of the methods, in order."""
    names, looks = titles(catalog, "methods"), _looks(catalog)
    return {names[name]: _style(*look) for name, look in looks.items()}


def arm_styles(catalog: dict, frame: pd.DataFrame) -> dict[str, dict]:
    """Return title -> colour, shape and dash of the arms (method × pattern) in `frame`.

    The study's first pattern has the method's colour; the second is darker, the third lighter, and
    each has a dash of its own.
    """
    looks, patterns = _looks(catalog), list(catalog["patterns"])
    styles = {}
    for (method, pattern), title in arms(catalog, frame).items():
        number, (color, mark) = patterns.index(pattern), looks[method]
        tone = blend(color, *TONES[number % len(TONES)])
        styles[title] = _style(tone, mark, DASHES[number % len(DASHES)])
    return styles


def _style(color: str, mark: str, dash: list[int] | None = None) -> dict:
    return {"color": color, "shape": mark, "dash": dash or DASHES[0]}


def selection_styles() -> dict[str, dict]:
    """Return title -> colour, shape and dash of the checkpoints, in order."""
    return {SELECTION_TITLES[name]: _style(*look) for name, look in SELECTIONS.items()}


def pattern_styles(catalog: dict) -> dict[str, dict]:
    """Return title -> colour, shape and dash of the study's patterns, in order."""
    looks = zip(titles(catalog, "patterns").values(), cycle(PATTERNS))
    return {title: _style(*look) for title, look in looks}


def choice_styles(catalog: dict) -> dict[str, dict]:
    """Return title -> colour, shape and dash of the study's choices of settings, in order."""
    names = (entry["title"] for entry in catalog["choices"].values())
    return {title: _style(*look) for title, look in zip(names, cycle(PATTERNS))}


def _channel(
    kind: type, look: str, field: str, styles: dict[str, dict], legend: alt.Legend
) -> alt.SchemaBase:
    """Return the channel of a field whose values are styled: their "color", "shape" or "dash"."""
    scale = alt.Scale(domain=list(styles), range=[style[look] for style in styles.values()])
    return kind(f"{field}:N", scale=scale, legend=legend)


color = partial(_channel, alt.Color, "color")
shape = partial(_channel, alt.Shape, "shape")
dash = partial(_channel, alt.StrokeDash, "dash")


def legend(styles: dict[str, dict], width: int = WIDTH) -> alt.Legend:
    """Return a legend below the figure, in as many columns as fit into `width`."""
    longest = max(map(len, styles), default=1)
    fitting = max(1, int(width // (longest * 4 + 28)))
    rows = -(-len(styles) // fitting)
    # Vega would leave out all beyond its limit.
    more = {"symbolLimit": len(styles)} if len(styles) > 30 else {}
    return alt.Legend(title=None, columns=-(-len(styles) // max(rows, 1)), symbolOpacity=1, **more)
