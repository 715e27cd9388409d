"""What is known to be true of the golden study is what its numbers say."""

import pandas as pd
import pytest
from fewshot.analysis.summary import at_level, summarise
from fewshot.study.study import Cell

from golden import effects, recipe, study

# The study is made once, by one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden")]

HALF = 1 / 200


def expected(cell: Cell, seed: int, epoch: int, inside: bool) -> float:
    """Return a run's true accuracy."""
    family = study.study().methods[cell.method]["family"]
    return effects.half_points(vars(cell), family, seed, epoch, inside) * HALF


def done(cell: Cell) -> list[int]:
    """Return the seeds of a cell that have results."""
    family = study.study().methods[cell.method]["family"]
    key = (cell.task, cell.model, cell.method, cell.pattern, cell.k)
    seeds = study.study().seeds_of(cell)
    return [
        seed
        for seed in seeds
        if effects.fits(cell.task, family, cell.k, seed) and (*key, seed) not in effects.MISSING
    ]


def test_the_recipe_makes_what_is_stored():
    stored = pd.read_parquet(study.FOLDER / "outcomes.parquet")
    pd.testing.assert_frame_equal(recipe.outcomes(), stored, check_dtype=False)


@pytest.mark.parametrize("inside", [True, False])
def test_means_are_the_known_ones_and_tell_their_seeds(golden, inside):
    means = summarise(at_level(golden.metrics)).set_index(
        ["task", "model", "method", "pattern", "k", "selection", "domain"]
    )
    for cell in study.study().cells:
        trained = cell.method != "in-context"
        key = (cell.task, cell.model, cell.method, cell.pattern, cell.k)
        for selection in ("last", "best-in-domain"):
            row = means.loc[(*key, selection, "in" if inside else "out")]
            seeds = done(cell)
            assert row["seeds"] == len(seeds)
            assert row["seeds_planned"] == (10 if cell.k else 1)
            if not seeds:
                assert row["status"] == "does not fit" and pd.isna(row["mean"])
                continue
            marked = "ok" if len(seeds) == row["seeds_planned"] else f"{len(seeds)}/10 seeds"
            assert row["status"] == marked
            best = selection == "best-in-domain"
            epochs = [effects.best_epoch(seed) if best else effects.EPOCHS for seed in seeds]
            values = [
                expected(cell, seed, epoch if trained else 0, inside)
                for seed, epoch in zip(seeds, epochs, strict=True)
            ]
            assert row["mean"] == pytest.approx(sum(values) / len(values), abs=1e-12)


def test_the_best_epoch_out_of_domain_is_the_known_one(golden):
    rows = at_level(golden.metrics)
    rows = rows[(rows["selection"] == "best-out-of-domain") & (rows["status"] == "ok")]
    trained = rows[rows["method"] != "in-context"]
    assert len(trained) and (trained["epoch"] == 2).all()
