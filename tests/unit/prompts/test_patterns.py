"""The prompts, letter by letter."""

from pathlib import Path

import pytest
from fewshot.errors import UserError
from fewshot.prompts.patterns import bind_pattern, parse_template
from fewshot.study.registries import load_registries
from mistakes import told

REGISTRIES = load_registries(Path(__file__).parents[3] / "config")
TASK = REGISTRIES["tasks"]["rte"]
ONE_TEXT = {
    "text": ["sentence"],
    "labels": {"bad": 0, "good": 1},
    "verbalizers": {"yes-no": ["No", "Yes"]},
}
ENTRY = {
    "template": "{text_a} {text_b} ?",
    "answer": " {label}",
    "separator": "\n\n",
    "verbalizer": "yes-no",
    "rank_by": "sum",
    "word_tokens": "continued",
}


def bind(name, task=TASK):
    return bind_pattern(name, REGISTRIES["patterns"][name], "rte", task)


@pytest.mark.parametrize(
    ("name", "query", "words"),
    [
        ("minimal", "It rained. It was wet. ?", (" Yes", " No")),
        ("gpt-3", "It rained. question: It was wet. Yes or No? answer:", (" Yes", " No")),
        (
            "eval-harness",
            "It rained. \nQuestion: It was wet. True or False?\nAnswer:",
            (" True", " False"),
        ),
    ],
)
def test_golden_prompts(name, query, words):
    pattern = bind(name)
    assert pattern.query("It rained.", "It was wet.") == query
    assert pattern.words == words
    assert pattern.demonstration(1, "It rained.", "It was wet.") == query + words[1] + "\n\n"


def test_golden_prompts_of_qqp_and_cola():
    tasks, patterns = REGISTRIES["tasks"], REGISTRIES["patterns"]
    qqp = bind_pattern("qqp", patterns["qqp-eval-harness"], "qqp", tasks["qqp"])
    query = (
        "Question 1: A?\nQuestion 2: B?\nQuestion: Do both questions ask the same thing? Answer:"
    )
    assert qqp.query("A?", "B?") == query
    assert qqp.demonstration(1, "A?", "B?") == query + " Yes\n\n"
    cola = bind_pattern("cola", patterns["cola-gpt-3"], "cola", tasks["cola"])
    assert cola.demonstration(0, "A.") == "grammatical: A. Yes or No? answer: No\n\n"
    assert bind_pattern("m", patterns["minimal"], "cola", tasks["cola"]).query("A.") == "A. ?"


def test_a_query_is_a_demonstration_without_its_end():
    """The published code built the two apart, and they differed by a blank."""
    for name in ("minimal", "gpt-3", "eval-harness", "qqp-eval-harness"):
        pattern = bind(name)
        for label, word in enumerate(pattern.words):
            whole = pattern.demonstration(label, "A.", "B.")
            assert whole == pattern.query("A.", "B.") + word + pattern.separator
        assert not pattern.query("A.", "B.").endswith(" ")


def test_a_context_joins_demonstrations_in_their_order():
    rows = [(1, "A.", "B."), (0, "C.", "D.")]
    assert bind("minimal").context(rows) == "A. B. ? No\n\nC. D. ? Yes\n\n"
    assert bind("minimal").context([]) == ""


def test_tasks_with_one_text():
    assert bind("minimal", ONE_TEXT).demonstration(1, "Nice.") == "Nice. ? Yes\n\n"
    assert bind("gpt-3", ONE_TEXT).query("Nice.") == "Nice. question: Yes or No? answer:"


@pytest.mark.parametrize("texts", [("A.", None), (None, "B."), ("A.", float("nan"))])
def test_a_missing_text_is_never_written_as_a_word(texts):
    with pytest.raises(ValueError, match=r"pattern 'minimal': text_[ab] is (None|nan), not text"):
        bind("minimal").query(*texts)


def test_braces_and_backslashes_in_the_data_are_text():
    """The published code spliced contexts into a format string, where a brace breaks it."""
    assert bind("minimal").query("{text_b} {0}", "}{ \\n") == "{text_b} {0} }{ \\n ?"


def test_a_template_may_hold_doubled_braces():
    pattern = bind_pattern("p", {**ENTRY, "template": "{{{text_a}}} {text_b}"}, "rte", TASK)
    assert pattern.query("x", "y") == "{x} y"


def test_an_answer_may_hold_doubled_braces():
    pattern = bind_pattern("p", {**ENTRY, "answer": " {{answer}}: {label}"}, "rte", TASK)
    assert pattern.cue == " {answer}:" and pattern.words == (" Yes", " No")


def test_label_words_come_from_the_verbalizer_or_from_the_pattern():
    own = {key: value for key, value in ENTRY.items() if key != "verbalizer"}
    labels = {"not_entailment": "wrong", "entailment": "right"}
    pattern = bind_pattern("p", {**own, "labels": labels}, "rte", TASK)
    assert pattern.words == (" right", " wrong"), "in the task's order of labels"
    three = bind("minimal", REGISTRIES["tasks"]["mnli-three-way"])
    assert three.words == (" Yes", " Maybe", " No")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": "{text_a} {text_c}"}, "template field '{text_c}' is unknown; valid: {text_a"),
        ({"template": "{text_a!r} {text_b}"}, "field '{text_a}' is unknown"),
        ({"template": "{text_a} {} {text_b}"}, "template field '{}' is unknown"),
        ({"template": "{text_a.__class__} {text_b}"}, "'{text_a.__class__}' is unknown"),
        ({"template": "{text_a!r} {text_b}"}, "template field '{text_a}' is unknown"),
        ({"template": "{text_a"}, "has broken braces"),
        ({"template": "{text_a} }"}, "has broken braces"),
        ({"template": "{text_a}"}, "'template' must use {text_a} and {text_b}"),
        ({"answer": " yes"}, "'answer' must end in {label}"),
        ({"answer": " {label}."}, "'answer' must end in {label}"),
        ({"answer": " {label} {label}"}, "'answer' must end in {label}"),
        ({"answer": " {text_a} {label}"}, "answer field '{text_a}' is unknown; valid: {label}"),
        ({"answer": " {label!r}"}, "answer field '{label}' is unknown; valid: {label}"),
        ({"answer": " { {label}"}, "answer ' { {label}' has broken braces"),
        ({"verbalizer": "yes-on"}, "task 'rte' has no verbalizer 'yes-on', which config/patterns"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_named(changes, message):
    assert message in told(bind_pattern, "p", {**ENTRY, **changes}, "rte", TASK)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"text": ["a"]}, "pattern 'p' has no 'template_one_text', which task 'rte' needs"),
        ({"verbalizers": {"yes-no": ["Yes"]}}, "task 'rte' has 2 labels but 1 words"),
        ({"verbalizers": {"yes-no": ["Yes", "Yes"]}}, "label words of task 'rte' are not distinct"),
        ({"verbalizers": {}}, "has no verbalizer 'yes-no'"),
    ],
)
def test_a_task_that_the_pattern_does_not_suit_is_named(task, message):
    with pytest.raises(UserError, match=message):
        bind_pattern("p", ENTRY, "rte", {**TASK, **task})


def test_a_label_without_its_word_is_named():
    own = {key: value for key, value in ENTRY.items() if key != "verbalizer"}
    with pytest.raises(UserError, match=r"pattern 'p': no label word for 'not_entailment'"):
        bind_pattern("p", {**own, "labels": {"entailment": "x"}}, "rte", TASK)


def test_templates_are_split_into_literals_and_fields():
    assert parse_template("a {text_a} b", "f") == (("a ", "text_a"), (" b", None))
