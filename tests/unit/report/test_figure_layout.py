"""What figures leave out, say once, share and mark, whatever a study has."""

import logging
from dataclasses import replace

import pandas as pd
import pytest
import simulate
from fewshot.report import render
from fewshot.report.figures import glyphs, panels, registry
from thinned import thinned

CATALOG = simulate.CATALOG
PATTERNS = {"minimal": {"title": "minimal pattern"}, "gpt-3": {"title": "GPT-3 pattern"}}


def make(name, study, catalog=CATALOG, **options):
    return registry.make_figure(name, study, catalog, options, "A title")


def only(study, **wanted):
    """Return evidence whose rows have one of the `wanted` values in each column."""
    frames = {}
    for part in ("metrics", "windows", "costs", "comparisons", "variance"):
        frame = getattr(study, part)
        for column, values in wanted.items():
            frame = frame[frame[column].isin(values)] if column in frame else frame
        frames[part] = frame
    return replace(study, **frames)


def headings(spec):
    return [" ".join(cell["title"]) for cell in spec["concat"] if "title" in cell]


def note(spec):
    return " ".join(spec.get("title", {}).get("text", []))


def encodings(spec, channel):
    """Return all encodings of a channel."""
    layers = [layer for cell in spec["concat"] for layer in cell.get("layer", ())]
    return [layer["encoding"][channel] for layer in layers if channel in layer["encoding"]]


def ranges(spec, channel):
    """Return the ranges of the numeric axes of a channel."""
    found = encodings(spec, channel)
    return {tuple(each["scale"]["domain"]) for each in found if each["type"] == "quantitative"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "column", "value", "line"),
    [
        ("id_ood_scatter", "method", "ft", "Method: Pattern-based fine-tuning."),
        ("id_ood_scatter", "model", "opt-l", "Model: OPT large."),
        ("accuracy_by_k", "model", "opt-l", "Model: OPT large."),
        ("learning_curves", "method", "ft", "Method: Pattern-based fine-tuning."),
        ("individual_runs", "model", "opt-l", "Model: OPT large."),
        ("differences", "method", "ft", "Method: Pattern-based fine-tuning."),
        ("cost_accuracy", "model", "opt-l", "Model: OPT large."),
    ],
)
def test_one_method_or_model_is_named_in_the_note_alone(study, name, column, value, line):
    title = line.split(": ")[1].rstrip(".")
    whole, alone = make(name, study), make(name, only(study, **{column: [value]}))
    legends = [
        each for each in encodings(alone, "color") if each.get("scale", {}).get("domain") == [title]
    ]
    assert line in note(alone) and line not in note(whole)
    assert title not in headings(alone)
    assert all(each["legend"] is None for each in legends)
    scales = [each["scale"] for each in encodings(whole, "color") if "scale" in each]
    named = [*headings(whole), *(title for scale in scales for title in scale["domain"])]
    assert title in named


def test_one_pattern_is_named_in_the_note_alone(study):
    catalog = {**CATALOG, "patterns": PATTERNS}
    for name in ("id_ood_scatter", "methods_compared", "differences", "break_even", "aggregates"):
        spec = make(name, study, catalog)
        assert note(spec).startswith("Prompt: minimal pattern."), name
        assert "· minimal" not in str(spec), name
    two = study.metrics[study.metrics["method"] == "icl"].assign(pattern="gpt-3")
    others = study.metrics[study.metrics["method"] == "ft"]
    metrics = pd.concat([two, others], ignore_index=True)
    spec = make("id_ood_scatter", replace(study, metrics=metrics), catalog)
    assert "Prompt:" not in note(spec)
    assert "In-context learning GPT-3 pattern" in " ".join(headings(spec)).replace("· ", "")


@pytest.mark.slow
def test_panels_without_any_cell_are_left_out(study):
    """LoRA was run on one task alone, and one family without shots."""
    metrics = study.metrics
    metrics = metrics[(metrics["method"] != "lora") | (metrics["task"] == "nli")]
    lacking = (metrics["model"].str.startswith("pythia")) & (metrics["k"] == 0)
    variance = study.variance
    variance = variance[(variance["method"] != "lora") | (variance["task"] == "nli")]
    less = replace(study, metrics=metrics[~lacking], variance=variance)
    many = {"opt-x": {"title": "OPT x", "family": "opt", "parameters": 9}}
    wide = metrics.assign(model=metrics["model"].replace("opt-s", "opt-x"))
    wide = replace(less, metrics=pd.concat([metrics, wide[wide["model"] == "opt-x"]]))
    catalog = {**CATALOG, "models": CATALOG["models"] | many}
    for name, evidence, own in (
        ("accuracy_by_k", wide, catalog), ("variance", less, CATALOG),
    ):  # fmt: skip
        spec = make(name, evidence, own)
        counts = {title: headings(spec).count(title) for title in headings(spec)}
        assert counts["LoRA"] < counts["In-context learning"], name
        blank = [cell for cell in spec["concat"] if cell.get("width") == 1]
        full = [cell for cell in spec["concat"] if "layer" in cell]
        assert blank and all(spec["datasets"][cell["data"]["name"]] for cell in full), name
    spec = make("icl_patterns_shots", less)
    assert headings(spec) == ["No shots", "16 shots", "32 shots", "16 shots", "32 shots"]
    assert "not in the study" not in str(spec)


PANELS = [
    *("id_ood_scatter", "individual_runs", "methods_compared", "effect_of_k"),
    *("hans_by_heuristic", "cost_accuracy", "over_training", "model_selection", "calibration"),
]


@pytest.mark.parametrize("name", thinned(PANELS, ["id_ood_scatter", "calibration"], PANELS))
def test_panels_of_accuracy_have_one_range(study, name):
    spec = make(name, study)
    assert len(ranges(spec, "y")) == 1
    if name in ("id_ood_scatter", "individual_runs"):
        assert len(ranges(spec, "x")) == 1


@pytest.mark.slow
def test_rows_of_other_measures_have_a_range_of_their_own(study):
    assert len(ranges(make("accuracy_by_k", study), "y")) == 1
    assert len(ranges(make("learning_curves", study), "y")) == 2  # and the loss
    assert len(ranges(make("metrics_panels", study), "y")) == 4  # loss, time and memory
    assert len(ranges(make("variance", study), "y")) == 1


def test_methods_stand_aside_for_those_alone_that_their_panel_has(study):
    metrics = study.metrics
    missing = (metrics["method"] == "lora") & metrics["model"].str.startswith("pythia")
    less = replace(study, metrics=metrics[~missing])
    asides = {tuple(each["scale"]["domain"]) for each in
              encodings(make("methods_compared", less), "xOffset")}  # fmt: skip
    names = tuple(entry["title"] for entry in CATALOG["methods"].values())
    assert asides == {names, names[:2]}
    spec = make("accuracy_by_k", less)
    asides = {tuple(each["scale"]["domain"]) for each in encodings(spec, "xOffset")}
    assert asides == {names, names[:2]}
    pairs = study.comparisons
    pairs = pairs[(pairs["method"] != "lora") | ~pairs["model"].str.startswith("pythia")]
    spec = make("differences", replace(study, comparisons=pairs))
    asides = {tuple(each["scale"]["domain"]) for each in encodings(spec, "yOffset")}
    assert asides == {names[1:], names[1:2]}
    heights = {cell["height"] for cell in spec["concat"]}
    assert len(heights) == 2, "fewer methods take less room"


def test_no_difference_is_a_negative_nothing(study):
    pairs = study.comparisons.assign(difference=-0.0002, low=-0.01, high=0.00001)
    whole = replace(study, comparisons=pairs)
    spec = make("welch_matrix", whole)
    rows = [row for rows in spec["datasets"].values() for row in rows if "number" in row]
    assert rows and {row["number"] for row in rows} == {"0.0"}
    pairs = pairs.assign(difference=-0.00001)
    spec = make("differences", replace(study, comparisons=pairs))
    rows = [row for rows in spec["datasets"].values() for row in rows if "points" in row]
    # A tooltip's format would print −0.00 of what is less than nothing.
    assert rows and all(str(row["points"]) == "0.0" for row in rows)


@pytest.mark.parametrize(
    "name",
    thinned(
        [each for each in registry.CHARTS if each != "honest_choice"],
        ["id_ood_scatter", "differences", "learning_curves"],
        ["hans_by_subcase", "cost_accuracy", "aggregates", "methods_compared"],
    ),
)
def test_a_checkpoint_that_out_of_domain_rows_chose_is_marked_as_an_oracle(study, name):
    oracle = {**CATALOG, "main": {**CATALOG["main"], "selection": "best-out-of-domain"}}
    spec = make(name, study, oracle)
    first = next(iter(spec["datasets"].values()), [{}])[0]
    if name in registry.ANY_CHECKPOINT:
        assert spec == make(name, study)
    elif "yet" not in str(first.get("text")):
        assert "Oracle: the checkpoint is the best out of domain" in note(spec)
        assert "(oracle)" in str(spec["concat"])
        assert "In-context learning (oracle)" not in str(spec)
    assert "racle:" not in note(make(name, study))


def test_an_option_can_ask_for_the_oracle_alone(study):
    spec = make("effect_of_k", study, selection="best-out-of-domain")
    assert "Pattern-based fine-tuning (oracle)" in str(encodings(spec, "color")[0])


def test_the_main_figure_has_few_panels_and_names_what_it_leaves_out(study):
    more = {f"m{i}": {**CATALOG["methods"]["lora"], "title": f"Method {i}"} for i in range(4)}
    catalog = {**CATALOG, "methods": CATALOG["methods"] | more}
    metrics = study.metrics
    lora = metrics[metrics["method"] == "lora"]
    added = [lora.assign(method=name) for name in more]
    whole = replace(study, metrics=pd.concat([metrics, *added], ignore_index=True))
    spec = make("id_ood_scatter", whole, catalog)
    assert set(headings(spec)) == {"In-context learning", "Pattern-based fine-tuning"}
    assert "Not shown: LoRA; Method 0; Method 1; Method 2; Method 3." in note(spec)
    chosen = make("id_ood_scatter", whole, catalog, arms=["lora", "m0"])
    assert set(headings(chosen)) == {"LoRA", "Method 0"} and "Not shown" not in note(chosen)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_panels_of_the_main_figure_are_legible(study, count):
    more = {f"m{i}": {**CATALOG["methods"]["lora"], "title": f"Method {i}"} for i in range(count)}
    lora = study.metrics.query("method == 'lora' and task == 'nli'")
    metrics = pd.concat([lora.assign(method=name) for name in more], ignore_index=True)
    catalog = {**CATALOG, "methods": CATALOG["methods"] | more}
    spec = make("id_ood_scatter", replace(study, metrics=metrics), catalog)
    shown = [cell for cell in spec["concat"] if "layer" in cell]
    assert len(shown) == count
    for cell in shown:
        assert cell["width"] >= 140 and cell["height"] >= 0.9 * cell["width"]


def test_what_panels_share_is_said_once():
    cells = [{"title": ["One", "name"], "layer": []}, {"title": ["Other"], "layer": []}]
    chart = panels.footnote({"concat": cells}, ["A line."], {"Model": "One name"})
    assert [cell.get("title") for cell in chart["concat"]] == [None, ["Other"]]
    more = panels.footnote(chart, ["Another."])
    assert more["title"]["text"] == ["Model: One name.", "A line.", "Another."]


UNASSIGNED = "\u0378"
"""No font has a character that Unicode has not assigned."""


def test_characters_that_no_font_has_are_known():
    assert all(map(glyphs.has_glyph, "Aäß−≈×→²"))
    assert glyphs.has_glyph("\u200d"), "it is drawn with its neighbours"
    assert not glyphs.has_glyph(UNASSIGNED)
    svg = f"<svg><text x='1'>Modell &amp; {UNASSIGNED}</text><text>größer</text></svg>"
    [line] = glyphs.missing(svg)
    assert line.startswith(f"no font on this machine has {UNASSIGNED} of “Modell & {UNASSIGNED}”:")


@pytest.mark.slow
def test_a_title_that_cannot_be_drawn_is_warned_of_once(study, tmp_path, caplog):
    title = f"Model {UNASSIGNED}"
    models = {**CATALOG["models"], "opt-l": {**CATALOG["models"]["opt-l"], "title": title}}
    entry = {"function": "id_ood_scatter", "title": "The figure", "caption": "", "options": {}}
    paths = {kind: tmp_path / f"f.{kind}" for kind in ("spec", *render.KINDS)}
    with caplog.at_level(logging.WARNING):
        registry.write_figure(paths, entry, study, {**CATALOG, "models": models})
    [record] = caplog.records
    assert record.getMessage().startswith("figure 'The figure': no font on this machine has")
    assert f"“{title}”" in record.getMessage() and "\n" not in record.getMessage()
    caplog.clear()
    registry.write_figure(paths, entry, study, CATALOG)
    assert not caplog.records
