"""Tables of the report's page: which columns name a row, and where they stay."""

import pandas as pd
import pytest
from fewshot.report import html_tables
from fewshot.report.table_text import Table


def shown(rows: list[dict], **more: object) -> dict:
    return html_tables.shown(Table(pd.DataFrame(rows), pd.DataFrame(rows), **more))


def rows(*names: tuple, section: str = "one") -> list[dict]:
    """Return rows with three columns of names and one of numbers."""
    keys = ("Model", "Method", "Shots")
    return [
        {"section": section, **dict(zip(keys, each, strict=True)), "Accuracy": str(i)}
        for i, each in enumerate(names)
    ]


def test_the_columns_that_tell_rows_apart_name_them():
    assert shown(rows(("a", "x", "1"), ("b", "x", "1")))["names"] == 1
    assert shown(rows(("a", "x", "1"), ("a", "y", "1")))["names"] == 2
    assert shown(rows(("a", "x", "1"), ("a", "x", "2")))["names"] == 3
    # What agrees in two sections is told apart by their headings.
    twice = [*rows(("a", "x", "1")), *rows(("a", "x", "1"), section="two")]
    assert shown(twice)["names"] == 1
    assert (
        shown([{**each, "Accuracy": "0"} for each in rows(("a", "x", "1"), ("a", "x", "1"))])[
            "names"
        ]
        == 1
    ), "where nothing tells rows apart, the first column is taken"


def test_a_table_without_rows_has_no_names():
    table = shown([])
    assert (table["count"], table["names"], table["foldable"]) == (0, 0, False)


def test_names_stay_one_after_another():
    table = shown(rows(("Model", "LoRA", "16"), ("Model", "LoRA", "32")))
    assert table["offsets"] == pytest.approx([0, table["widths"][0], sum(table["widths"][:2])])
    assert not table["foldable"] and not table["labelled"]


def test_names_that_are_too_wide_for_a_phone_become_a_line_there():
    name = "Pattern-based fine-tuning"
    table = shown(rows(("OPT-125M", name, "16"), ("OPT-125M", name, "–")))
    assert table["foldable"] and not table["labelled"]
    [(_, lines)] = table["sections"]
    # Numbers say what they are, and a blank is left out.
    assert [line for line, _ in lines] == [
        f"OPT-125M, {name}, Shots\xa016",
        f"OPT-125M, {name}",
    ]


def test_names_that_leave_no_room_beside_them_are_a_line_everywhere():
    long = {"Model": "x" * 80, "Reference": "y" * 80, "Accuracy": "1"}
    assert shown([long])["labelled"]
    # A table that fits the page as it is needs no scrolling.
    fits = {"Model": "x" * 70, "Accuracy": "1"}
    assert not shown([fits])["labelled"]


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("iiii", 1.1, 1.9), ("mmmm", 3.8, 4.2), ("OPT-125M", 4.8, 6.0), ("モデル", 3.0, 3.6)],
)
def test_widths_are_those_of_a_wide_font_or_slightly_more(text, least, most):
    """`least`: the sum of DejaVu Sans's own widths; of ideographs, an em each."""
    assert least <= html_tables.width(text) <= most
