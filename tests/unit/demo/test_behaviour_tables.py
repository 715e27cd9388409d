"""The tables of what the embedded models do, from counts that are known."""

import itertools

import pandas as pd
import pytest
from fewshot import storage
from fewshot.analysis import result_schemas
from fewshot.data.synthetic import HANS_TEMPLATES
from fewshot.demo import behaviour_tables
from fewshot.demo.behaviour import HANS, TASKS, Condition, cells
from fewshot.demo.recipes import RECIPES


def counted(model: str) -> pd.DataFrame:
    """Return counts of ten rows a subset: micro has 6 of them right, mini 8, less 1 for seed 1."""
    rows = []
    for cell, seed in itertools.product(cells(), (0, 1)):
        for name in cell.sets:
            subsets = HANS_TEMPLATES if name == HANS else behaviour_tables.ORDER
            for subset in subsets:
                correct = (8 if model.endswith("mini") else 6) - seed
                rows.append((model, *own(cell), seed, name, subset, 10, correct))
    return pd.DataFrame(rows, columns=result_schemas.BEHAVIOUR.names)


def own(cell: Condition) -> tuple:
    return cell.task, cell.method, cell.pattern, cell.k, cell.flipped


@pytest.fixture(scope="module")
def counts(tmp_path_factory) -> pd.DataFrame:
    """Return what the rule reads: a file for each model, with categories."""
    folder, paths = tmp_path_factory.mktemp("counts"), []
    for model in RECIPES:
        paths.append(folder / f"{model}.parquet")
        storage.write_table(paths[-1], counted(model), result_schemas.BEHAVIOUR)
    return behaviour_tables.read(paths)


@pytest.mark.parametrize("part", behaviour_tables.PARTS)
def test_tables_have_means_over_seeds(counts, part):
    table = behaviour_tables.PARTS[part](counts)
    assert len(table) and not table.dropna(how="all").empty
    if part != "The larger model's gain":
        assert set(table.melt()["value"].dropna().round(6)) <= {0.55, 0.75}


def test_the_gain_of_size_has_intervals_over_seeds(counts):
    gains = behaviour_tables.sizes(counts)
    assert set(gains.index.get_level_values("family")) == {"opt", "pythia"}
    assert gains["gain"].round(6).eq(0.2).all() and gains["low"].round(6).eq(0.2).all()


@pytest.mark.slow
def test_the_page_has_every_table(counts):
    text = behaviour_tables.page(counts)
    assert all(f"# {title}" in text for title in behaviour_tables.PARTS)
    assert {task in text for task in TASKS} == {True} and "nan" not in text
    assert text.count("| 0.55 |") > 50
