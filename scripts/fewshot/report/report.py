"""The report of a study: from the question to the answer, on one page, and a summary as text."""

import base64
import re
import struct
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import yaml

from .. import storage
from ..analysis import stats
from ..analysis.evidence import Evidence
from ..analysis.titles import SELECTIONS, language_models, titles
from ..data import halves
from ..formatting import number_of
from ..study.cells import read_seeds, seed_ranges
from . import html_tables, render, table_text
from .answers import answer, criterion
from .page import PAGE, STYLE
from .provenance import evidence_files, origin, provenance
from .table_text import Table
from .tables import registry
from .tables.bias import bias_lines
from .tables.choices import cost_lines
from .tables.forgetting import forgetting_lines

TABLE_FILES = ("parquet", "csv", "tex", "md")
FIGURE_FILES = ("html", "pdf", "svg", "png", "vl.json")
WIDTH = 100
"""Characters of a line of the summary."""
SCREEN = 150
"""Dots per inch of the figures in the page."""
ENLARGED = 1.6
"""CSS pixels for each point of a figure: its smallest text, of 7 points, is then 11 pixels high."""
NARROWEST = 600
"""CSS pixels that a figure is wide at least."""
HEADLINE = "Accuracy at the main number of shots"
"""What the headline table is called in a study that does not keep it as a table."""
FOLDED = ("6 Costs and coverage", "7 Setting")
"""Categories that the page shows folded: what few readers ask first."""


@dataclass(frozen=True)
class ReportInputs:
    """What a report is written about.

    `settings` and `catalog` are the study's, `figures` and `tables` its entries of
    config/figures.yaml by name; `specs` gives each figure's specification, `models` and `sources`
    the manifests of what was downloaded, `held_out` those of runs that scored shots. `files` are
    the paths of the evidence by its parts, `versions` the code that tables and figures are made by
    ("table", "figure").
    """

    settings: dict
    catalog: dict
    figures: dict[str, dict]
    tables: dict[str, dict]
    evidence: Evidence
    specs: dict[str, dict]
    models: list[dict] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)
    held_out: list[dict] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    partial: bool = False

    @property
    def title(self) -> str:
        """Return the study's title, or its name."""
        return self.settings.get("title") or self.settings["study"]


def write_report(study: ReportInputs, report: str | Path, summary: str | Path) -> None:
    """Write the page and the summary; links are relative to the page's folder."""
    with storage.atomic(report) as partial:
        partial.write_text(page(study), "utf-8")
    with storage.atomic(summary) as partial:
        partial.write_text(summary_text(study, Path(report).parent), "utf-8")


def page(study: ReportInputs) -> str:
    """Return the report as one HTML page that needs no other file."""
    evidence, catalog = study.evidence, study.catalog
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    facts = {"Evidence": evidence_files(study.files)}
    facts |= provenance(study.models, study.sources, evidence.manifests, catalog, study.held_out)
    found = answer(evidence.comparisons, catalog, evidence.contrasts)
    main = next(iter(_in_order(study.figures)), None)
    return environment.from_string(PAGE).render(
        title=study.title,
        lead=_lead(study),
        style=jinja2.filters.Markup(STYLE),
        partial=study.partial,
        asked=_asked(study),
        answer=found,
        further=further(evidence, catalog),
        verdicts=_titled("Verdicts", found.verdicts) if found else None,
        methods=_titled("Verdicts by method", found.methods) if found else None,
        out_of_domain=bool((evidence.metrics["domain"] == "out").any()),
        shared=catalog.get("shared_draws", True),
        tests=stats.MEANING,
        main=_figure(study, main, study.figures[main]) if main else None,
        coverage_note=registry.make_table("coverage", evidence, catalog, {}).note
        or "No results yet.",
        coverage=_coverage(study),
        headline=_headline(study),
        sections=_sections(study, main),
        provenance=[_titled(title, table) for title, table in facts.items()],
        settings=yaml.safe_dump(study.settings, sort_keys=False, allow_unicode=True),
    )


def further(evidence: Evidence, catalog: dict) -> list[dict]:
    """Return what was found beside the main comparison, in sentences: a section for each part
    (`id`, `title`, `sentences`) of which something is known."""
    parts = {
        ("choice", "What an honest choice of settings gives"): cost_lines(
            evidence.choices, catalog
        ),
        ("bias", "What models make of social words"): bias_lines(evidence.bias, catalog),
        ("elsewhere", "What changes outside the task"): forgetting_lines(
            evidence.forgetting, catalog
        ),
    }
    return [
        {"id": key, "title": title, "sentences": lines}
        for (key, title), lines in parts.items()
        if lines
    ]


def summary_text(study: ReportInputs, folder: Path) -> str:
    """Return what was found, headline and answer as text, at most 100 characters wide but for
    paths, and where the rest is."""
    headline = registry.make_table("headline", study.evidence, study.catalog, {})
    coverage = registry.make_table("coverage", study.evidence, study.catalog, {})
    found = answer(study.evidence.comparisons, study.catalog, study.evidence.contrasts)
    verdict = [*found.means, criterion(study.catalog), ""] if found else []
    lines = [
        *textwrap.wrap(study.title, WIDTH),
        "",
        *(_filled(line) for line in (found.found if found else [])),
        *([""] if found else []),
        "Accuracy in percent, mean over seeds [95 % interval].",
        "",
        table_text.to_text(headline, WIDTH),
        "",
        *map(_filled, verdict),
        *(
            f"{_filled(line)}\n"
            for part in further(study.evidence, study.catalog)
            for line in part["sentences"]
        ),
        _filled(coverage.note or "No runs yet."),
        "",
        f"Report:   {folder / 'report.html'}",
        f"Tables:   {folder / 'tables'}",
        f"Figures:  {folder / 'figures'}",
    ]
    return "\n".join(lines) + "\n"


def _filled(line: str) -> str:
    return textwrap.fill(line, WIDTH, break_on_hyphens=False)


def _lead(study: ReportInputs) -> str:
    done = sum(manifest_seeds(manifest) for manifest in study.evidence.manifests)
    return (
        f"Study “{study.settings['study']}”, protocol “{study.settings['protocol']}”: "
        f"{number_of(done, 'run')}."
    )


def manifest_seeds(manifest: dict) -> int:
    """Return how many seeds of a run are done."""
    return sum(seed["status"] == "ok" for seed in manifest["seeds"].values())


def _asked(study: ReportInputs) -> list[tuple[str, str]]:
    catalog, main = study.catalog, study.catalog["main"]
    cells = study.evidence.metrics
    shots = sorted(int(k) for k in cells["k"].unique())
    models = titles(catalog, "models")
    inside = {"last": "", halves.SELECTION: "every method judged by the test half"}.get(
        main["selection"], "compared at the last epoch"
    )
    return [
        ("Tasks", ", ".join(titles(catalog, "tasks")[name] for name in study.settings["tasks"])),
        (
            "Models",
            ", ".join(name for key, name in models.items() if key in language_models(catalog)),
        ),
        ("Methods", ", ".join(titles(catalog, "methods").values())),
        ("Prompt patterns", ", ".join(titles(catalog, "patterns").values())),
        ("Shots (k)", ", ".join(map(str, shots))),
        ("Data seeds", seed_ranges(read_seeds(study.settings["seeds"]))),
        ("Main comparison", f"{main['k']} shots, {SELECTIONS[main['selection']]} of fine-tuning"),
        *([("In domain", inside)] if inside else []),
    ]


def _headline(study: ReportInputs) -> dict:
    """Return the headline table, with links to its files where the study keeps it as a table."""
    for name, entry in study.tables.items():
        if entry["function"] == "headline":
            return _table(study, name, entry)
    table = registry.make_table("headline", study.evidence, study.catalog, {})
    made = _origin(study, "table", table.read)
    return {**_titled(HEADLINE, table), "image": "", "links": [], "origin": made}


def _coverage(study: ReportInputs) -> dict | None:
    """Return where the page lists what is missing; None where the study keeps no such table."""
    found = (name for name, entry in study.tables.items() if entry["function"] == "coverage")
    name = next(found, None)
    return name and {"id": f"table-{name}", "title": study.tables[name]["title"]}


def _in_order(entries: dict[str, dict]) -> list[str]:
    """Return the names of entries by category, in their order within it."""
    return sorted(entries, key=lambda name: entries[name]["category"])


def _sections(study: ReportInputs, main: str | None) -> list[dict]:
    """Return the categories in their order, each with its figures first, then its tables.

    The `main` figure and the headline are left out: they stand above, as the answer.
    """
    sections: dict[str, list[dict]] = {}
    for name, entry in study.figures.items():
        if name != main:
            sections.setdefault(entry["category"], []).append(_figure(study, name, entry))
    for name, entry in study.tables.items():
        if entry["function"] != "headline":
            sections.setdefault(entry["category"], []).append(_table(study, name, entry))
    return [
        {
            "id": _slug(category),
            "title": re.sub(r"^\d+\s+", "", category),
            "folded": category in FOLDED,
            "entries": entries,
        }
        for category, entries in sorted(sections.items())
    ]


def _figure(study: ReportInputs, name: str, entry: dict) -> dict:
    # A picture, not SVG: with another font than the figure was laid out for, labels overlap.
    spec = study.specs[name]
    image = render.to_png(spec, SCREEN)
    shown = {**_texts(entry), **_size(image), "image": base64.b64encode(image).decode()}
    links = [(kind, f"figures/{name}.{kind}") for kind in FIGURE_FILES]
    links[0] = ("interactive", links[0][1])
    made = _origin(study, "figure", spec["usermeta"]["read"])
    return {"id": f"figure-{name}", **shown, "links": links, "origin": made}


def _size(image: bytes) -> dict[str, int]:
    """Return how wide and high a PNG of SCREEN dots per inch stands in the page, in CSS pixels."""
    width, height = struct.unpack(">II", image[16:24])
    scale = max(ENLARGED * 72 / SCREEN, NARROWEST / width)
    return {"width": round(scale * width), "height": round(scale * height)}


def _table(study: ReportInputs, name: str, entry: dict) -> dict:
    table = registry.make_table(entry["function"], study.evidence, study.catalog, entry["options"])
    links = [(kind, f"tables/{name}.{kind}") for kind in TABLE_FILES]
    made = _origin(study, "table", table.read)
    content = {**_texts(entry), "image": "", **html_tables.shown(table)}
    return {"id": f"table-{name}", **content, "links": links, "origin": made}


def _origin(study: ReportInputs, kind: str, read: Iterable[str]) -> str:
    """Return in one line what a table or figure was made from."""
    return origin(read, study.files, study.versions.get(kind, "not known")).replace("\n", "; ")


def _texts(entry: dict) -> dict:
    return {"title": entry["title"], "caption": " ".join(entry["caption"].split())}


def _titled(title: str, table: Table) -> dict:
    return {"title": title, **html_tables.shown(table)}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
