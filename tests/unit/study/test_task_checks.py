"""What the entries of tasks must agree on, each mistake told in one line."""

import pytest
from fewshot.study.catalog import catalog_of
from fewshot.study.job_inputs import JobInputs
from registries import copy_registries, edit, edit_task, load, message


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


ONE_TEXT = {
    "source": "mnli",
    "splits": {"validation": "validation_mismatched"},
    "text": ["hypothesis"],
    "label": "label",
    "labels": {"entailment": 0, "contradiction": 2},
    "drop": [1],
}


def test_an_out_of_domain_set_has_as_many_texts_as_the_task(folder):
    edit(folder, "tasks", lambda tasks: tasks.update(one=ONE_TEXT))
    edit_task(folder, "mnli", out_of_domain=["one"])
    assert message(folder) == (
        "config/tasks.yaml: task 'mnli': out_of_domain: 'one' has 1 text field and the task 2; "
        "a pattern shows the same fields for both"
    )


def test_labels_of_one_name_are_never_swapped(folder):
    swapped = {"contradiction": 2, "entailment": 0}
    two = {**ONE_TEXT, "text": ["premise", "hypothesis"], "labels": swapped}
    edit(folder, "tasks", lambda tasks: tasks.update(two=two))
    edit_task(folder, "mnli", out_of_domain=["two"])
    expected = (
        "config/tasks.yaml: task 'mnli': out_of_domain: its label 'entailment' would count as "
        "'contradiction' of 'two', which has 'entailment' itself; "
        "give 'merge', with 1 for 'entailment'"
    )
    assert message(folder) == expected
    edit_task(folder, "mnli", out_of_domain=[{"set": "two", "merge": [0, 1]}])
    assert message(folder) == expected, "said expressly, it is no less wrong"
    edit_task(folder, "mnli", out_of_domain=[{"set": "two", "merge": [1, 0]}])
    assert load(folder).out_of_domain("mnli") == [("two", [1, 0])]


def test_labels_of_other_names_are_matched_as_given(folder):
    edit_task(folder, "hans", labels={"non-entailment": 1, "implied": 0}, expected={})
    edit_task(folder, "mnli", out_of_domain=[])
    edit_task(folder, "mnli-three-way", out_of_domain=[])
    edit_task(folder, "rte", out_of_domain=[{"set": "hans", "merge": [1, 0]}])
    assert load(folder).out_of_domain("rte") == [("hans", [1, 0])]


@pytest.mark.parametrize(
    "items",
    [["hans", {"set": "hans", "merge": [0, 1]}], [{"set": "hans", "merge": [0, 1]}, "hans"]],
)
def test_an_out_of_domain_set_is_named_once(folder, items):
    edit_task(folder, "rte", out_of_domain=items)
    assert "task 'rte': out_of_domain: 'hans' is given twice" in message(folder)
    edit_task(folder, "rte", out_of_domain=["hans", "hans"])
    assert "rte.out_of_domain: 'hans' is given twice" in message(folder)


def test_a_task_is_not_out_of_its_own_domain(folder):
    edit_task(folder, "rte", out_of_domain=["rte"])
    assert "task 'rte': out_of_domain: 'rte' is the task itself" in message(folder)


FILES = {"a": "x.jsonl", "b": "./x.jsonl"}
WEB = {"a": {"address": "https://a/x.tsv"}, "b": {"address": "https://a/x.tsv"}}
HUB = {"hub": "a/b", "revision": "x", "files": {"a": "x.jsonl", "b": "x.jsonl"}}


@pytest.mark.parametrize(
    ("source", "splits"),
    [
        (HUB, {"train": "a", "validation": "a"}),
        (HUB, {"train": "a", "validation": "b"}),
        ({"local": FILES}, {"train": "a", "validation": "b"}),
        ({"url": WEB}, {"train": "a", "validation": "b"}),
        ({"synthetic": "rte-like", "sizes": {"a": 9}}, {"train": "a", "validation": "a"}),
    ],
)
def test_shots_are_never_evaluation_rows(folder, source, splits):
    edit(folder, "tasks", lambda tasks: tasks.pop("rte-100"))
    edit_task(folder, "rte", source=source, splits=splits)
    assert message(folder) == (
        "config/tasks.yaml: task 'rte': splits: train and the validation split of 'rte' are the "
        "same rows; shots must not be evaluation rows"
    )


def test_shots_are_no_rows_of_an_out_of_domain_set(folder):
    edit_task(folder, "mnli-three-way", out_of_domain=["leak"])
    leak = {**ONE_TEXT, "splits": {"validation": "train"}, "text": ["premise", "hypothesis"]}
    edit(folder, "tasks", lambda tasks: tasks.update(leak={**leak}))
    edit_task(folder, "leak", labels={"entailment": 0, "neutral": 1, "contradiction": 2}, drop=[])
    assert "'mnli-three-way': splits: train and the validation split of 'leak'" in message(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"entailment": [0, 2], "not_entailment": [1, 2]}},
        {"labels": {"entailment": 0, "not_entailment": 1}, "drop": ["1"]},
        {"labels": {"entailment": 1, "not_entailment": "1"}},
    ],
)
def test_a_raw_label_has_one_meaning(folder, changes):
    edit_task(folder, "rte", **changes)
    text = message(folder)
    assert "task 'rte': raw label '" in text and "' is given two meanings: " in text


def test_a_raw_label_may_be_repeated_for_one_label(folder):
    edit_task(folder, "rte", labels={"entailment": [0, "0"], "not_entailment": 1}, drop=[2, "2"])
    assert load(folder).tasks["rte"]["drop"] == [2, "2"]


def test_no_task_may_be_called_train(folder):
    edit(folder, "tasks", lambda tasks: tasks.update(train=tasks["rte"]))
    assert "task 'train': this name is reserved" in message(folder)


def test_a_split_may_be_several_files_below_the_home_folder(tmp_path, monkeypatch):
    project = tmp_path / "project"
    project.mkdir()
    folder = copy_registries(project)
    monkeypatch.setenv("HOME", str(tmp_path))
    names = {"a.tsv", "b.tsv", "c.tsv"}
    for name in names:
        (tmp_path / name).write_text("x\ty\n")
    local = {"train": ["~/a.tsv", "~/b.tsv"], "validation": "~/c.tsv"}
    edit_task(folder, "rte", source={"local": local}, splits={name: name for name in local})
    study = load(folder)
    inputs = JobInputs(study)
    assert inputs.source_files("rte") == sorted(str(tmp_path / name) for name in names)
    assert catalog_of(study)["tasks"]["rte"]["source"] == "local files"
    (tmp_path / "b.tsv").unlink()
    assert "task 'rte': source file of 'train' not found: ~/b.tsv" in message(folder)


def test_a_split_may_be_several_files_on_the_web(tmp_path):
    folder = copy_registries(tmp_path)
    files = [{"address": f"https://example.org/{name}.jsonl"} for name in ("a", "b")]
    url = {"train": files, "validation": {"address": "https://example.org/c.jsonl"}}
    edit_task(folder, "rte", source={"url": url}, splits={name: name for name in url})
    source = catalog_of(load(folder))["tasks"]["rte"]["source"]
    assert "a.jsonl" in source and "b.jsonl" in source and "c.jsonl" in source
