"""Table, figure and sentence on a bias probe, from runs made by hand."""

import struct

import pandas as pd
import pytest
from fewshot.analysis.bias import FRACTION, NET, measure_bias
from fewshot.analysis.evidence import Evidence
from fewshot.report import render
from fewshot.report.figures.registry import make_figure
from fewshot.report.tables.bias import bias_lines
from fewshot.report.tables.registry import make_table
from probe_runs import CATALOG, write_runs


@pytest.fixture(scope="module")
def evidence(tmp_path_factory) -> Evidence:
    runs = write_runs(tmp_path_factory.mktemp("probe"))
    found = measure_bias(runs.metrics, runs.jobs, [runs.probe], CATALOG)
    return Evidence(metrics=runs.metrics, bias=found)


def numbers(evidence, method, k, group, measure) -> pd.Series:
    own = evidence.bias.query("method == @method and k == @k and measure == @measure")
    own = own[(own["group"] == group) & (own["selection"] == "last")]
    return own.iloc[0]


def test_the_table_sets_groups_against_each_other(evidence):
    table = make_table("bias", evidence, CATALOG, {})
    text = table.text
    assert table.read == ("bias",) and text["section"].unique().tolist() == [
        "NLI → Probe: gender",
        "NLI → Probe: nationality",
    ]
    assert text["Group"].unique().tolist() == [
        "all",
        "woman",
        "man",
        "American",
        "Indian",
        "Nigerian",
    ]
    [row] = text.query("Group == 'woman' and Method == 'Fine-tuned'").to_dict("records")
    told = numbers(evidence, "ft", 15, "woman", NET)
    shown = (told["difference"], told["difference_low"], told["difference_high"])
    mean, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in shown)
    assert row["Less the others"] == f"{mean} [{low}, {high}]" and row["Seeds"] == "8"
    share = numbers(evidence, "ft", 15, "woman", FRACTION)["estimate"]
    assert row["Fraction neutral"].startswith(f"{100 * share:.1f} [")
    [row] = text.query(
        "Group == 'all' and Shots == '0' and section.str.contains('gender')"
    ).to_dict("records")
    assert row["From 0 shots"] == row["Less the others"] == "–"


def test_a_pair_of_groups_is_drawn_once(evidence):
    spec = make_figure("bias", evidence, CATALOG, {}, "T")
    points = [row for rows in spec["datasets"].values() for row in rows if "group" in row]
    assert {row["group"] for row in points} == {
        *("gender", "nationality", "woman less man"),
        *("American", "Indian", "Nigerian"),
    }
    told = numbers(evidence, "ft", 15, "woman", NET)
    drawn = [row for row in points if row["group"] == "woman less man"]
    assert len(drawn) == 3
    [fine] = [row for row in drawn if row["arm"] == "Fine-tuned, 15 shots"]
    assert fine["mean"] == pytest.approx(100 * told["difference"], rel=1e-4)
    assert fine["low"] == pytest.approx(100 * told["difference_low"], rel=1e-4)
    [width] = struct.unpack(">I", render.to_png(spec, 72)[16:20])
    assert 450 <= width <= 540, "seven inches, as the other figures"
    empty = make_figure("bias", Evidence(metrics=evidence.metrics), CATALOG, {}, "T")
    assert "No answer to a bias probe yet" in str(empty)


def test_the_figure_names_the_checkpoint_which_is_never_the_oracle(evidence):
    told = {**CATALOG, "main": {**CATALOG["main"], "selection": "best-out-of-domain"}}
    spec = make_figure("bias", evidence, told, {}, "T")
    said = " ".join(spec["title"]["text"])
    assert "Checkpoint: last epoch." in said and "oracle" not in str(spec).lower()


def test_the_sentence_leaves_baselines_out(evidence):
    majority = {"title": "Majority", "family": "label_counts", "trained": False, "kind": "counts"}
    methods = {**CATALOG["methods"], "majority": {**majority, "baseline": "no model"}}
    of_ft = evidence.bias[evidence.bias["method"] == "ft"]
    both = pd.concat([evidence.bias, of_ft.assign(method="majority", estimate=1.0)])
    told = bias_lines(both, {**CATALOG, "methods": methods})
    assert told == bias_lines(evidence.bias, CATALOG)


def test_the_sentence_counts_differences_once(evidence):
    [line] = bias_lines(evidence.bias, CATALOG)
    rows = evidence.bias[(evidence.bias["measure"] == NET) & (evidence.bias["selection"] == "last")]
    once = rows[rows["group"].isin(["woman", "American", "Indian", "Nigerian"])]
    clear = (once["difference_low"] > 0) | (once["difference_high"] < 0)
    assert f"; {clear.sum()} of 12 differences have a 95 % interval without zero" in line
    most = 100 * once["difference"].abs().max()
    assert f"P(neutral) differs by up to {most:.1f} points" in line
    assert "% with 0 shots and" in line and "% with 15 shots of them neutral" in line
    assert bias_lines(evidence.bias.iloc[:0], CATALOG) == []
