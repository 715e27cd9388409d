"""Table, figure and sentences of what changes outside a task, from changes made by hand."""

from dataclasses import replace

import pandas as pd
import pytest
from fewshot.analysis import statistics_schemas
from fewshot.report.figures import registry as figures
from fewshot.report.tables import registry as tables
from fewshot.report.tables.forgetting import forgetting_lines, numbers_text
from simulate import CATALOG as SIMULATED

CATALOG = {
    **SIMULATED,
    "methods": {
        **SIMULATED["methods"],
        "head": {"title": "Head", "family": "full", "head": "classification", "kind": "vanilla-ft",
                 "trained": True},
    },
    "forgetting": {
        "texts": {"wiki": "WikiText"},
        "tasks": {"rte": "RTE"},
        "patterns": {"rte": "Minimal"},
    },
}  # fmt: skip
CHANGES = {
    ("ft", "wiki", 0): (2.0, 2.5, 0.1),
    ("ft", "rte", 0): (0.5, 0.55, 0.02),
    ("ft", "rte", 4): (0.8, 0.6, 0.02),
    ("lora", "wiki", 0): (2.0, 2.05, 0.01),
    ("lora", "rte", 0): (0.5, 0.5, 0.01),
    ("lora", "rte", 4): (0.8, 0.79, 0.01),
    ("head", "wiki", 0): (2.0, 2.2, 0.1),
    ("head", "rte", 0): (None, None, None),
}


def changed(model: str = "opt-s") -> pd.DataFrame:
    shared = {"protocol": "fair", "task": "nli", "model": model, "pattern": "minimal", "k": 16}
    rows = []
    for (method, source, shots), (before, after, half) in CHANGES.items():
        told = {**shared, "method": method, "source": source, "shots": shots, "seeds": 5}
        told |= {"kind": "text" if source == "wiki" else "task", "rows": 20, "unfit": 0}
        if before is None:
            rows.append({**told, "unfit": 20})
            continue
        change = after - before
        told |= {"before": before, "after": after, "change": change, "error": half, "df": 4.0}
        rows.append({**told, "low": change - half, "high": change + half})
    return pd.DataFrame(rows).reindex(columns=statistics_schemas.FORGETTING.names)


def test_the_table_sets_before_beside_after(study):
    evidence = replace(study, forgetting=changed())
    table = tables.make_table("forgetting", evidence, CATALOG, {})
    assert table.read == ("forgetting", "metrics") and len(table.text) == len(CHANGES)
    first, *_ = table.text.to_dict("records")
    assert first["section"] == "NLI" and first["Measured on"] == "WikiText"
    assert (first["Before"], first["After"]) == ("2.000", "2.500")
    assert first["Change"] == "+0.500 [+0.400, +0.600]"
    shown = table.text.set_index(["Method", "Measured on"])
    assert shown.loc[("LoRA", "RTE, 4 shots"), "Change"] == "−1.0 [−2.0, 0.0]"
    assert shown.loc[("Head", "RTE, 0 shots"), "Before"] == "–"
    assert "zero by definition" in table.note and "no answer to another task" in table.note
    assert "did not fit" not in table.note and "one seed" not in table.note
    some = changed()
    some.loc[0, "unfit"] = 2
    told = tables.make_table("forgetting", replace(evidence, forgetting=some), CATALOG, {}).note
    assert "In 1 line documents or rows (2 in all) did not fit the window" in told


def test_the_table_tells_how_many_seeds_are_planned_and_where_there_is_one(study):
    fewer = changed().assign(seeds=[5, 3, 5, 5, 5, 1, 5, 5])
    table = tables.make_table("forgetting", replace(study, forgetting=fewer), CATALOG, {})
    shown = table.text.set_index(["Method", "Measured on"])["Seeds"]
    assert shown["LoRA", "WikiText"] == "5"
    assert shown["Pattern-based fine-tuning", "RTE, 0 shots"] == "3/5"
    assert "With one seed the interval is for other documents alone" in table.note


def test_what_is_next_to_nothing_has_no_sign():
    row = {"kind": "text", "before": 1.0, "after": 1.0, "change": -1e-5, "low": -0.1, "high": 1e-5}
    assert numbers_text(row)[2] == "0.000 [−0.100, 0.000]"
    _, _, alone = numbers_text(row | {"low": float("nan")})
    assert alone == "0.000"


def test_the_figure_marks_cells_that_lack_seeds(study):
    fewer = changed().assign(seeds=3)
    spec = figures.make_figure("forgetting", replace(study, forgetting=fewer), CATALOG, {}, "T")
    points = [row for rows in spec["datasets"].values() for row in rows if "lost" in row]
    states = {row["arm"]: row["state"] for row in points}
    assert states["LoRA"] == "some" and states["In-context learning"] == "whole"
    said = " ".join(spec["title"]["text"])
    assert "Hollow: fewer seeds than planned" in said and "one seed" not in said
    alone = replace(study, forgetting=changed().assign(seeds=1))
    spec = figures.make_figure("forgetting", alone, CATALOG, {}, "T")
    assert "With one seed a bar is for other documents" in " ".join(spec["title"]["text"])


def test_the_figure_has_in_context_learning_on_the_zero_line(study):
    evidence = replace(study, forgetting=changed())
    spec = figures.make_figure("forgetting", evidence, CATALOG, {}, "T")
    points = [row for rows in spec["datasets"].values() for row in rows if "lost" in row]
    shown = [row for row in points if row["arm"] == "In-context learning"]
    assert [row["lost"] for row in shown] == [0.0] * 3, "of the model that was trained alone"
    lost = {(row["arm"], round(row["lost"], 3)) for row in points}
    assert {("Pattern-based fine-tuning", 0.5), ("Pattern-based fine-tuning", 20.0)} <= lost
    assert ("Pattern-based fine-tuning", -5.0) in lost, "what is won elsewhere is below zero"
    metrics = study.metrics.query(
        "task == 'nli' and model == 'opt-s' and domain == 'in' and selection == 'last'"
    )
    metrics = metrics[metrics[["group", "subset", "label"]].isna().all(axis=1)]
    means = metrics.groupby(["method", "k"], observed=True)["accuracy"].mean()
    gain = 100 * (means["ft", 16] - means["icl", 0])
    mine = [row["gain"] for row in points if row["arm"] == "Pattern-based fine-tuning"]
    assert mine == pytest.approx([gain] * 3, abs=1e-2)
    assert "zero line by definition" in str(spec["title"])
    empty = figures.make_figure("forgetting", study, CATALOG, {}, "T")
    assert "Nothing was measured outside the tasks yet" in str(empty)


def test_a_paragraph_says_by_which_method_least_and_most_is_lost():
    [line] = forgetting_lines(changed(), CATALOG)
    assert (
        "loss on WikiText +0.20 nats per token in the median, from +0.05 (LoRA) to +0.50 (" in line
    )
    assert "accuracy on RTE, 4 shots −10.5 points in the median, from −1.0 (LoRA) to −20.0" in line
    assert "zero by definition" in line
    more = [changed(model).query("method == 'lora'") for model in ("opt-m", "opt-l")]
    [line] = forgetting_lines(pd.concat([changed(), *more]), CATALOG)
    assert "loss on WikiText +0.20 nats" in line, "the median is that of methods, as the ends are"
    assert forgetting_lines(changed().iloc[:0], CATALOG) == []


def test_models_of_one_family_have_shapes_of_their_own(study):
    both = pd.concat([changed("opt-s"), changed("opt-l")])
    spec = figures.make_figure("forgetting", replace(study, forgetting=both), CATALOG, {}, "T")
    shapes = [
        layer["encoding"]["shape"]["scale"]["range"]
        for cell in spec["concat"]
        for layer in cell.get("layer", ())
        if "shape" in layer["encoding"]
    ]
    assert shapes and all(len({*each}) == 2 for each in shapes)
