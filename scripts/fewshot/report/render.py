"""Turn Vega-Lite specifications into SVG, PDF, PNG and HTML, without browser or network."""

import json
from pathlib import Path

import altair
import vl_convert

from .. import storage
from .figure_page import figure_page

DOTS_PER_INCH = 300
KINDS = ("svg", "pdf", "png", "html")
"""What a figure is rendered to."""


def write_spec(path: str | Path, spec: dict) -> None:
    """Write a specification with its data: sorted keys, so equal figures are equal bytes."""
    with storage.atomic(path) as partial:
        partial.write_text(json.dumps(spec, sort_keys=True, separators=(",", ":")) + "\n", "utf-8")


def vega_version() -> str:
    """Return the Vega-Lite version of the specifications, as vl-convert names it."""
    return ".".join(altair.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def to_png(spec: dict, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a figure as PNG, with the font it was laid out for."""
    return vl_convert.vegalite_to_png(spec, vl_version=vega_version(), ppi=dots_per_inch)


def to_svg(spec: dict) -> str:
    """Return a figure as SVG; one of its pixels is one point in print."""
    return vl_convert.vegalite_to_svg(spec, vl_version=vega_version())


def render(spec: dict, paths: dict[str, str], caption: str = "") -> None:
    """Write a figure to `paths` by kind: svg, pdf, png, and html with its `caption`.

    PDF and PNG are made from the SVG, with the same bytes as from the specification: laying a
    figure out takes longest.
    """
    svg = to_svg(spec)
    kinds = {
        "svg": svg.encode,
        "pdf": lambda: vl_convert.svg_to_pdf(svg),
        "png": lambda: vl_convert.svg_to_png(svg, ppi=DOTS_PER_INCH),
        "html": lambda: figure_page(spec, caption, vega_version()).encode(),
    }
    for kind, path in paths.items():
        with storage.atomic(path) as partial:
            partial.write_bytes(kinds[kind]())
