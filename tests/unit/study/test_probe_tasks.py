"""Probes of a task: scored by its jobs, and no evaluation set of any accuracy."""

import pytest
from fewshot.planning import power
from fewshot.study.catalog import catalog_of
from fewshot.study.imports import used_entries
from fewshot.study.job_inputs import JobInputs
from registries import BLOCK, copy_registries, edit_task, load, message

GRID = [{**BLOCK, "k": [0, 6]}, {**BLOCK, "methods": ["pattern-ft"], "k": [6]}]
STUDY = {"tasks": ["mnli-probed"], "grid": GRID}


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def test_jobs_score_a_probe_and_nothing_else_knows_it_as_an_evaluation_set(folder):
    study, plain = (
        load(folder, **{**STUDY, "tasks": [name]}) for name in ("mnli-probed", "mnli-three-way")
    )
    assert study.evaluation_sets("mnli-probed") == ["mnli-probed", "hans"]
    assert study.scored_sets("mnli-probed") == ["mnli-probed", "hans", "bias-probe"]
    inputs = JobInputs(study)
    assert (
        inputs.evaluation_files("mnli-probed")[-1] == "results/data/bias-probe/validation.parquet"
    )
    assert [each.get("probe", False) for each in inputs.evaluation_sets("mnli-probed")] == [
        *(False, False, True)
    ]
    assert inputs.bias_files() == [
        f"results/bias/mine/mnli-probed/{m}.parquet" for m in ("small", "tiny")
    ]
    assert not JobInputs(plain).bias_files()
    assert not any("probe" in each for each in JobInputs(plain).evaluation_sets("mnli-three-way"))
    # What is compared, and how many comparisons a study is corrected for.
    others = (JobInputs(each).comparison_catalog() for each in (study, plain))
    assert next(others) == next(others)
    assert power.facts(study)["comparisons"] == power.facts(plain)["comparisons"] == 2 * 2
    assert (
        "bias-probe" in catalog_of(study)["tasks"] and "bias-probe" in used_entries(study)["tasks"]
    )


def test_the_table_and_the_figure_need_a_probe(folder):
    study = load(folder, **STUDY)
    assert "bias" in study.figures and "bias" in study.tables
    study = load(folder)
    assert "bias" not in study.figures and "bias" not in study.tables
    assert "needs a probe of neutral pairs" in study.unmet["table"]["bias"]


@pytest.mark.parametrize(
    ("task", "probes", "said"),
    [
        ("rte", ["bias-probe"], "is neutral, which is no label of the task (entailment, not_ent"),
        ("cb", ["bias-probe"], "would count as 'neutral' of 'bias-probe'"),
        ("mnli-three-way", ["hans"], "'hans' is scored already"),
        ("mnli-three-way", ["anli"], "'anli' has no subsets.group; valid: a column each for group"),
        ("mnli-three-way", ["rte"], "'rte' is no probe; valid: tasks of two texts with the labels"),
        ("mnli-three-way", ["bias-prob"], "did you mean 'bias-probe'"),
        ("sst2", ["bias-probe"], "the task has one text"),
    ],
)
def test_a_mistaken_probe_is_one_line(folder, task, probes, said):
    edit_task(folder, task, probes=probes)
    line = message(folder)
    assert line.startswith(f"config/tasks.yaml: task '{task}': probes") and said in line


def test_rows_without_whole_pairs_are_refused_at_load(folder):
    source = {"synthetic": "bias-probe", "sizes": {"validation": 333}}
    edit_task(folder, "bias-probe", source=source)
    assert message(folder) == (
        "config/tasks.yaml: task 'bias-probe': sizes: synthetic data 'bias-probe': 333 rows cannot "
        "have each pair in all 10 social words; valid: a multiple of 10 up to 4,800"
    )


def test_a_probe_is_cut_pair_by_pair_alone(folder):
    edit_task(folder, "bias-probe", subsample={"rows": 100, "splits": ["validation"]})
    assert "'bias-probe' has subsample, which would leave pairs" in message(folder)


def test_a_task_with_other_labels_than_the_probe_s_says_how_they_count(folder):
    edit_task(folder, "cb", probes=[{"set": "bias-probe", "merge": [0, 2, 1]}])
    assert load(folder).probes("cb") == [("bias-probe", [0, 2, 1])]
