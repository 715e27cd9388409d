"""What the embedded models show, measured on data seeds that no setting was chosen on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from behaviour import PATTERN, TASKS, accuracy, context_of, draw, fine_tune, interval, load, rows
from fewshot.embedded import RECIPES

FOLDER = Path(__file__).parents[2] / "config" / "embedded"
SEEDS = range(20, 26)
RATE = {"opt": 1e-3, "gpt_neox": 1e-3}
ROWS = 100

pytestmark = pytest.mark.slow


def in_context(folder, task: str, pattern: str, k: int = 16) -> list[float]:
    """Return the in-domain accuracy of each seed with k demonstrations."""
    model, tokenizer = load(folder)
    frame = rows(TASKS[task], "validation", ROWS)
    contexts = [context_of(PATTERN[pattern], draw(task, k, seed)) for seed in SEEDS]
    return [accuracy(model, tokenizer, PATTERN[pattern], frame, text) for text in contexts]


def fine_tuned(folder, task: str, pattern: str, rate: float, k: int = 16) -> list[float]:
    """Return the in-domain accuracy of each seed after training on k examples."""
    frame, found = rows(TASKS[task], "validation", ROWS), []
    for seed in SEEDS:
        model, tokenizer = load(folder)
        fine_tune(model, tokenizer, PATTERN[pattern], draw(task, k, seed), seed, rate)
        found.append(accuracy(model, tokenizer, PATTERN[pattern], frame))
    return found


@pytest.mark.parametrize("pattern", PATTERN)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", RECIPES)
def test_in_context_learning_is_above_chance(model, task, pattern):
    _, low, _ = interval(in_context(FOLDER / model, task, pattern))
    assert low > 0.5


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", RECIPES)
def test_fine_tuning_is_above_chance(model, task):
    found = fine_tuned(FOLDER / model, task, "minimal", RATE[RECIPES[model].family])
    _, low, _ = interval(found)
    assert low > 0.5


@pytest.mark.parametrize("model", RECIPES)
def test_the_overlap_heuristic_fails_out_of_domain(model):
    """With demonstrations, entailed HANS-like pairs are labelled far better than the others."""
    loaded, tokenizer = load(FOLDER / model)
    frame = rows("hans-like", "validation", 2 * ROWS)
    context = context_of(PATTERN["minimal"], draw("synth-mnli", 16, SEEDS[0]))
    entailed, other = (
        accuracy(loaded, tokenizer, PATTERN["minimal"], frame[frame["label"] == label], context)
        for label in (0, 1)
    )
    assert entailed > other + 0.3


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
        new = interval(in_context(folder, task, "minimal"))
        old = interval(in_context(FOLDER / "pythia-micro", task, "minimal"))
        assert new[1] > 0.5
        assert abs(new[0] - old[0]) < 0.15
        new = interval(fine_tuned(folder, task, "minimal", RATE["gpt_neox"]))
        old = interval(fine_tuned(FOLDER / "pythia-micro", task, "minimal", RATE["gpt_neox"]))
        assert new[1] > 0.5
        assert abs(new[0] - old[0]) < 0.15
