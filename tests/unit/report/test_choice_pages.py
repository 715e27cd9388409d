"""Table, figure and sentences on choices of settings, from rows made by hand."""

import numpy as np
import pandas as pd
import pytest
from fewshot.analysis import result_schemas
from fewshot.analysis.choices import WAYS
from fewshot.analysis.evidence import Evidence
from fewshot.report import render
from fewshot.report.figures import registry as figures
from fewshot.report.tables import registry as tables
from fewshot.report.tables.choices import cost_lines
from metric_rows import metric_rows
from simulate import CATALOG as SIMULATED

CATALOG = {
    **SIMULATED,
    "choices": {"rate": {"title": "The rate"}, "prompt": {"title": "The prompt"}},
}
SHARES = {"from-shots": 0.6, "first": 0.5, "mean": 0.55, "best-in-domain": 0.7, "oracle": 0.8}
METHOD, PATTERN = next(iter(SIMULATED["methods"])), next(iter(SIMULATED["patterns"]))


def rows(choice="rate", seeds=2, shift=0.0, absent=(), why="does not fit", **changes):
    """Return what ways of choosing give on a set in domain and, ten points less, out of it; seeds
    `absent` have no result, for a reason."""
    shared = {"protocol": "fair", "task": "nli", "model": "opt-s", "k": 16, "choice": choice}
    shared |= {"flops_held_out": 30.0, "flops_runs": 20.0, "candidates": 4, "n": 100, "epoch": 5}
    shared |= {"method": METHOD, "pattern": PATTERN, "calibration": "none", "mean_logprob": -0.6}
    found = [
        {**shared, "seed": seed, "evaluation_set": name, "domain": domain, "way": way,
         "status": why if seed in absent else "ok",
         "accuracy": None if seed in absent else share + shift * seed - less, **changes}
        for seed in range(seeds)
        for name, domain, less in (("nli", "in", 0.0), ("hans", "out", 0.1))
        for way, share in SHARES.items()
    ]  # fmt: skip
    return pd.DataFrame(found).reindex(columns=result_schemas.CHOICES.names)


def evidence(*frames):
    metrics = metric_rows([0.5]).assign(majority=0.5)
    return Evidence(metrics=metrics, choices=pd.concat(frames, ignore_index=True))


def test_ways_of_choosing_stand_side_by_side():
    frames = rows(shift=0.02), rows("prompt", absent=(1,))
    table = tables.make_table("honest_choice", evidence(*frames), CATALOG, {})
    text = table.text
    assert len(text) == 4 and text["section"].nunique() == 2
    assert text["Choice"].tolist() == ["The rate", "The prompt"] * 2
    half = 100 * 12.706 * np.std([0.6, 0.62], ddof=1) / np.sqrt(2)
    assert text["From the shots"].iloc[0] == f"61.0 [{61 - half:.1f}, {61 + half:.1f}]"
    assert text["Oracle"].iloc[1] == "80.0 (1/2)", "a seed without a candidate is told"
    assert text["Seeds"].tolist() == ["2", "1/2"] * 2
    assert text["Work"].tolist() == ["× 1.5"] * 4
    assert text["Chosen (seeds)"].iloc[0].endswith(", epoch 5 (2)")
    assert set(table.numbers["way"]) == set(WAYS) and len(table.numbers) == 20
    assert table.read == ("choices",)


def test_without_choices_table_and_figure_say_so():
    empty = Evidence(metrics=metric_rows([0.5]))
    assert tables.make_table("honest_choice", empty, CATALOG, {}).text.empty
    spec = figures.make_figure("honest_choice", empty, CATALOG, {}, "title")
    assert "No choice of settings with" in str(spec)
    assert cost_lines(empty.choices, SIMULATED) == []


def test_the_figure_has_a_line_per_choice_through_all_ways():
    found = evidence(rows(), rows("prompt", shift=0.01))
    spec = figures.make_figure("honest_choice", found, CATALOG, {"k": 16}, "title")
    points = [row for data in spec["datasets"].values() for row in data if row.get("x")]
    kept = {(row["group"], row["x"], row["where"]): row["mean"] for row in points}
    assert kept["The rate", "Shots", "NLI in domain"] == pytest.approx(60)
    outside = [mean for (group, x, where), mean in kept.items()
               if (group, x) == ("The prompt", "Oracle") and "HANS" in where]  # fmt: skip
    assert outside == [pytest.approx(70.5)]
    assert len(kept) == 2 * 2 * len(WAYS)
    assert {row["majority"] for row in points if "NLI in" in row["where"]} == {50.0}
    assert render.to_png(spec).startswith(b"\x89PNG")


def test_states_are_told_as_they_are():
    for why in ("does not fit", "missing"):
        found = evidence(rows(absent=(0, 1), why=why, candidates=0))
        table = tables.make_table("honest_choice", found, CATALOG, {})
        assert set(table.numbers["status"]) == {why}
        assert table.text["Candidates"].tolist() == ["–"] * 2
        assert table.text["From the shots"].tolist() == [why] * 2


def test_numbers_of_candidates_are_told_and_where_choices_differ_in_them():
    fewer = rows("prompt").assign(candidates=lambda frame: 3 + frame["seed"])
    table = tables.make_table("honest_choice", evidence(rows(), fewer), CATALOG, {})
    assert table.text["Candidates"].tolist() == ["4", "3–4"] * 2
    assert "No test compares choices." in table.note and "differ in" not in table.note
    more = evidence(rows(), rows("prompt", candidates=18))
    table = tables.make_table("honest_choice", more, CATALOG, {})
    assert table.text["Candidates"].tolist() == ["4", "18"] * 2
    assert "Choices here differ in their number of candidates" in table.note


@pytest.mark.parametrize(
    ("held_out", "own", "printed"),
    [(2560.0, 20.0, "× 128"), (30.0, 20.0, "× 1.5"), (3e5, 20.0, "× 15,000"), (30.0, 0.0, "–")],
)
def test_work_is_a_plain_number(held_out, own, printed):
    found = rows(flops_held_out=held_out, flops_runs=own)
    table = tables.make_table("honest_choice", evidence(found), CATALOG, {})
    assert table.text["Work"].tolist() == [printed] * 2
    (line,) = cost_lines(found, CATALOG)
    clause = f"; holding the shots out took {printed.removeprefix('× ')} times the operations"
    assert (clause in line) == (own > 0) and ("holding" in line) == (own > 0)


def test_sentences_say_what_honest_choice_costs():
    (line,) = cost_lines(rows(), CATALOG)
    assert line == (
        "Settings of “The rate” chosen from 16 shots of NLI alone give 60.0 % in domain (+10.0 "
        "points from the first listed, −10.0 from the best in domain by evaluation labels, −20.0 "
        "from the oracle) and 50.0 % out of domain (+10.0 points from the first listed, −10.0 from "
        "the best in domain by evaluation labels, −20.0 from the oracle), means over models "
        "and seeds; holding the shots out took 1.5 times the operations of the candidates' own "
        "training or encoding of all shots."
    )


def test_sentences_are_of_the_main_number_of_shots_and_of_a_task_each():
    more, other = rows(k=32, accuracy=0.99), rows(task="mini")
    assert cost_lines(pd.concat([rows(), more]), CATALOG) == cost_lines(rows(), CATALOG)
    assert cost_lines(more, CATALOG) == []
    catalog = {**CATALOG, "tasks": {**CATALOG["tasks"], "mini": {"title": "Mini"}}}
    first, second = cost_lines(pd.concat([rows(), other]), catalog)
    assert "16 shots of NLI" in first and "16 shots of Mini" in second
    sets = pd.concat([rows(), rows().query("domain == 'out'").assign(evaluation_set="more")])
    (line,) = cost_lines(sets, CATALOG)
    assert "means over models, seeds and out-of-domain sets" in line
