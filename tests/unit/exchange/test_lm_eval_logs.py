"""Logs as lm-evaluation-harness writes them, and what is wrong with others, line by line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from fewshot.errors import UserError
from fewshot.exchange.lm_eval_logs import Expected, read_log
from fewshot.prompts.patterns import Pattern

PATTERN = Pattern(
    "plain", (("", "text_a"), (" ", "text_b"), (" ?", None)), "", (" Yes", " No"), "\n"
)
TEXTS = [("a cat", "a pet"), ("a dog", "a bird"), ("a cat", "a bird"), ("a dog", "a bird")]
ROWS = pd.DataFrame(
    {
        "id": [7, 3, 9, 4],
        "text_a": [a for a, _ in TEXTS],
        "text_b": [b for _, b in TEXTS],
        "label": [0, 1, 1, 0],
    }
)


def line(place: int, **changes) -> dict:
    """Return the log entry of one row, as lm_eval 0.4.13 writes it."""
    (a, b), label = TEXTS[place], int(ROWS["label"][place])
    prompt = f"shown\n{a} {b} ?"
    entry = {
        "doc_id": place + 50,
        "doc": {"premise": a, "hypothesis": b, "idx": int(ROWS["id"][place]), "label": label},
        "target": str(label),
        "arguments": {
            "gen_args_0": {"arg_0": prompt, "arg_1": " Yes"},
            "gen_args_1": {"arg_0": prompt, "arg_1": " No"},
        },
        "resps": [[[f"-{place}.5", "True"]], [["-2.25", "False"]]],
        "filtered_resps": [[f"-{place}.5", "True"], ["-2.25", "False"]],
        "filter": "none",
        "metrics": ["acc"],
        "acc": 1.0,
    }
    return {**entry, **changes}


def expected(prompts: str = "pattern", **changes) -> Expected:
    values = {"name": "set", "rows": ROWS, "merge": (0, 1), "pattern": PATTERN}
    return Expected(**{**values, "context": "shown\n", "prompts": prompts, **changes})


def write(tmp_path, lines) -> str:
    path = tmp_path / "samples_set_2026-01-01T00-00-00.000000.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return str(path)


ALL = [line(i) for i in (2, 0, 3, 1)]


def renamed(entry: dict, words: list[str]) -> dict:
    """Return an entry with other choices."""
    arguments = {
        f"gen_args_{i}": {"arg_0": entry["arguments"]["gen_args_0"]["arg_0"], "arg_1": word}
        for i, word in enumerate(words)
    }
    return {**entry, "arguments": arguments}


@pytest.mark.parametrize("prompts", ["stored", "pattern", "any"])
def test_rows_are_found_by_their_texts_and_numbers(tmp_path, prompts):
    """Rows 3 and 4 have the same texts: their numbers tell them apart."""
    found = read_log(write(tmp_path, ALL), expected(prompts))
    assert found.logprobs.tolist() == [[-0.5, -2.25], [-1.5, -2.25], [-2.5, -2.25], [-3.5, -2.25]]
    assert found.greedy.tolist() == [[True, False]] * 4


def test_rows_of_the_same_texts_and_label_need_no_number(tmp_path):
    rows = ROWS.assign(label=[0, 1, 1, 1])
    lines = [line(i, doc_id=i, target=str(rows["label"][i])) for i in range(4)]
    for each in lines:
        del each["doc"]["idx"]
    found = read_log(write(tmp_path, lines), expected(rows=rows))
    assert found.logprobs[:, 0].tolist() == [-0.5, -1.5, -2.5, -3.5]


def test_words_in_another_order_are_put_into_the_patterns(tmp_path):
    lines = [renamed(each, [" No", " Yes"]) for each in ALL]
    lines = [{**each, "target": str(1 - int(each["target"]))} for each in lines]
    found = read_log(write(tmp_path, lines), expected())
    assert found.logprobs[0].tolist() == [-2.25, -0.5]
    assert found.greedy[0].tolist() == [False, True]


def test_other_words_are_told_by_what_is_right(tmp_path):
    lines = [renamed(each, [" false", " true"]) for each in ALL]
    lines = [{**each, "target": [" false", " true"][1 - int(each["target"])]} for each in lines]
    found = read_log(write(tmp_path, lines), expected("any"))
    assert found.logprobs[0].tolist() == [-2.25, -0.5]
    with pytest.raises(UserError, match=r"\[' false', ' true'\] are not the label words"):
        read_log(write(tmp_path, lines), expected())


def test_right_choices_of_merged_labels_are_lists(tmp_path):
    pattern = Pattern(**{**vars(PATTERN), "words": (" Yes", " Maybe", " No")})
    lines = []
    for each in ALL:
        entry = renamed(each, [" Yes", " Maybe", " No"])
        target = "[0]" if each["target"] == "0" else "[1, 2]"
        answers = [*each["filtered_resps"], ["-9.0", "False"]]
        lines.append({**entry, "target": target, "filtered_resps": answers})
    found = read_log(write(tmp_path, lines), expected(pattern=pattern, merge=(0, 1, 1)))
    assert found.logprobs.shape == (4, 3) and np.all(found.logprobs[:, 2] == -9)


def test_words_without_a_prompt_are_left_out(tmp_path):
    """The metric acc_mutual_info asks for them besides."""
    lines = []
    for each in ALL:
        more = {f"gen_args_{i + 2}": {"arg_0": "", "arg_1": f" {i}"} for i in range(2)}
        answers = [*each["filtered_resps"], ["-1", "False"], ["-1", "False"]]
        arguments = {**each["arguments"], **more}
        lines.append({**each, "arguments": arguments, "filtered_resps": answers})
    assert read_log(write(tmp_path, lines), expected()).logprobs.shape == (4, 2)


def test_other_filters_are_passed_over(tmp_path):
    again = [{**each, "filter": "other"} for each in ALL]
    assert len(read_log(write(tmp_path, [*ALL, *again]), expected()).logprobs) == 4


DOC = {"premise": "a cow", "hypothesis": "a pet"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (ALL[1:], "1 of the 4 rows of 'set' are not in it, the first one has id 9"),
        ([*ALL, line(0)], r"line 5: row with id 7 of 'set' is there already"),
        ([line(0, doc=DOC)], "line 1: no row of 'set' has its texts"),
        ([line(0, target="1"), *map(line, (1, 2, 3))], r"choice is \[' No'\], but row with id 7"),
        ([line(0, target="-" * 99_999)], "line 1: no sample of a multiple_choice task"),
        ([line(0, target="5")], "target 5 is none of the 2 choices"),
        ([line(0, filtered_resps=[["nan", "True"], ["-1", "True"]])], "not a number"),
        ([line(0, filtered_resps=["text"])], "no sample of a multiple_choice task"),
        ([line(0, filter="strict-match")], r"no samples of filter 'none' \(strict-match\)"),
        ([], r"no samples of filter 'none' \(it is empty\)"),
        ([{"doc": 1}], "line 1: no sample of a multiple_choice task"),
        ([*ALL[:3], renamed(ALL[3], ["x", "y"])], "line 4: its choices .* not label words"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path, lines, message):
    path = write(tmp_path, lines)
    with pytest.raises(UserError, match=message) as error:
        read_log(path, expected())
    assert path in str(error.value) and "\n" not in str(error.value)


def test_prompts_are_compared_as_far_as_asked(tmp_path):
    other = expected("stored", context="else\n")
    with pytest.raises(
        UserError, match="line 1: its prompt is not that of pattern 'plain' for row with id 9"
    ):
        read_log(write(tmp_path, ALL), other)
    pattern = Pattern(**{**vars(PATTERN), "cue": " So"})
    with pytest.raises(UserError, match="name the pattern that was used, or say prompts: any"):
        read_log(write(tmp_path, ALL), expected(pattern=pattern))
    assert len(read_log(write(tmp_path, ALL), expected("any", pattern=pattern)).logprobs) == 4


def test_broken_files(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text("{not json\n")
    with pytest.raises(UserError, match="line 1: no sample"):
        read_log(path, expected())
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_log(path, expected())
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/none.jsonl: file not found")):
        read_log(tmp_path / "none.jsonl", expected())
