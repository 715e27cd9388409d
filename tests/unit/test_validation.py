"""The YAML files: defaults, inheritance, and one telling line for each mistake."""

import errno
import re
from datetime import date
from pathlib import Path

import pytest
import yaml
from fewshot.errors import UserError, unknown
from fewshot.models.files import read_mapping
from fewshot.study.registries import REGISTRIES, load_registries
from fewshot.validation import mistake, read_yaml, validate
from mistakes import told
from registries import CONFIG, copy_registries

SOURCE = {"hub": "a/b", "revision": "x", "files": {"train": "f"}}
TASK = {
    "source": SOURCE,
    "splits": {"validation": "train"},
    "text": ["a", "b"],
    "label": "gold",
    "labels": {"z": 0, "a": [1, "one"]},
}
MODEL = {"family": "opt", "parameters": 1, "window": 1, "local": "somewhere"}
STUDY = {
    "study": "s",
    "models": ["m"],
    "tasks": ["t"],
    "seeds": "0-4",
    "grid": [{"methods": ["x"], "patterns": ["p"], "k": [2]}],
}


def yaml_file(folder, text):
    path = folder / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def folder(tmp_path):
    return copy_registries(tmp_path)


def test_defaults_are_filled_in_and_the_order_of_labels_kept():
    task = validate({"t": TASK}, "tasks", "x.yaml")["t"]
    assert task["drop"] == [] and task["out_of_domain"] == [] and task["subsets"] == {}
    assert list(task["labels"].items()) == [("z", 0), ("a", [1, "one"])]
    synthetic = {"synthetic": "rte-like", "sizes": {"train": 5}}
    task = validate({"t": {**TASK, "source": synthetic}}, "tasks", "x.yaml")["t"]
    assert task["source"]["seed"] == 0, "a default of one of several alternatives"
    study = validate(STUDY, "study", "x.yaml")
    assert study["protocol"] == "fair" and study["main"] == {"selection": "last", "margin": 3}


def test_the_shipped_registries_load():
    registries = load_registries(CONFIG)
    assert list(registries) == list(REGISTRIES)
    assert list(registries["tasks"]["mnli"]["labels"]) == ["entailment", "contradiction"]


@pytest.mark.parametrize(
    ("schema", "content", "message"),
    [
        ("tasks", {**TASK, "lable": "x"}, "t: unknown key 'lable'; did you mean 'label'?"),
        ("tasks", {**TASK, "subsets": {"grop": "x"}}, "t.subsets: unknown key 'grop'; did you"),
        (
            "tasks",
            {**TASK, "subsets": {"cluster": True}},
            "t.subsets.cluster: give exactly one of: a column; false",
        ),
        ("tasks", {**TASK, "labels": {"x": 0}}, "t.labels: 1 entry; valid: 2 or more"),
        (
            "tasks",
            {**TASK, "labels": {"x": 0, "y": None}},
            "labels.y: the value is missing; give exactly one of: a whole number or text or true "
            "or false; a list",
        ),
        ("tasks", {**TASK, "source": {}}, "t.source: give exactly one of: text; hub with rev"),
        ("tasks", {**TASK, "source": 5}, "t.source: give exactly one of: text; hub with rev"),
        ("tasks", {**TASK, "source": {"hub": "a"}}, "t.source: 'revision' is missing"),
        (
            "tasks",
            {**TASK, "source": {"hub": "a", "revison": "x", "files": {"a": "b"}}},
            "t.source: unknown key 'revison'; did you mean 'revision'?",
        ),
        (
            "tasks",
            {**TASK, "source": {**SOURCE, "local": {"a": "b"}}},
            "t.source: unknown key 'local'; valid: hub, revision, files",
        ),
        (
            "tasks",
            {**TASK, "source": {"synthetic": "rte-lik", "sizes": {"a": 1}}},
            "t.source.synthetic: unknown value 'rte-lik'; did you mean 'rte-like'?",
        ),
        (
            "tasks",
            {**TASK, "out_of_domain": [{"set": "x"}]},
            "out_of_domain (entry 1): 'merge' is miss",
        ),
        ("models", {**MODEL, "hub": "a"}, "t: 'revision' is missing, which 'hub' needs"),
        (
            "models",
            {**MODEL, "hub": "a", "revision": "b"},
            "t: give exactly one of: hub with revision; local",
        ),
        ("models", {**MODEL, "dtype": "float31"}, "unknown value 'float31'; did you mean 'float3"),
        ("models", {**MODEL, "window": 0}, "t.window: 0 is too small; valid: 1 or more"),
        ("models", None, "t: the value is missing; valid keys: title, "),
        ("patterns", {"answer": "{label}", "verbalizer": "v"}, "give at least one of: template"),
        (
            "tasks",
            {**TASK, "verbalizers": {"v": ["", "No"]}},
            "t.verbalizers.v (entry 1): '' is blank",
        ),
        (
            "tasks",
            {**TASK, "verbalizers": {"v": ["Yes", " "]}},
            "t.verbalizers.v (entry 2): ' ' is blank",
        ),
        (
            "patterns",
            {"template": "x", "answer": "{label}", "labels": {"a": "", "b": "No"}},
            "t.labels.a: '' is blank",
        ),
        (
            "methods",
            {"family": "full", "learning_rate": "1e-5"},
            "t.learning_rate: '1e-5' is not a number; write 1.0e-5",
        ),
        ("methods", {"base": "b", "learning_rate": "2.5E4"}, "is not a number; write 2.5e+4"),
        ("methods", {"base": "b", "dropout": "0.1"}, "is not a number; write 0.1, without quotes"),
        ("methods", {"base": "b", "epochs": "1e3"}, "is not a whole number; write 1000"),
        ("methods", {"base": "b", "epochs": "40"}, "is not a whole number; write 40"),
        ("methods", {"base": "b", "epochs": 2.0}, "t.epochs: 2.0 is not a whole number; write 2"),
        ("methods", {"base": "b", "curve_rows": 9.0}, "9.0 is not a whole number; write 9"),
        ("methods", {"base": "b", "epochs": 2.5}, "t.epochs: 2.5 is not a whole number"),
        ("methods", {"base": "b", "epochs": None}, "the value is missing; valid: a whole number"),
        ("methods", {"base": "b", "loss": None}, "the value is missing; give exactly one of: voc"),
        ("methods", {"base": "b", "dora": "yes"}, "t.dora: 'yes' is not true or false"),
        ("methods", {"base": "b", "title": 10}, "10 is not text; put what the file says there in"),
        ("models", {**MODEL, "window": 1024.0}, "1024.0 is not a whole number; write 1024"),
        (
            "tasks",
            {**TASK, "drop": [1.0]},
            "text or true or false; write 1",
        ),
        ("tasks", {**TASK, "labels": {"x": 0, "y": 1.0}}, "1.0 is not a whole number; write 1"),
        ("tasks", {**TASK, "text": "a"}, "t.text: 'a' is not a list; write [a]"),
        ("tasks", {**TASK, "text": " "}, "t.text: ' ' is not a list"),
        ("tasks", {**TASK, "text": 5}, "t.text: 5 is not a list"),
        ("tasks", {**TASK, "drop": 1}, "t.drop: 1 is not a list; write [1]"),
        ("tasks", {**TASK, "drop": True}, "t.drop: true is not a list"),
        (
            "tasks",
            {**TASK, "labels": {"x": 0, "y": date(2020, 1, 1)}},
            "; for text, put what the file says",
        ),
        ("methods", {"base": "b", "dropout": float("nan")}, "t.dropout: nan is not a finite numbe"),
        ("tasks", {**TASK, "text": []}, "t.text: 0 entries; valid: 1 or more"),
        ("tasks", {**TASK, "text": ["a", "b", "c"]}, "t.text: 3 entries; valid: 2 at most"),
        ("tasks", {**TASK, "text": {"a": "b"}}, "t.text: a mapping is not a list"),
        ("tasks", {**TASK, "columns": ["a", "a"]}, "t.columns: 'a' is given twice"),
        ("tasks", {**TASK, "verbalizers": {"v": ["Yes"]}}, "1 entry; valid: 2 or more"),
        ("methods", {"title": "x"}, "t: give at least one of: family; base"),
    ],
)
def test_each_mistake_is_one_telling_line(schema, content, message):
    text = told(validate, {"t": content}, schema, "config/x.yaml")
    assert text.startswith("config/x.yaml: t") and message in text


SEEDS = "how many (5: seeds 0 to 4), first-last (0-4), or a list ([0, 1, 5])"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": "all"}, f"seeds: 'all' does not fit; valid: {SEEDS}"),
        ({"seeds": "7"}, f"seeds: '7' does not fit; valid: {SEEDS}"),
        ({"seeds": 0}, "seeds: 0 is too small; valid: 1 or more"),
        ({"seeds": []}, "seeds: 0 entries; valid: 1 or more"),
        ({"seeds": [0, 0]}, "seeds: 0 is given twice"),
        ({"seeds": ["0"]}, "seeds (entry 1): '0' is not a whole number; write 0"),
        ({"seeds": 5.0}, "seeds: 5.0 is not a whole number; write 5"),
        ({"seeds": None}, "seeds: the value is missing; give exactly one of: how many (5:"),
        (
            {"grid": [{**STUDY["grid"][0], "seeds": "all"}]},
            f"grid (entry 1).seeds: 'all' does not fit; valid: {SEEDS}",
        ),
        (
            {"study": "../demo"},
            "'../demo' does not fit; valid: name of the study and of its folder",
        ),
        ({"__use_yte__": True}, "unknown key '__use_yte__'"),
        ({"study": "My study"}, "'My study' does not fit; valid: name of the study and of its fol"),
        (
            {"grid": [{**STUDY["grid"][0], "k": [2.0]}]},
            "k (entry 1): 2.0 is not a whole number; write 2",
        ),
        ({"machine": {"gpus_per_node": 2.0}}, "2.0 is not a whole number; write 2"),
        ({"machine": None}, "machine: the value is missing; valid keys: gpu_memory_gb, "),
        ({"machine": 80}, "machine: 80 is not a mapping; valid keys: gpu_memory_gb, "),
    ],
)
def test_a_mistake_in_a_study_says_what_is_valid(changes, message):
    assert message in told(validate, {**STUDY, **changes}, "study", "x.yaml")


def test_a_name_that_no_registry_may_have_is_told_what_names_are():
    assert told(validate, {"My_task": TASK}, "tasks", "x.yaml") == (
        "x.yaml: top level: 'My_task' does not fit; valid: names of lower-case letters, digits and "
        "-, which begin with no -, such as my-task"
    )


@pytest.mark.parametrize("text", ["much", "nan", "0.5"])
def test_no_number_is_suggested_where_none_would_do(text):
    said = told(validate, {"t": {"base": "b", "epochs": text}}, "methods", "x.yaml")
    assert said == f"x.yaml: t.epochs: '{text}' is not a whole number"


@pytest.mark.parametrize("text", ["1e-5", "1E5", "-2.e+7", "2.5e3", "1_0", "0.1"])
def test_what_is_suggested_is_a_number_to_yaml(text):
    said = told(validate, {"t": {"base": "b", "learning_rate": text}}, "methods", "x.yaml")
    suggested = re.search(r"write (\S+?)(,|$)", said)[1]
    assert yaml.safe_load(suggested) == float(text)


def test_a_misspelt_key_is_named_rather_than_the_one_it_leaves_missing():
    task = {**TASK, "lable": TASK["label"]}
    del task["label"]
    with pytest.raises(UserError, match=r"t: unknown key 'lable'; did you mean 'label'"):
        validate({"t": task}, "tasks", "x.yaml")


def test_a_mapping_may_take_the_keys_of_another_over(tmp_path):
    path = yaml_file(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: key 'a' is given twice"),
        ("a: {b: 1, b: 2}\n", "line 1: key 'b' is given twice"),
        ("labels:\n  no: 1\n", "line 2: key 'no' must be put in quotes"),
        ("a: {0: 1}\n", "line 1: key '0' must be put in quotes"),
        ("a: [1\n", r"line 2: .*expected ',' or '\]'"),
        ("- 1\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        (b"a: \xff\n", "codec can't decode byte"),
        (b"a: \x01\n", "characters are not allowed"),
    ],
)
def test_broken_yaml_is_named_with_its_line(tmp_path, text, message):
    path = yaml_file(tmp_path, text)
    said = told(read_yaml, path)
    assert said.startswith(f"{path}: ") and re.search(message, said)


def test_a_file_that_may_not_be_read_is_one_line(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(UserError, match=r"^x.yaml: cannot be read \(permission denied\)$"):
        read_yaml("x.yaml")
    with pytest.raises(UserError, match=r"^m: 'c.json' cannot be read \(permission denied\)$"):
        read_mapping(Path("c.json"), "m")


def test_true_is_not_given_twice_with_one():
    schema = {"properties": {"a": {"type": "array", "uniqueItems": True}}}
    assert "a: 'b' is given twice" in str(mistake({"a": [True, 1, "b", "b"]}, schema, "x"))


def test_a_missing_registry_is_named(folder):
    (folder / "patterns.yaml").unlink()
    with pytest.raises(UserError, match=r"patterns.yaml: file not found"):
        load_registries(folder)


def test_a_variant_takes_over_what_it_does_not_state(folder):
    (folder / "methods.yaml").write_text(
        "a: {title: A, family: full, head: language-model, learning_rate: 1, epochs: 5}\n"
        "c: {base: b, epochs: 7}\n"
        "b: {title: B, base: a, learning_rate: 2}\n"
    )
    methods = load_registries(folder)["methods"]
    common = {"family": "full", "head": "language-model"}
    assert methods["b"] == {**common, "title": "B", "learning_rate": 2, "epochs": 5}
    assert methods["c"] == {**common, "learning_rate": 2, "epochs": 7}, "titles are not inherited"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {base: a}\n", "methods inherit in a cycle: a → a"),
        ("a: {base: b}\nb: {base: c}\nc: {base: a}\n", "in a cycle: a → b → c → a"),
        ("abc: {family: full}\nb: {base: abd}\n", "b.base: unknown base method 'abd'; did you mea"),
    ],
)
def test_cycles_and_unknown_bases_are_errors(folder, text, message):
    (folder / "methods.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_registries(folder)


def test_unknown_names_the_nearest_or_else_all():
    assert str(unknown("task", "mnil", ["rte", "mnli"], "f")) == (
        "f: unknown task 'mnil'; did you mean 'mnli'?"
    )
    assert str(unknown("task", "xyz", ["rte", "mnli"], "f")) == (
        "f: unknown task 'xyz'; valid: rte, mnli"
    )
    assert str(unknown("task", "xyz", [], "f")) == "f: unknown task 'xyz'; valid: none"
