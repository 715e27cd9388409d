"""What is asked of a study's power: comparisons, sizes of sets, and how scores vary."""

from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.analysis import statistics_schemas
from fewshot.data import halves
from fewshot.data.evaluation_sets import read_set
from fewshot.errors import UserError
from fewshot.planning import power
from registries import copy_registries, load, message

GRID = [
    {"methods": ["in-context", "pattern-ft", "lora"], "patterns": ["minimal"], "k": [16]},
    {"methods": ["in-context"], "patterns": ["gpt-3"], "k": [0, 16]},
]


@pytest.fixture(scope="module")
def registries(tmp_path_factory):
    return copy_registries(tmp_path_factory.mktemp("config"))


def study_of(registries, **changes):
    told = {"models": ["opt-125m", "opt-350m"], "tasks": ["rte"], "seeds": "0-9", "grid": GRID}
    return load(registries, **{**told, **changes})


def prepare(folder, name, clusters=None, labels=(0, 1), rows=40):
    """Write prepared rows of an evaluation set."""
    numbers = np.arange(rows)
    frame = pd.DataFrame({"id": numbers, "label": np.take(labels, numbers % len(labels))})
    frame = frame.assign(text_a="a", text_b="b", group=None, subset=None, cluster=clusters)
    path = folder / power.DATA / name / "validation.parquet"
    storage.write_table(path, frame.astype({"label": "int16"}), schemas.ROWS)


def finish(folder, rows, study="mine", task="rte"):
    """Write comparisons that have some columns, and nothing or 0 in the others."""
    chosen = {"family": "same model", "score": "accuracy", "evaluation_set": "rte", "domain": "in",
              "k": 16, "selection": "last", "seeds": 5, "clusters": 277}  # fmt: skip
    frame = pd.DataFrame([chosen | row for row in rows])
    for field in statistics_schemas.COMPARISONS:
        if field.name not in frame:
            text = "string" in str(field.type) or "dictionary" in str(field.type)
            frame[field.name] = None if field.nullable else "" if text else 0
    path = folder / power.STATISTICS / study / task / "comparisons.parquet"
    storage.write_table(path, frame, statistics_schemas.COMPARISONS)


def parts(draw, row, both, **more):
    return {"draw_part": draw, "row_part": row, "both_part": both, **more}


def asked(study, folder):
    return {(each["task"], each["evaluation_set"]): each for each in power.questions(study, folder)}


def test_comparisons_are_those_of_the_same_model_on_all_sets(registries, tmp_path):
    """Two models, each with two fine-tuned arms, on RTE and HANS: the reference is one pattern."""
    study = study_of(registries)
    found = asked(study, tmp_path)
    assert list(found) == [("rte", "rte"), ("rte", "hans")]
    assert {each["comparisons"] for each in found.values()} == {4}
    assert {each["seeds"] for each in found.values()} == {10}
    facts = power.facts(study)
    assert (facts["comparisons"], facts["k"], facts["margin"]) == (8, 16, 3)
    assert [found["rte", name]["domain"] for name in ("rte", "hans")] == ["in", "out"]
    assert power.facts(study_of(registries, main={"margin": 5}))["margin"] == 5


def test_seeds_are_the_fewest_that_a_comparison_has(registries, tmp_path):
    grid = [{**GRID[0], "methods": ["in-context", "pattern-ft"]},
            {**GRID[0], "methods": ["lora"], "seeds": "0-4"}]  # fmt: skip
    found = asked(study_of(registries, grid=grid), tmp_path)
    assert found["rte", "rte"]["seeds"] == 5


def test_a_study_without_comparisons_asks_nothing(registries, tmp_path):
    alone = study_of(registries, grid=GRID[1:])
    assert power.questions(alone, tmp_path) == [] and power.facts(alone)["comparisons"] == 0
    other_k = [GRID[0] | {"methods": ["pattern-ft"], "k": [32]}, GRID[1] | {"k": [16]}]
    assert power.questions(study_of(registries, grid=other_k), tmp_path) == []


def test_rows_are_as_many_as_the_task_tells_before_they_are_prepared(registries, tmp_path):
    found = power.set_size(study_of(registries), "rte", tmp_path)
    assert astuple(found) == (277, None, 1.0, 276.0, power.STATED)


def test_clusters_are_those_of_prepared_rows(registries, tmp_path):
    """Eight templates of five rows, of one label each: those of a label vary among themselves."""
    study = study_of(registries)
    clusters = [f"t{row % 8}" for row in range(40)]
    prepare(tmp_path, "hans", clusters)
    found = power.set_size(study, "hans", tmp_path)
    assert astuple(found) == (40, 8, 5.0, 8 - 2, power.PREPARED)
    prepare(tmp_path, "rte")
    assert astuple(power.set_size(study, "rte", tmp_path)) == (40, 40, 1.0, 39.0, power.PREPARED)
    # Kish: one cluster of 20, and 20 rows for themselves: Σ n² = 420.
    prepare(tmp_path, "hans", ["t"] * 20 + [f"r{row}" for row in range(20)])
    found = power.set_size(study, "hans", tmp_path)
    assert (found.clusters, found.row_cluster) == (21, 420 / 40)
    assert found.df == pytest.approx(40**2 / 420 - 1)


def test_assumed_variances_by_hand(registries, tmp_path):
    """Two methods of 5 points each; 40 % of 277 rows, a quarter of it with every draw."""
    told = {"draw_sd": 5, "disagreement": 0.4, "repeated": 0.25, "cluster_correlation": 0.2}
    study = study_of(registries, power=told)
    each = asked(study, tmp_path)["rte", "rte"]
    assert each["draw_variance"] == pytest.approx(2 * 0.05**2)
    assert each["row_variance"] == pytest.approx(0.4 / 277 / 4)
    assert each["both_variance"] == pytest.approx(0.4 / 277 * 3 / 4)
    assert (each["source"], each["finished"]) == (power.ASSUMED, 0)
    prepare(tmp_path, "hans", [f"t{row % 8}" for row in range(40)])
    each = asked(study, tmp_path)["rte", "hans"]
    assert each["row_variance"] == pytest.approx(0.4 / 40 * (1 + 4 * 0.2) / 4)
    assert power.facts(study)["assumed"] == told


def test_assumed_variances_are_those_of_simulated_answers():
    """Pairs of 0/1 answers with two draws each; the simulator shares no code."""
    rng, rows, studies = np.random.default_rng(0), 60, 4000
    told = {"draw_sd": 4, "disagreement": 0.3, "repeated": 0.5, "cluster_correlation": 0.0}
    size = power.SetSize(rows, rows, 1.0, rows - 1.0, power.PREPARED)
    expected = power.assumed_sources(told, size, False)
    # One row in 0.3 has a right and a wrong answer; with chance √0.5 it is in both draws as in
    # the row's own difference, so that two draws have half of their variance in common.
    own = rng.choice([-1, 0, 1], (studies, 1, rows), p=[0.15, 0.7, 0.15])
    drawn = rng.choice([-1, 0, 1], (studies, 2, rows), p=[0.15, 0.7, 0.15])
    same = rng.random((studies, 2, rows)) < 0.5**0.5
    differences = np.where(same, own, drawn).mean(axis=2)
    differences += rng.normal(0, 0.04, (studies, 2)) - rng.normal(0, 0.04, (studies, 2))
    total = expected.draws + expected.rows + expected.both
    assert differences.var() == pytest.approx(total, rel=0.06)
    assert np.cov(differences.T)[0, 1] == pytest.approx(expected.rows, rel=0.15)


def test_variances_of_finished_comparisons_count_before_what_is_assumed(registries, tmp_path):
    finish(tmp_path, [parts(9e-4, 5e-4, 2e-4), parts(5e-4, 3e-4, 2e-4)])
    found = asked(study_of(registries), tmp_path)
    each = found["rte", "rte"]
    assert each["draw_variance"] == pytest.approx(5 * (7e-4 + 3e-4) / 2)
    assert each["row_variance"] == pytest.approx((3e-4 + 1e-4) / 2)
    assert each["both_variance"] == pytest.approx(5 * 2e-4)
    assert (each["source"], each["finished"], each["row_df"]) == (power.FINISHED, 2, 276)
    assert found["rte", "hans"]["source"] == power.ASSUMED


def test_more_clusters_than_were_scored_lower_what_rows_add(registries, tmp_path):
    finish(tmp_path, [parts(9e-4, 5e-4, 2e-4, clusters=20)])
    prepare(tmp_path, "rte")
    each = asked(study_of(registries), tmp_path)["rte", "rte"]
    assert each["row_variance"] == pytest.approx(3e-4 / 2)
    assert each["both_variance"] == pytest.approx(10e-4 / 2)
    assert each["draw_variance"] == pytest.approx(35e-4) and each["row_df"] == 39


@pytest.mark.parametrize(
    "other",
    [{"seeds": 1}, {"k": 32}, {"selection": "best-in-domain"}, {"score": "roc_area"},
     {"family": "matrix"}, {"both_part": None}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_other_comparisons_do_not_count(registries, tmp_path, other):
    finish(tmp_path, [parts(9e-4, 5e-4, 2e-4) | other])
    assert asked(study_of(registries), tmp_path)["rte", "rte"]["source"] == power.ASSUMED


def by_half(registries, selection="held-out"):
    return study_of(registries, best_epoch="held-out", main={"selection": selection})


def test_rows_in_domain_are_those_of_the_test_half_where_it_judges(registries, tmp_path):
    """RTE has 277 rows: 138 choose and 139 judge. Out of domain all rows judge."""
    found = asked(by_half(registries), tmp_path)
    rte, hans = found["rte", "rte"], found["rte", "hans"]
    assert (rte["rows"], rte["row_df"], rte["test_half"]) == (139, 138.0, True)
    assert (hans["rows"], hans["test_half"]) == (30_000, False)
    whole = asked(study_of(registries), tmp_path)["rte", "rte"]
    assert rte["row_variance"] == pytest.approx(whole["row_variance"] * 277 / 139)
    # The last epoch, which no half chose, is judged by all rows.
    last = asked(by_half(registries, "last"), tmp_path)["rte", "rte"]
    assert (last["rows"], last["test_half"]) == (277, False)


def test_the_test_half_is_that_of_prepared_rows(registries, tmp_path):
    """Clusters stay whole: of sixteen of four rows, with two of each label, eight judge."""
    prepare(tmp_path, "rte", [f"c{row // 4}" for row in range(64)], rows=64)
    study = by_half(registries)
    path = tmp_path / power.DATA / "rte/validation.parquet"
    test = halves.half_for_test(read_set("rte", (), path))
    found = power.set_size(study, "rte", tmp_path, half=True)
    assert astuple(found) == (32, 8, 4.0, 7.0, power.PREPARED)
    assert len(test.labels) == 32
    rte = asked(study, tmp_path)["rte", "rte"]
    assert (rte["rows"], rte["clusters"], rte["row_df"]) == (32, 8, 7.0)


def test_variants_of_a_task_have_the_halves_of_its_rows(registries, tmp_path):
    """Uneven clusters, so that another split has others."""
    sizes = np.random.default_rng(1).integers(1, 20, 60)
    prepare(tmp_path, "rte", np.repeat([f"c{c}" for c in range(60)], sizes), rows=sizes.sum())
    study = by_half(registries)
    variant = replace(study, tasks={**study.tasks, "rte-flip": {**study.tasks["rte"],
                                                                "base": "rte"}})  # fmt: skip
    halved = [power.set_size(variant, name, tmp_path, half=True) for name in ("rte", "rte-flip")]
    assert halved[0] == halved[1]
    path = tmp_path / power.DATA / "rte/validation.parquet"
    other = np.bincount(halves.half_for_test(read_set("rte-flip", (), path)).clusters)
    assert (other**2).sum() / other.sum() != halved[0].row_cluster, "its own name splits otherwise"


def test_rows_of_a_single_cluster_have_no_test_half(registries, tmp_path):
    prepare(tmp_path, "rte", ["one"] * 40)
    with pytest.raises(UserError, match="task 'rte' are a single row or cluster"):
        power.questions(by_half(registries), tmp_path)
    assert asked(study_of(registries), tmp_path)["rte", "rte"]["clusters"] == 1


def test_variances_in_domain_are_those_of_comparisons_on_the_test_half(registries, tmp_path):
    """As verdicts: in domain, too, at the epoch that the choice half chose."""
    finish(tmp_path, [parts(9e-4, 5e-4, 2e-4, clusters=139, selection="held-out"),
                      parts(70e-4, 3e-4, 2e-4, selection="last")])  # fmt: skip
    each = asked(by_half(registries), tmp_path)["rte", "rte"]
    assert (each["source"], each["finished"]) == (power.FINISHED, 1)
    assert each["draw_variance"] == pytest.approx(5 * 7e-4)
    assert each["row_variance"] == pytest.approx(3e-4) and each["row_df"] == 138
    last = asked(by_half(registries, "last"), tmp_path)["rte", "rte"]
    assert last["draw_variance"] == pytest.approx(5 * 68e-4)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"draw_sdd": 4}, "power: unknown key 'draw_sdd'; did you mean 'draw_sd'"),
        ({"disagreement": 30}, "power.disagreement"),
        ({"draw_sd": "four"}, "power.draw_sd"),
    ],
)
def test_mistakes_are_told_in_one_line(registries, told, says):
    assert says in message(registries, power=told)
