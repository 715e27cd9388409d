"""What a study's key `forgetting` makes of its jobs, and mistakes in it: one line each."""

import pytest
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.study.catalog import catalog_of
from fewshot.study.forgetting_inputs import ForgettingInputs
from fewshot.study.imports import used_entries
from fewshot.study.job_inputs import JobInputs
from fewshot.study.other_tasks import measured_models, trained_seeds
from fewshot.study.sources import hub_sources
from registries import copy_registries, edit, load, message

TEXT = {"source": {"local": {"all": "notes.txt"}}, "rows": 9, "tokens": 64}
ASKED = {"text": ["notes"], "tasks": ["mnli"], "k": [0, 4]}
OWN = {"define": {"texts": {"notes": TEXT}}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy_registries(tmp_path)
    (tmp_path / "notes.txt").write_text("a\n\nb\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_job_measures_the_texts_and_the_tasks_with_other_rows(folder):
    asked = {**ASKED, "tasks": ["mnli", "rte"]}
    study = load(folder, forgetting=asked, tasks=["rte", "mnli"], **OWN)
    elsewhere = ForgettingInputs(JobInputs(study))
    files = elsewhere.files("rte", [0, 2])
    assert files == {
        "texts": ["results/texts/notes.parquet"],
        "other_rows": ["results/data/mnli/validation.parquet"],
        "other_train": ["results/data/mnli/train.parquet"],
        "other_shots": [f"results/shots/fair/mnli/k4/seed{seed}.parquet" for seed in (0, 2)],
    }
    params = elsewhere.params("mnli", "tiny")
    assert params["texts"] == [{"text": "notes", "tokens": 64}] and params["rows"] == 500
    [rte] = params["tasks"]
    assert (rte["task"], rte["pattern"]["name"], rte["pattern"]["words"]) == (
        *("rte", "minimal"),
        (" Yes", " No"),
    )
    assert elsewhere.tasks(None) == ["mnli", "rte"]
    assert measured_models(study) == ["tiny", "small"] and trained_seeds(study, "tiny") == [0, 1, 2]
    assert len(elsewhere.after()) == 2 * 2 * 2, "two methods train, on two tasks, of two models"
    patterns = catalog_of(study)["forgetting"]["patterns"]
    assert patterns == dict.fromkeys(("mnli", "rte"), "minimal pattern")
    assert "notes" in used_entries(study)["texts"] and "mnli" in used_entries(study)["tasks"]
    assert "notes" not in hub_sources(study) and "mnli" in hub_sources(study)


def test_runs_that_measure_lie_apart_and_others_stay_where_they_were(folder):
    plain, asked = load(folder), load(folder, forgetting=ASKED, **OWN)
    more = load(folder, forgetting={**ASKED, "rows": 100}, **OWN)
    folders = [{study.run_folder(job) for job in study.jobs} for study in (plain, asked, more)]
    trained = [{path for path in each if "-ft" in path} for each in folders]
    assert not trained[0] & trained[1] and not trained[1] & trained[2]
    shown = [each - of for each, of in zip(folders, trained, strict=True)]
    assert shown[0] == shown[1] == shown[2], "in context nothing is trained, nothing lies apart"
    nothing = ForgettingInputs(JobInputs(plain))
    assert not (
        nothing.files("rte", [0]) or measured_models(plain) or nothing.before() or nothing.after()
    )
    assert not (nothing.rows() or nothing.draws())
    assert "forgetting" not in catalog_of(plain)


def test_figure_and_table_are_there_where_something_is_measured(folder):
    study = load(folder, forgetting=ASKED, **OWN)
    assert "forgetting" in study.figures and "forgetting" in study.tables
    assert "key forgetting" in load(folder).unmet["figure"]["forgetting"]
    grid = [{"methods": ["pattern-ft"], "patterns": ["minimal"], "k": [2]}]
    without = load(folder, forgetting=ASKED, grid=grid, **OWN)
    assert "in context with 0 shots" in without.unmet["figure"]["forgetting"]
    assert "forgetting" in without.tables


def test_the_plan_counts_what_is_read_besides(folder):
    """Documents: all tokens are predicted; the other task behind no shots and behind four."""
    plain, asked = load(folder), load(folder, forgetting=ASKED, **OWN)
    [cell] = [cell for cell in plain.cells if cell.method == "pattern-ft" and cell.model == "tiny"]
    before, after = (MemoryPlan(study).work(cell, 3).score for study in (plain, asked))
    assert after[: len(before)] == before
    text, without, shown = after[len(before) :]
    assert (text.rows, text.tokens, text.answers) == (9, 64, 64)
    assert without.rows == shown.rows == 500 and shown.tokens > without.tokens


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forgetting": {}}, "forgetting: nothing is named; valid: text, tasks, or both"),
        ({"forgetting": {"text": ["wikitxt"]}}, "unknown text 'wikitxt'; did you mean 'wikitext'?"),
        ({"forgetting": {"tasks": ["mnl"]}}, "unknown task 'mnl'; did you mean"),
        ({"forgetting": {"tasks": ["rte"]}}, "'rte' has the rows that every model is adapted to"),
        ({"forgetting": {"tasks": ["own"], "k": [2]}, "define": {"tasks": {
            "own": {"base": "mnli", "draw": {"flip": 0.5}}}}},
         "'own' changes its shots (draw); valid with k > 0: its base 'mnli'"),
        ({"forgetting": {"tasks": ["hans"]}}, "has label words for task 'hans'"),
        ({"forgetting": {**ASKED, "k": [3]}}, "forgetting: k = 3 cannot be balanced over the 2"),
        ({"forgetting": {**ASKED, "k": [10**6]}}, "is more than the training rows"),
        ({"forgetting": {"text": ["notes"], "k": [2]}}, "k: counts shots of other tasks"),
        ({"forgetting": {"texts": ["notes"]}}, "did you mean 'text'?"),
        ({"forgetting": {"text": ["notes"]}, "grid": [
            {"methods": ["in-context"], "patterns": ["minimal"], "k": [2]}]},
         "no method of the grid trains"),
        ({"define": {"texts": {"rte": TEXT}}}, "text 'rte': a task has this name too"),
        ({"define": {"texts": {"notes": {**TEXT, "field": "x"}}}}, "field: a .txt file has no col"),
        ({"define": {"texts": {"own": {"source": {"local": {"a": "a.csv"}}}}}},
         "text 'own': 'field' is missing"),
        ({"define": {"texts": {"notes": {**TEXT, "rows": 1}}}}, "1 is too small; valid: 2 or more"),
        ({"forgetting": {"text": ["gone"]}, "define": {"texts": {
            "gone": {"source": {"local": {"a": "gone.txt"}}}}}},
         "source file of 'a' not found: gone.txt"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(folder, changes, said):
    assert said in message(folder, **{**OWN, **changes})


def test_a_text_of_the_registry_is_checked_too(folder):
    edit(folder, "texts", lambda texts: texts["wikitext"].pop("field"))
    assert "config/texts.yaml: text 'wikitext': 'field' is missing" in message(folder)
