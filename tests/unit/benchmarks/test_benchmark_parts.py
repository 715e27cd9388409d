"""What the scorer's benchmark computes from its measurements."""

import pytest
from benchmarks import cases, printing, report, shapes


def test_operations_are_counted_as_in_the_formula():
    model = shapes.build("tiny-opt")
    linear = 2 * (4 * 32 * 32 + 2 * 32 * 128)  # two layers: attention and feed-forward
    assert sum(a * b for a, b in shapes.linear_shapes(model)) == linear
    # A prefix of 3 tokens, rows of 2 tokens and of 1; in the second and last layer own tokens have
    # queries, keys and values only, but for the two that are answered.
    weights = 2 * linear * (3 + (2 + 1) * (1 + 1 / 4) / 2 + 2 * (3 / 4) / 2)
    attention = 4 * 32 * (2 * (1 + 2 + 3) + (4 + 5) + 4)
    assert shapes.scoring_flops(model, 3, [2, 1], 2) == weights + attention + 2 * 2 * 50272 * 32


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("opt-125m", 125_239_296), ("pythia-160m", 162_322_944)],
)
def test_shapes_are_the_published_ones(name, parameters):
    import torch
    from transformers import AutoModelForCausalLM

    make, *sizes = shapes.SHAPES[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(make(*sizes))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_samples_are_spread_over_lengths():
    lengths = [5, 1, 9, 3, 7, 2, 8, 4, 6, 0]
    assert sorted(lengths[i] for i in cases.stratified(lengths, 5)) == [1, 3, 5, 7, 9]
    assert cases.stratified(lengths, 99) == list(range(10))
    assert cases.common([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2


def row(system, rate, k=16, task="rte", **more):
    fixed = {"model": "m", "dtype": "float32", "status": "ok", "task": task}
    return {"system": system, "k": k, "rows_per_s": rate, **fixed, **more}


def test_targets_compare_with_what_was_measured():
    same = {"max_abs_diff": 2e-4, "same_predictions": True}
    rows = [
        row("fairshot", 50.0, **same),
        row("lm-eval", 2.0),
        row("transformers-full", 5.0),
    ]
    found = report.targets(report.frame(rows))
    assert [(target.found, target.reached) for target in found] == [
        ("25.0 x", True),
        ("10.0 x", False),
        ("2.0e-04", False),
    ]
    assert "not reached" in printing.summary(found)
