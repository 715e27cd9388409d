"""Colours: told apart with any colour vision, and the same in every figure."""

from itertools import combinations, pairwise
from pathlib import Path

import pandas as pd
import pytest
from colours import VISIONS, distance, lab
from fewshot.analysis.evidence import Evidence
from fewshot.report.figures import theme
from fewshot.report.figures.registry import without_baselines
from fewshot.study.catalog import catalog_of
from fewshot.study.load import load_study
from fewshot.validation import read_yaml

ROOT = Path(__file__).parents[3]
PALETTES = {
    "methods": [color for color, _ in theme.METHODS.values()],
    "checkpoints": [color for color, _ in theme.SELECTIONS.values()],
    "domains": list(theme.DOMAINS.values()),
    "patterns": [color for color, _ in theme.PATTERNS],
    "components": list(theme.COMPONENTS.values()),
}


@pytest.fixture(scope="module")
def catalog() -> dict:
    config = read_yaml(ROOT / "config/paper.yaml")
    study = load_study(config, str(ROOT / "config"))
    return without_baselines(Evidence(), catalog_of(study))[1]


def test_the_judge_knows_colours_with_published_values():
    assert lab("#ffffff") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab("#ff0000") == pytest.approx([53.24, 80.09, 67.20], abs=0.01)
    assert distance("#808080", "#808080", "deuteranopia") == 0
    red, green = "#c00000", "#007000"
    assert distance(red, green) > 4 * distance(red, green, "deuteranopia")


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("name", PALETTES)
def test_palettes_are_told_apart(name, vision):
    for first, second in combinations(PALETTES[name], 2):
        assert distance(first, second, vision) > 15, (first, second)


@pytest.mark.parametrize("vision", VISIONS)
def test_neighbouring_sizes_are_told_apart_and_get_darker(catalog, vision):
    styles = theme.model_styles(catalog)
    assert len({style["shape"] for style in styles.values()}) == 2, "a shape for each family"
    for shape in {style["shape"] for style in styles.values()}:
        ramp = [style["color"] for style in styles.values() if style["shape"] == shape]
        for lighter, darker in pairwise(ramp):
            assert distance(lighter, darker, vision) > 9
            assert lab(lighter, vision)[0] > lab(darker, vision)[0]


@pytest.mark.parametrize("vision", VISIONS)
def test_families_are_told_apart_at_both_ends_and_in_the_middle(vision):
    for (first, _), (second, _) in combinations(theme.FAMILIES, 2):
        for share in (0, 0.5, 1):
            one, other = (theme.blend(*ends, share) for ends in (first, second))
            assert distance(one, other, vision) > 9, (first, second)
    shapes = [shape for _, shape in theme.FAMILIES]
    assert len(set(shapes)) == len(shapes)
    registered = {entry["family"] for entry in read_yaml(ROOT / "config/models.yaml").values()}
    assert len(registered) <= len(shapes), "each family of the registry has its own"


def test_a_legend_of_many_models_names_all():
    names = [str(number) for number in range(41)]
    assert theme.legend(dict.fromkeys(names)).to_dict()["symbolLimit"] == 41
    assert "symbolLimit" not in theme.legend(dict.fromkeys(names[:30])).to_dict()


@pytest.mark.parametrize("vision", VISIONS)
def test_significant_cells_are_told_from_pale_ones_and_by_their_sign(vision):
    context, light_context, middle, light_tuned, tuned = theme.DIVERGING
    assert middle == "#ffffff"
    assert distance(context, tuned, vision) > 80
    assert distance(light_context, light_tuned, vision) > 20
    for tint in (light_context, light_tuned):
        assert distance(tint, theme.PALE, vision) > 10


def test_patterns_of_a_method_differ_by_tone_whatever_else_is_shown(catalog):
    rows = [(method, name) for method in catalog["methods"] for name in catalog["patterns"]]
    whole = theme.arm_styles(catalog, pd.DataFrame(rows, columns=["method", "pattern"]))
    alone = theme.arm_styles(catalog, pd.DataFrame(rows[1:2], columns=["method", "pattern"]))
    assert alone == {title: whole[title] for title in alone}
    in_context = [style for title, style in whole.items() if title.startswith("In-context")]
    for vision in VISIONS:
        for first, second in combinations(in_context, 2):
            assert distance(first["color"], second["color"], vision) > 20
    assert len({style["shape"] for style in in_context}) == 1


def test_methods_have_the_colour_of_their_first_pattern(catalog):
    first = next(iter(catalog["patterns"]))
    rows = [(method, first) for method in catalog["methods"]]
    arms = theme.arm_styles(catalog, pd.DataFrame(rows, columns=["method", "pattern"]))
    methods = theme.method_styles(catalog)
    assert [s["color"] for s in arms.values()] == [s["color"].lower() for s in methods.values()]
