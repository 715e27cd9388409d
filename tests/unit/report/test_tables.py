"""Tables of the simulated study: known effects, marks for what is missing, four formats."""

from dataclasses import replace

import pandas as pd
import pytest
import simulate
from fewshot import formatting
from fewshot.analysis.evidence import Evidence
from fewshot.analysis.summary import at_level, summarise
from fewshot.errors import UserError
from fewshot.report import table_text
from fewshot.report.table_text import Table
from fewshot.report.tables import registry
from fewshot.study import figure_needs
from metric_rows import metric_rows

CATALOG = simulate.CATALOG
CELL = {"protocol": "fair", "task": "nli", "model": "opt-s", "method": "ft"}
CELL |= {"pattern": "minimal", "k": 16}
BOTH = (
    "95 % intervals are for rows like these (other draws, other rows); for these rows (other "
    "draws) where a score is not an accuracy, not every answer was kept, or all rows are one "
    "cluster."
)
UNMEASURED = ("models", "hyperparameters")
"""Tables that have rows without any result."""
WITH_MEANS = ("headline", "accuracy", "model_selection", "scores", "calibration")
"""Tables of means with intervals that metrics alone make."""


@pytest.mark.parametrize(
    ("accuracies", "k", "interval", "low"),
    [
        ([0.6, 0.7, 0.8], 16, "draws", 0.7 - 4.302653 * 0.1 / 3**0.5),
        ([0.5], 0, "none", float("nan")),
        ([0.5], 16, "none", float("nan")),
    ],
)
def test_a_mean_has_its_interval_seeds_and_rows(accuracies, k, interval, low):
    row = summarise(metric_rows(accuracies, k=k)).iloc[0]
    mean, seeds = sum(accuracies) / len(accuracies), len(accuracies)
    assert row["mean"] == pytest.approx(mean)
    assert [row["low"], row["high"]] == pytest.approx([low, 2 * mean - low], nan_ok=True)
    assert (row["seeds"], row["seeds_planned"], row["rows"]) == (seeds, seeds, 100)
    assert (row["interval"], row["status"]) == (interval, "ok")


def test_a_table_says_what_its_intervals_allow_for():
    known = {"accuracy_error": 0.05, "accuracy_df": 9, "clusters": 30}
    whole, zero = metric_rows([0.6, 0.7], **known), metric_rows([0.6], k=0, **known)
    draws = metric_rows([0.6, 0.7], method="icl")
    for rows, sentence in (
        ([draws], "95 % intervals are for these rows (other draws)."),
        ([whole], "95 % intervals are for rows like these (other draws, other rows)."),
        ([whole, draws], BOTH),
        ([metric_rows([0.6])], ""),
        (
            [zero],
            "95 % intervals are for rows like these (other rows) without shots, where nothing is "
            "drawn.",
        ),
    ):
        assert table_text.claims_note(summarise(pd.concat(rows))) == sentence
    notes = [registry.make_table(name, Evidence(whole), CATALOG, {}).note for name in WITH_MEANS]
    assert all("for rows like these (other draws, other rows)" in note for note in notes)


def test_missing_seeds_are_marked_and_never_averaged_in_silence():
    good = metric_rows([0.6, 0.8])
    blank = metric_rows([0], n=0, status="missing").assign(seed=2, accuracy=float("nan"))
    unfit = blank.assign(method="icl", status="does not fit")
    frame = summarise(pd.concat([good, blank, unfit]))
    assert frame["status"].tolist() == ["2/3 seeds", "does not fit"]
    assert table_text.cell_text(frame.iloc[0]).startswith("70.0 [")
    assert table_text.cell_text(frame.iloc[0]).endswith("] (2/3)")
    assert table_text.cell_text(frame.iloc[1]) == "does not fit"


def test_levels_pick_exactly_their_rows(study):
    metrics = study.metrics[study.metrics["selection"] == "last"]
    assert at_level(metrics)["label"].isna().all()
    subsets = at_level(metrics, "subset", "label")
    assert subsets["subset"].nunique() == 30
    assert at_level(metrics, "group")["subset"].isna().all()


def test_the_headline_recovers_the_simulated_effects(study):
    numbers = registry.make_table("headline", study, CATALOG, {}).numbers
    inside = numbers[numbers["domain"] == "in"].set_index(["task", "model", "method"])
    for key, row in inside.iterrows():
        truth = simulate.accuracy_of(key[1], key[2], 16, key[0], 0)
        assert row["mean"] == pytest.approx(truth, abs=0.08)
    assert inside["seeds"].eq(5).all()
    assert set(inside["rows"]) == set(simulate.SIZES.values())


def test_every_table_follows_the_order_of_the_catalog(study):
    numbers = registry.make_table("accuracy", study, CATALOG, {}).numbers
    for column, order in (("task", list(simulate.SIZES)), ("model", list(simulate.MODELS))):
        assert list(dict.fromkeys(numbers[column])) == order


def test_coverage_lists_what_is_missing_and_what_does_not_fit(study):
    table = registry.make_table("coverage", study, CATALOG, {})
    assert table.note == "53 of 56 cells are complete."
    text = table_text.to_text(table)
    assert "1150 of 1024" in text
    assert len(table.text) == 3
    assert table.text["Done"].tolist() == ["0/5", "4/5", "0/5"]
    assert table.text["Last line of the log"].tolist()[2].endswith("the loss is not a number")


def test_coverage_counts_the_prompts_that_were_cut(study):
    seeds = {"0": {"truncated": {"nli": 3, "hans": 4, "train": 1}}, "1": {"status": "missing"}}
    whole = {"0": {"truncated": {"nli": 0, "hans": 0, "train": 0}}}
    last = {"0": {"truncated": {"nli": 3, "hans": 4, "train": 2}}}
    for manifests, sentence in (
        ([{"seeds": whole}], ""),
        (
            [{"seeds": seeds}, {"seeds": whole}, {"seeds": last}],
            " Their methods cut prompts in 2 runs: of up to 7 evaluation rows and 2 shots each.",
        ),
    ):
        evidence = replace(study, manifests=[CELL | each for each in manifests])
        note = registry.make_table("coverage", evidence, CATALOG, {}).note
        assert note == "53 of 56 cells are complete." + sentence


def test_coverage_counts_rows_whose_label_words_tied(study):
    scoring = {"nli": {"exact_ties": 2}, "hans": {"exact_ties": 1}}
    seeds = {"0": {"scoring": scoring}, "1": {"scoring": {"nli": {}}}, "2": {"status": "missing"}}
    evidence = replace(study, manifests=[CELL | {"seeds": seeds}])
    table = registry.make_table("coverage", evidence, CATALOG, {})
    assert "3 rows had several label words of exactly the highest score" in table.note
    tied = table.numbers[table.numbers["exact_ties"] > 0]
    assert tied[list(CELL)].to_dict("records") == [CELL]
    assert tied["exact_ties"].tolist() == [3]
    methods = CATALOG["methods"] | {CELL["method"]: {**CATALOG["methods"][CELL["method"]]}}
    methods[CELL["method"]]["baseline"] = "no model"
    table = registry.make_table("coverage", evidence, {**CATALOG, "methods": methods}, {})
    assert "several label words" not in table.note, "label counts tie by their nature"
    assert table.numbers["exact_ties"].max() == 3


def test_the_accuracy_table_says_what_has_no_number(study):
    text = registry.make_table("accuracy", study, CATALOG, {}).text
    cells = set(text["In domain"])
    assert {"does not fit", "missing"} <= cells
    assert any(cell.endswith("(4/5)") for cell in cells)


def test_costs_are_means_per_seed(study):
    table = registry.make_table("costs", study, CATALOG, {})
    numbers = table.numbers
    ft = numbers[(numbers["method"] == "ft") & (numbers["k"] == 16)]
    assert ft["seconds_train"].eq(60).all()
    assert ft["seeds"].eq(5).all()
    assert (ft["trainable"] == ft["parameters"]).all()
    shares = numbers.set_index("method")["scoring_share"].round(6)
    assert shares["ft"].eq(round(30 / 92, 6)).all() and shares["icl"].eq(round(30 / 32, 6)).all()
    assert set(table.text["Scoring (share)"]) == {"33 %", "94 %"}


def cells(table, name):
    """Return the mean accuracies of a table, a column for each checkpoint."""
    rows = table.numbers[table.numbers["evaluation_set"] == name]
    return rows.pivot(index=["task", "model", "method"], columns="selection", values="mean")


def test_checkpoints_are_compared_for_fine_tuned_models(study):
    table = registry.make_table("model_selection", study, CATALOG, {})
    assert len(table.text) == 2 * 4 * 2 * 3  # tasks, models, methods, checkpoints
    outside = cells(table, "hans").dropna()
    assert (outside["best-out-of-domain"] >= outside["last"]).all()
    assert (outside["best-out-of-domain"] >= outside["best-in-domain"]).all()
    inside = cells(table, "nli").dropna()
    assert (inside["best-in-domain"] >= inside["best-out-of-domain"]).all()
    assert list(table.text["Checkpoint"][:3]) == [
        "last epoch", "best in domain (reads the evaluation labels)", "best out of domain (oracle)",
    ]  # fmt: skip
    assert table.text["Epoch"][0] == "6"
    assert table.note == f"16 shots. {BOTH}", "of the oracle's epoch not all answers are kept"


def test_a_checkpoint_names_its_epochs_and_seeds(study):
    chosen = (study.metrics["model"] == "opt-s") & (study.metrics["task"] == "nli")
    chosen &= (study.metrics["method"] == "ft") & (study.metrics["selection"] == "best-in-domain")
    metrics = study.metrics[chosen & (study.metrics["seed"] < 3)].copy()
    metrics["epoch"] = metrics["seed"].map({0: 2, 1: 6, 2: 3})
    text = registry.make_table("model_selection", Evidence(metrics), CATALOG, {}).text
    assert text["Epoch"].tolist() == ["3.7 [2–6]"]
    assert text["Seeds"].tolist() == ["3"]


def test_accuracies_over_a_sample_are_marked(study, sampled_study):
    table = registry.make_table("model_selection", sampled_study, CATALOG, {})
    assert table.note == (
        f"16 shots. {BOTH} An epoch that was not kept is counted over the curve's sample: NLI 60 "
        "of 120 rows, HANS-like 60 of 240 rows."
    )
    numbers = table.numbers.set_index("selection")
    assert (numbers.loc["last", "rows_fewest"] == numbers.loc["last", "rows"]).all()
    assert numbers.loc["best-out-of-domain", "rows_fewest"].min() == 60
    every = registry.make_table("accuracy", sampled_study, CATALOG, {})
    assert "An epoch that was not kept" in every.note
    assert "sample" not in registry.make_table("accuracy", study, CATALOG, {}).note
    assert "sample" not in registry.make_table("headline", sampled_study, CATALOG, {}).note


def test_every_cell_has_its_checkpoints_in_order(study):
    numbers = registry.make_table("accuracy", study, CATALOG, {}).numbers
    ft = numbers[(numbers["method"] == "ft") & (numbers["evaluation_set"] == "hans")]
    assert ft["selection"].tolist()[:3] == ["last", "best-in-domain", "best-out-of-domain"]
    assert set(numbers.loc[numbers["method"] == "icl", "selection"]) == {"last"}


def test_subcases_keep_entailment_and_non_entailment_apart(study):
    numbers = registry.make_table("hans", study, CATALOG, {}).numbers
    icl = numbers[numbers["method"] == "icl"].groupby("label")["mean"].mean()
    assert icl[0] > 0.8
    assert icl[1] < 0.25


def test_unknown_functions_name_the_valid_ones(study):
    with pytest.raises(UserError, match="did you mean 'headline'"):
        registry.make_table("headlines", study, CATALOG, {})


@pytest.mark.parametrize("name", list(registry.TABLES))
def test_every_table_is_written_even_when_empty(study, tmp_path, name):
    paths = {kind: tmp_path / f"t.{kind}" for kind in ("parquet", "csv", "tex", "md")}
    empty = Evidence(study.metrics.iloc[:0])
    for evidence in (study, empty):
        table = registry.make_table(name, evidence, CATALOG, {})
        registry.write_table_files(table, paths, name, "A title", "A caption with 95 % & more.")
        latex = paths["tex"].read_text()
        assert latex.count(r"\begin{") == latex.count(r"\end{")
        assert (r"\toprule" in latex) == (len(table.text) > 0)
        assert r"95 \% \& more" in latex
        assert paths["md"].read_text().startswith("# A title\n")
        assert len(pd.read_parquet(paths["parquet"])) == len(table.numbers)
    assert ("No results yet." in paths["md"].read_text()) == (name not in UNMEASURED)


@pytest.mark.parametrize("name", list(registry.TABLES))
def test_the_rules_know_which_tables_read_manifests(study, name):
    read = registry.make_table(name, study, CATALOG, {}).read
    assert ("manifests" in read) == (name in figure_needs.WITH_MANIFESTS)


@pytest.mark.slow
def test_text_stays_within_its_width(study):
    for name in registry.TABLES:
        text = table_text.to_text(registry.make_table(name, study, CATALOG, {}), 100)
        assert max(map(len, text.splitlines())) <= 100, name


def test_a_long_note_is_one_paragraph():
    table = Table(pd.DataFrame(), pd.DataFrame({"Name": ["x"]}), "word " * 30)
    assert table_text.to_text(table, 40).split("\n\n")[1].count("word") == 30


def test_text_that_is_too_wide_becomes_blocks():
    table = Table(pd.DataFrame(), pd.DataFrame({"Name": ["x" * 30], "Value": ["y" * 30]}))
    assert table_text.to_text(table, 40).splitlines()[-1] == "  Value: " + "y" * 30


def test_a_set_with_subsets_but_no_groups_has_no_group_column(study):
    metrics = study.metrics.assign(group=None)
    table = registry.make_table(
        "hans", replace(study, metrics=metrics), CATALOG, {"level": "subset"}
    )
    assert len(table.text)
    assert "Group" not in table.text
    assert "nan" not in table.text.to_string().lower()


def test_groups_that_only_some_sets_have_are_blank_in_the_others(study):
    """The column keeps its place, whichever set comes first."""
    rte = study.metrics["task"] == study.metrics["task"].iloc[0]
    metrics = study.metrics.assign(group=study.metrics["group"].mask(rte))
    table = registry.make_table(
        "hans", replace(study, metrics=metrics), CATALOG, {"level": "subset"}
    )
    assert list(table.text)[:4] == ["section", "Gold label", "Group", "Subset"]
    assert {formatting.BLANK, "lexical overlap"} <= set(table.text["Group"])
    assert table.text.notna().all(axis=None)


def test_subsets_of_in_domain_sets_are_not_out_of_domain(study):
    metrics = study.metrics
    own = metrics[(metrics["domain"] == "in") & metrics["label"].notna()].assign(subset="swapped")
    more = replace(study, metrics=pd.concat([metrics, own], ignore_index=True))
    for entry in ({}, {"level": "group"}):
        parts = [registry.make_table("hans", each, CATALOG, entry).text for each in (study, more)]
        pd.testing.assert_frame_equal(*parts)


def test_an_unknown_level_is_named(study):
    with pytest.raises(UserError, match="unknown level 'subcase'"):
        registry.make_table("hans", study, CATALOG, {"level": "subcase"})
