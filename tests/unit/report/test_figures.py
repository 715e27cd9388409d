"""Figures: deterministic, with one look throughout, never empty by accident."""

import struct
import zlib
from dataclasses import replace

import altair as alt
import numpy as np
import pandas as pd
import pytest
import simulate
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.titles import arms, model_order, titles
from fewshot.errors import UserError
from fewshot.report import render
from fewshot.report.figures import panels, registry, scatter, theme
from fewshot.report.figures.axes import domain, grid_positions
from fewshot.report.figures.hans import readable
from fewshot.report.figures.panels import columns_for, heading
from fewshot.validation import read_schema
from thinned import thinned

CATALOG = simulate.CATALOG
FIGURES = list(registry.CHARTS)


OWN = {"currency": "USD", "date": "2026-11-30", "source": "a list"}
NEEDED = {"money": {"prices": {"own": {**OWN, "machine": {"device": "cuda", "hour": 2}}}}}
"""Options without which a figure has nothing to show."""


def make(name, study, **options):
    options = {**NEEDED.get(name, {}), **options}
    return registry.make_figure(name, study, CATALOG, options, "A title")


def values(spec):
    """Return all inline data of a specification."""
    return [row for rows in spec["datasets"].values() for row in rows]


def png_size_and_colours(content):
    """Return width, height and the number of distinct pixel rows of a PNG."""
    width, height = struct.unpack(">II", content[16:24])
    data, at = b"", 8
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        data += content[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw = zlib.decompress(data)
    stride = len(raw) // height
    return width, height, len({raw[i : i + stride] for i in range(0, len(raw), stride)})


PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def specs(study):
    """Return the specifications of the simulated study's figures, made when they are asked for."""

    class Made(dict):
        def __missing__(self, name):
            return self.setdefault(name, make(name, study))

    return Made()


FEW = ["id_ood_scatter", "differences", "calibration", "hans_by_subcase"]
"""Figures of several kinds, which are tried always."""


@pytest.mark.parametrize("name", thinned(FIGURES, FEW))
def test_equal_metrics_give_equal_bytes(study, specs, name, tmp_path):
    render.write_spec(tmp_path / "0.json", specs[name])
    render.write_spec(tmp_path / "1.json", make(name, study))
    assert (tmp_path / "0.json").read_bytes() == (tmp_path / "1.json").read_bytes()


@pytest.mark.parametrize("name", thinned(FIGURES, FEW, FIGURES))
def test_figures_hold_aggregates_only(specs, name):
    assert 0 < len(values(specs[name])) < 3000


# The simulated study has one pattern, so that there is no range of patterns to show, no factors of
# the data (test_factor_figures.py has them), no choices of settings (test_choice_pages.py), no
# probe, measured latencies or forgetting (test_bias_pages.py, test_latency_pages.py,
# test_forgetting_pages.py).
ELSEWHERE = (
    *("prompt_sensitivity", "accuracy_by_wrong_labels", "order_spread", "honest_choice"),
    *("bias", "latency", "forgetting"),
)
SHOWN = [name for name in FIGURES if name not in ELSEWHERE]


@pytest.mark.parametrize("name", thinned(SHOWN, FEW, SHOWN))
def test_figures_render_to_something_visible(specs, name, tmp_path):
    render.render(specs[name], {"png": tmp_path / "f.png"})
    width, height, distinct = png_size_and_colours((tmp_path / "f.png").read_bytes())
    points = render.DOTS_PER_INCH / 72
    # 7 in of 72 points; a matrix of few sizes is smaller.
    assert (200 if name == "welch_matrix" else 450) <= width / points <= 540
    assert (100 if name == "aggregates" else 150) < height / points < 680
    assert distinct > 60


@pytest.mark.parametrize("name", FIGURES)
def test_no_evidence_gives_a_figure_that_says_so(name):
    spec = registry.make_figure(name, Evidence(), CATALOG, {}, "A title")
    assert "yet" in values(spec)[0]["text"]
    assert render.to_png(spec).startswith(PNG)


@pytest.mark.slow
def test_one_model_with_one_seed_and_one_k_is_drawn(study):
    metrics = study.metrics
    metrics = metrics[(metrics["model"] == "opt-s") & (metrics["seed"] == 0) & (metrics["k"] == 16)]
    for name in FIGURES:
        spec = registry.make_figure(name, Evidence(metrics), CATALOG, {}, "A title")
        assert render.to_png(spec).startswith(PNG)


def test_scatter_has_a_point_per_run(specs):
    points = [row for row in values(specs["id_ood_scatter"]) if "x" in row]
    assert len(points) == 2 * 4 * 3 * 5  # tasks, models, methods, seeds
    assert {row["majority_x"] for row in points} == {50}
    assert {row["model"] for row in points} == {e["title"] for e in simulate.MODELS.values()}


def test_accuracy_by_k_shows_means_with_intervals(study, specs):
    spec = specs["accuracy_by_k"]
    rows = [row for row in values(spec) if row.get("mean") is not None]
    assert {row["k"] for row in rows} == {0, 16, 32}
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    cell = study.metrics.query(
        "task == evaluation_set == 'nli' and model == 'opt-l' and method == 'ft' and k == 32 "
        "and selection == 'last' and label.isna()"
    )
    expected = float(f"{100 * cell['accuracy'].mean():.5g}")
    assert expected in {row["mean"] for row in rows if row["size"] == "OPT large"}
    absent = {(r["size"], r["k"], r["state"]) for r in values(spec) if r.get("state") == "unfit"}
    assert absent == {("Pythia small", 32, "unfit")}, "in and out of domain"
    assert "×: the examples exceed the model's window (does not fit)." in spec["title"]["text"]


def test_all_numbers_of_shots_are_named_up_to_256(study):
    """Labels that do not fit beside each other stand upright, and none is left out."""
    ks = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]
    axis_of = {}
    for name, shown in (("few", ks[::3]), ("many", ks)):
        cell = study.metrics.query("task == 'nli' and k == 16 and method != 'lora'")
        metrics = pd.concat([cell.assign(k=k) for k in shown], ignore_index=True)
        spec = make("accuracy_by_k", replace(study, metrics=metrics))
        named = [x for part in spec["concat"] for x in channels(part, "k") if x["axis"]["title"]]
        assert named
        for x in named:
            assert x["scale"]["domain"] == shown
            assert x["axis"]["labelOverlap"] is False
            axis_of.setdefault(name, set()).add(x["axis"]["labelAngle"])
    assert axis_of == {"few": {0}, "many": {-90}}


def test_learning_curves_share_their_epochs(specs):
    """A panel without results still labels the axis of those above it."""
    found = list(channels(specs["learning_curves"], "epoch"))
    spans = {str(each["scale"].get("domain")) for each in found if "scale" in each}
    assert len(found) > 3 and len(spans) == 1 and spans != {"None"}


def channels(part, name: str):
    """Yield every encoding of the field `name` in a part of a specification."""
    if isinstance(part, dict):
        if part.get("field") == name and "axis" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from channels(each, name)


def test_learning_curves_show_every_epoch_seed_and_loss(specs):
    rows = [row for row in values(specs["learning_curves"]) if "epoch" in row]
    assert {row["epoch"] for row in rows} == set(range(1, simulate.EPOCHS + 1))
    assert {row["kind"] for row in rows} == {"mean", "seed"}
    assert 1.5 in {row["mean"] for row in rows}  # the simulated loss after the first epoch


def axis_lines(spec):
    """Return the last lines of the y axes' titles."""
    found = [axis["axis"]["title"] for axis in channels(spec, "mean")]
    return {title[-1] for title in found if title}


def test_learning_curves_say_where_a_sample_is_counted(specs, sampled_study):
    spec = make("learning_curves", sampled_study)
    assert {"60 of 120 rows", "60 of 240 rows"} <= axis_lines(spec)
    rows = [row for row in values(spec) if row.get("rows")]
    assert {row["rows"] for row in rows} == {60, 16}  # and the shots behind the training loss
    assert not any("rows" in line for line in axis_lines(specs["learning_curves"]))
    width, *_ = png_size_and_colours(render.to_png(spec))
    assert width <= 530 * render.DOTS_PER_INCH / 72


def test_accuracy_by_k_counts_all_rows_unless_an_oracle_chooses(sampled_study):
    assert not any("rows" in line for line in axis_lines(make("accuracy_by_k", sampled_study)))
    oracle = CATALOG | {"main": {"k": 16, "selection": "best-out-of-domain", "margin": 3}}
    spec = registry.make_figure("accuracy_by_k", sampled_study, oracle, {}, "A title")
    assert "60–120 of 120 rows" in axis_lines(spec)


def test_subcases_are_those_of_the_largest_model_of_each_family(specs):
    rows = [row for row in values(specs["hans_by_subcase"]) if "subcase" in row]
    assert {row["panel"].split("\n")[1] for row in rows} == {"OPT large", "Pythia large"}
    assert len({row["subset"] for row in rows}) == 30
    assert {row["subcase"] for row in rows} == {f"case {i}" for i in range(5)}


@pytest.mark.parametrize(
    ("name", "parts"),
    [("hans_by_subcase", {"subset": "swapped"}), ("hans_by_heuristic", {"group": "swapped"})],
)
def test_parts_of_in_domain_sets_are_not_among_them(study, specs, name, parts):
    metrics = study.metrics
    own = metrics[(metrics["domain"] == "in") & metrics["label"].notna()].assign(**parts)
    more = replace(study, metrics=pd.concat([metrics, own], ignore_index=True))
    assert make(name, more) == specs[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hans_by_subcase", "hans_by_heuristic"])
def test_nor_are_those_of_a_set_that_is_out_of_another_tasks_domain(study, name):
    """Of runs without results, whose parts are those of the other task's."""
    metrics = study.metrics
    tasks = sorted(set(metrics["task"]))
    own = metrics[(metrics["domain"] == "out") & (metrics["task"] == tasks[0])]
    whole = own["group"].isna() & own["subset"].isna() & own["label"].isna()
    missing = own[whole].assign(task=tasks[1], domain="in", status="missing")
    more = replace(study, metrics=pd.concat([metrics, missing], ignore_index=True))
    assert make(name, more) == make(name, study)


def test_methods_side_by_side_share_the_room_of_their_own_panel(specs):
    """Vega-Lite would give all panels the offsets of the first one, however high they are."""
    resolve = specs["hans_by_subcase"]["resolve"]["scale"]
    assert resolve["yOffset"] == resolve["xOffset"] == "independent"


def test_subset_names_lose_a_prefix_only_where_all_share_it():
    shared = pd.Series(["le_conjunction", "le_relative_clause"])
    assert readable(shared) == ["conjunction", "relative clause"]
    mixed = pd.Series(["le_conjunction", "ln_swap"])
    assert readable(mixed) == ["le conjunction", "ln swap"]


def test_models_are_ordered_by_family_and_size():
    models = {
        "b": {"title": "B", "family": "two", "parameters": 1},
        "a2": {"title": "A2", "family": "one", "parameters": 2},
        "a1": {"title": "A1", "family": "one", "parameters": 1},
    }
    assert model_order({"models": models}) == ["b", "a1", "a2"]


def test_equal_titles_are_told_apart():
    methods = {"lora": {"title": "LoRA"}, "tiny-lora": {"title": "LoRA"}, "ft": {"title": "FT"}}
    found = titles({"methods": methods}, "methods")
    assert found == {"lora": "LoRA (lora)", "tiny-lora": "LoRA (tiny-lora)", "ft": "FT"}


def test_arms_name_the_pattern_only_where_there_are_several():
    frame = pd.DataFrame({"method": ["icl"], "pattern": ["minimal"]})
    assert list(arms(CATALOG, frame).values()) == ["In-context learning"]
    two = CATALOG | {"patterns": {"minimal": {"title": "Minimal"}, "gpt-3": {"title": "GPT-3"}}}
    assert list(arms(two, frame).values()) == ["In-context learning · Minimal"]


def test_blend_mixes_channels():
    assert theme.blend("#000000", "#ff8000", 0.5) == "#804000"


def test_panels_fill_rows_where_they_can():
    assert [columns_for(n) for n in (0, 1, 4, 5, 6, 8, 9, 13)] == [1, 1, 4, 5, 3, 4, 3, 4]
    assert [place.left for place in grid_positions(6, 3)] == [True, False, False] * 2
    assert [place.bottom for place in grid_positions(5, 3)] == [False, False, True, True, True]


def test_headings_wrap_before_the_pattern():
    title = "Pattern-based fine-tuning · eval-harness"
    assert heading(title, 300) == [title]
    assert heading(title, 150) == ["Pattern-based fine-tuning", "eval-harness"]


def test_a_panel_stores_the_columns_that_its_layers_use():
    rows = pd.DataFrame({"a": [1.234567, np.nan], "b": [1, 2], "kind": "x", "other": "no"})
    base = alt.Chart().transform_filter("datum.kind == 'x'").mark_point()
    zero = pd.DataFrame({"zero": [0], "a": [1]}), alt.Chart().mark_rule().encode(x="zero:Q")
    tips = panels.tooltips("a:Q value |.1f; b:Q of all; c:N absent")
    cell = panels.panel(rows, zero, base.encode(x="a:Q", tooltip=tips), height=7)
    assert [tip.to_dict() for tip in tips[:2]] == [
        {"field": "a", "type": "quantitative", "title": "value", "format": ".1f"},
        {"field": "b", "type": "quantitative", "title": "of all"},
    ]
    own, shared = cell["layer"][0]["data"]["name"], cell["data"]["name"]
    assert cell["datasets"][own] == [{"zero": 0}]
    first = {"a": 1.2346, "b": 1, "kind": "x"}
    assert cell["datasets"][shared] == [first, {"a": None, "b": 2, "kind": "x"}]
    assert "data" not in cell["layer"][1] and cell["height"] == 7


def test_blocks_name_panels_above_and_label_axes_below():
    def draw(key, place):
        return {"key": key, "place": (place.left, place.bottom, place.top)}

    ends = {"first": True, "last": False}
    [one, two] = panels.block({"a": "A title", "b": ""}, 2, draw, 90, 50, **ends)
    assert one == {"key": "a", "place": (True, False, True), "title": ["A title"]} | {
        "width": 90, "height": 50,
    }  # fmt: skip
    assert two["place"] == (False, False, True) and "title" not in two
    below = panels.block("abc", 3, draw, 90, first=False)
    assert [cell["place"][1:] for cell in below] == [(True, False)] * 3
    assert not any("title" in cell or "height" in cell for cell in below)
    wrapped = panels.block("abc", 2, draw, 90, first=False, last=False)
    assert [cell["place"][1] for cell in wrapped] == [False, True, True]
    assert all(cell["title"] for cell in wrapped), "each row of panels says what it shows"


def test_axes_hold_all_values():
    assert domain(pd.Series([52.0, 68])) == [50 - 1, 70 + 1]
    assert domain(pd.Series([], dtype=float)) == [-5, 105]


def test_unknown_figures_name_the_valid_ones(study):
    with pytest.raises(UserError, match="did you mean 'id_ood_scatter'"):
        registry.make_figure("id_ood_scater", study, CATALOG, {}, "")


@pytest.mark.slow
def test_html_and_pdf_need_no_network(specs, tmp_path):
    spec = specs["id_ood_scatter"]
    kinds = ("svg", "pdf", "html", "png")
    render.render(spec, {kind: tmp_path / f"f.{kind}" for kind in kinds})
    html = (tmp_path / "f.html").read_text()
    assert "<script src=" not in html
    assert "jsdelivr" not in html
    assert (tmp_path / "f.pdf").read_bytes()[:4] == b"%PDF"
    width, *_ = png_size_and_colours((tmp_path / "f.png").read_bytes())
    assert width >= 200 * 450 / 72  # at least 200 dots per inch


def test_the_schema_knows_what_a_scatter_can_plot():
    """A typo ends the start with one line, not the figure's job after all others."""
    entry = read_schema("figures")["$defs"]["entries"]["additionalProperties"]
    assert entry["properties"]["options"]["properties"]["metric"]["enum"] == list(scatter.METRICS)


def test_methods_are_listed_with_their_means(study):
    """A row for each method of a task, whose point is the mean over draws."""
    spec = make("methods_listed", study, task="nli", k=16, selection="last")
    points = [row for row in values(spec) if "arm" in row and row.get("mean") is not None]
    assert {row["arm"] for row in points} == set(titles(CATALOG, "methods").values())
    rows = study.metrics.query("task == 'nli' and k == 16 and selection == 'last'")
    rows = rows[rows["group"].isna() & rows["subset"].isna() & rows["label"].isna()]
    key = {"model": "opt-l", "method": "icl", "evaluation_set": "nli"}
    for name, value in key.items():
        rows = rows[rows[name] == value]
    title = titles(CATALOG, "methods")["icl"]
    means = {round(row["mean"], 3) for row in points if row["arm"] == title}
    assert round(float(f"{100 * rows['accuracy'].mean():.5g}"), 3) in means
