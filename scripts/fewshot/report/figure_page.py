"""The page of one interactive figure: title, drawing with tooltips, caption; self-contained."""

import json

import jinja2
import vl_convert

STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 84rem; color: #1f2328; background: #fff;
  overflow-wrap: anywhere;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; }
h1 { font-size: 1.3rem; line-height: 1.25; margin: 0 0 1rem; }
p { color: #5f6670; font-size: .95rem; max-width: 58rem; }
.scroll { overflow-x: auto; }
.scroll .vega-embed { display: block; width: 100%; min-width: 52rem; }
.vega-embed svg.marks { display: block; width: 100%; height: auto; }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<h1>{{ title }}</h1>
<div class="scroll" role="region" tabindex="0" aria-label="{{ title }}">
<div id="figure"></div></div>
<noscript><p>The drawing needs JavaScript. The same figure is beside this page as SVG, PDF and
PNG.</p></noscript>
{% if caption %}<p>{{ caption }}</p>{% endif %}
<script>{{ program }}</script>
<script>vegaEmbed("#figure", {{ spec }}, {renderer: "svg"});</script>
</body>
</html>
"""


def figure_page(spec: dict, caption: str, vega_version: str) -> str:
    """Return a Vega-Lite specification as a page, titled by its `description`.

    The drawing is as wide as the page, and about 800 pixels at least: on a phone it scrolls. The
    specification stands in a script, which a title with "</script>" would end: each "<" of it is
    written as its escape in JSON.
    """
    written = json.dumps(spec).replace("<", r"\u003c")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(PAGE).render(
        title=spec.get("description", "Figure"),
        caption=" ".join(caption.split()),
        style=jinja2.filters.Markup(STYLE),
        program=jinja2.filters.Markup(vl_convert.javascript_bundle(vl_version=vega_version)),
        spec=jinja2.filters.Markup(written),
    )
