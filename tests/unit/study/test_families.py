"""Families are told apart in their table alone."""

import ast
import re

import pytest
from fewshot.codeversion import PACKAGE
from fewshot.errors import UserError
from fewshot.study.families import FAMILIES, kind_of, read_settings

ROOT = PACKAGE.parents[1]
OWN = {f"methods/{name}.py" for name in FAMILIES} | {
    *("study/families.py", "exchange/peft_files.py", "study/exchange_inputs.py"),
    "exchange/adapter_cards.py",
}
"""Where a family may be named: its module says in messages what it is; and what peft and the Hub
call it."""
COLOURS = "scripts/fewshot/report/figures/theme.py"
"""It has colours for some kinds of methods, two of which are called as their family."""
ELSEWHERE = "imported"
"""What other software made is no module's."""


def names_in(source: str) -> list[str]:
    """Return the families that Python code names, by line."""
    return [
        f"{node.lineno}: {node.value}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and node.value in {*FAMILIES} - {ELSEWHERE}
    ]


def test_no_other_code_names_a_family():
    named = {
        str(path.relative_to(ROOT)): names_in(path.read_text("utf-8"))
        for path in sorted((ROOT / "scripts").rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in {f"scripts/fewshot/{own}" for own in OWN}
    }
    strings = re.compile("[\"']({})[\"']".format("|".join(FAMILIES)))
    rules = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    named |= {str(path.relative_to(ROOT)): strings.findall(path.read_text()) for path in rules}
    assert {path for path, found in named.items() if found} == {COLOURS}


def test_such_code_would_be_noticed():
    assert names_in('if settings["family"] in ("ia3",):\n    run("full tuning")') == ["1: ia3"]


def test_a_method_reads_what_its_family_and_head_need():
    entry = {
        "title": "x", "base": "y", "family": "bitfit", "head": "language-model", "truncate": 9,
        "classifier": "linear", "rank": 8, "keep_weights": False,
        **dict.fromkeys(FAMILIES["bitfit"].settings, 1),
    }  # fmt: skip
    wanted = {"family", "head", "truncate", *FAMILIES["bitfit"].settings}
    assert set(read_settings(entry)) == wanted
    with_head = {**entry, "head": "classification"}
    assert set(read_settings(with_head)) == {*wanted, "classifier"}
    answers = {"answer_loss": "sum", "end_token": True}
    assert set(read_settings({**entry, **answers})) == {*wanted, *answers}
    assert set(read_settings({**with_head, **answers})) == {*wanted, "classifier"}
    shown = {"family": "in_context", "head": "language-model", **answers}
    assert set(read_settings(shown)) == {"family", "head"}


def test_a_kind_needs_a_family():
    with pytest.raises(UserError, match="unknown family 'lorra'; did you mean 'lora'"):
        kind_of({"family": "lorra", "head": "language-model"})
