"""A tenth of the paper's grid: rows add up, and the analysis fits a small machine's memory."""

import paper_grid
import pytest
from benchmarks import bench_analysis, clocks
from fewshot import storage
from fewshot.errors import UserError

pytestmark = pytest.mark.slow


@pytest.mark.weekly
def test_a_tenth_of_the_papers_grid(tmp_path):
    study = paper_grid.grid(0.1)
    before = clocks.peak_mib()
    tally = bench_analysis.analyse_grid(study, tmp_path)
    kept = paper_grid.expected_rows(study, kept=2)
    assert tally.rows["predictions"] == kept > 90_000_000
    # Of each of two models and two sets: in context three patterns with one seed without shots and
    # ten with 2, 16 and 32 (which RTE does not fit); fine-tuned 30 cells, ten seeds, two epochs.
    for task in ("mnli", "rte"):
        outcomes = sum(
            len(storage.read_table(tmp_path / f"results/outcomes/paper/{task}/{model}.parquet"))
            for model in study.settings["models"]
        )
        runs = 3 * (1 + (30 if task == "mnli" else 20)) + 30 * 10 * 2
        assert outcomes == 2 * 2 * runs
    assert not list(tmp_path.rglob("predictions.parquet")), "removed once they are counted"
    assert tally.bytes["outcomes"] < 0.02 * tally.bytes["predictions"]
    assert clocks.peak_mib() - before < 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [("--scale 2", "at most 1"), ("--scale 0", "above 0")],
)
def test_mistakes_on_the_command_line_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        bench_analysis.main(arguments.split())
