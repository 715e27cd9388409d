"""Headline and accuracy tables, from metric rows made by hand."""

import pandas as pd
import simulate
from fewshot.analysis.evidence import Evidence
from fewshot.report.tables import registry
from metric_rows import metric_rows

CATALOG = simulate.CATALOG | {
    "tasks": {
        "cola": {"title": "CoLA", "labels": ["no", "yes"], "metric": "matthews"},
        "rte": {"title": "RTE", "labels": ["yes", "no"], "metric": "accuracy"},
    }
}


def rows_of(task="cola", selection="last", mcc=(0.2, 0.4)):
    """Return metric rows of a cell with two seeds."""
    cell = {"task": task, "evaluation_set": task, "selection": selection, "f1": 0.7}
    return metric_rows([0.6, 0.6], **cell).assign(mcc=mcc)


def made(rows, name="headline", selection="last"):
    catalog = CATALOG | {"main": {"k": 16, "selection": selection, "margin": 3}}
    return registry.make_table(name, Evidence(rows), catalog, {})


def test_the_headline_warns_of_an_epoch_chosen_by_its_rows():
    best = "best-in-domain"
    for name in ("headline", "scores"):
        note = made(rows_of(selection=best), name, selection=best).note
        assert (
            "In domain, the best epoch was chosen by these very rows: read it as too high" in note
        )
        assert "too high" not in made(rows_of(), name).note


def test_a_task_shows_its_own_metric_beside_accuracy():
    table = made(pd.concat([rows_of(), rows_of("rte")]))
    by_task = table.text.set_index(table.text["section"].str.split(" ").str[0])
    # Mean 0.3; Student's t with one degree of freedom: 12.706 × 0.1414 / √2 = 1.271, cut at ±1.
    assert by_task["In domain, MCC × 100"].to_dict() == {"CoLA": "30.0 [-97.1, 100.0]", "RTE": "–"}
    assert by_task["In domain"].tolist() == ["60.0"] * 2, "seeds that agree"
    assert table.numbers.groupby("task")["score"].agg(list).to_dict() == {
        "cola": ["accuracy", "mcc"],
        "rte": ["accuracy"],
    }


def test_f1_is_shown_where_it_is_a_tasks_metric():
    catalog = CATALOG | {"tasks": {"cola": CATALOG["tasks"]["cola"] | {"metric": "f1"}}}
    text = registry.make_table("accuracy", Evidence(rows_of()), catalog, {}).text
    assert text["In domain, F1 (%)"].tolist() == ["70.0"]


def test_a_score_that_was_not_stored_is_blank():
    assert made(rows_of(mcc=(None, None))).text["In domain, MCC × 100"].tolist() == ["–"]
