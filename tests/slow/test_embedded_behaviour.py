"""What the embedded models show, measured on data seeds that no setting was chosen on."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from fewshot.demo import behaviour_tables
from fewshot.demo.behaviour import TASKS, Condition, cells, hypothesis_only, measure
from fewshot.demo.recipes import RECIPES

FOLDER = Path(__file__).parents[2] / "config" / "embedded"
SEEDS = range(30, 35)
ROWS = 240

# One process for all of them: they share what was counted.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("behaviour")]


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    """Measure all models in all cells."""
    found = [
        measure(FOLDER / model, cell, SEEDS, ROWS).assign(model=model)
        for model in RECIPES
        for cell in cells()
    ]
    return pd.concat(found, ignore_index=True)


@pytest.mark.parametrize("task", TASKS)
def test_the_hypothesis_alone_gives_nothing_away(task):
    assert hypothesis_only(task, 1000).between(0.35, 0.65).all()


@pytest.mark.weekly
@pytest.mark.parametrize("family", ["opt", "pythia"])
def test_the_larger_model_sees_through_every_kind_of_contradiction(counts, family):
    table = behaviour_tables.constructions(counts).loc[f"{family}-mini"]
    assert (table.loc["fine-tuned", 128] > 0.75).all()
    if family == "pythia":
        assert (table.loc["in-context", 32] > 0.75).all()


@pytest.mark.weekly
@pytest.mark.parametrize("model", RECIPES)
def test_every_model_compares_words_roles_and_denials(counts, model):
    tuned = behaviour_tables.constructions(counts).loc[model, "fine-tuned", 128]
    assert (tuned[["entailed", "replaced", "negated"]] > 0.75).all() and tuned["swapped"] > 0.6


@pytest.mark.weekly
@pytest.mark.parametrize("model", RECIPES)
def test_few_demonstrations_leave_the_heuristic_and_more_or_training_weaken_it(counts, model):
    """Overlapping words are taken for entailment, less so the more exchanged roles were shown."""
    table = behaviour_tables.heuristic(counts).loc[model]
    entailed, other = table["overlap entailment"], table["overlap non-entailment"]
    assert entailed["in-context", 4] > 0.8 and other["in-context", 4] < 0.4
    assert table["all entailment"]["in-context", 4] > 0.7
    gap = entailed - other
    assert gap["in-context", 4] > gap["in-context", 32]
    assert gap["in-context", 4] > gap["fine-tuned", 128] + 0.3


@pytest.mark.weekly
@pytest.mark.parametrize("model", RECIPES)
def test_demonstrations_are_used_and_flipped_words_followed(counts, model):
    table = behaviour_tables.shots(counts).loc[model, "synth-mnli"]
    straight = table.loc[False]
    assert straight[16] > straight[0] + 0.1
    assert straight[32] > straight[16] - 0.15, "no collapse of long contexts"
    assert table.loc[True, 16] > 0.6, "by the flipped words"


@pytest.mark.weekly
@pytest.mark.parametrize("model", RECIPES)
def test_all_patterns_work(counts, model):
    least = 0.85 if model.startswith("pythia") else 0.8
    assert (behaviour_tables.patterns(counts).loc[model] > least).all(axis=None)


@pytest.mark.weekly
def test_the_larger_model_is_not_worse_beyond_its_interval(counts):
    gains = behaviour_tables.sizes(counts)
    assert (gains["high"] >= 0).all(), gains[gains["high"] < 0]


@pytest.mark.rebuild
def test_a_rebuilt_model_behaves_like_the_committed_one(tmp_path):
    """Training is not bit-reproducible across machines; behaviour is, within 0.15."""
    import train_embedded_model

    folder = tmp_path / "pythia-micro"
    smk = SimpleNamespace(
        wildcards=SimpleNamespace(model="pythia-micro"),
        params=SimpleNamespace(seed=0),
        threads=1,
        output=SimpleNamespace(weights=str(folder / "model.safetensors")),
    )
    train_embedded_model.main(smk)
    for task in TASKS:
        cell = Condition(task, "minimal", 16, sets=(task,))
        new, old = (
            behaviour_tables.by_seed(measure(where, cell, SEEDS, ROWS), ["task"]).mean(axis=None)
            for where in (folder, FOLDER / "pythia-micro")
        )
        assert new > 0.7
        assert abs(new - old) < 0.15
