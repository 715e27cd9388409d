"""Matrices of all sizes with all sizes: their table, notes and options, and their figure."""

import pytest
from comparison_rows import CATALOG, evidence, row
from fewshot.errors import UserError
from fewshot.report.figures import matrix as matrix_figure
from fewshot.report.tables import registry


def matrix(cells):
    """Return a 2 × 2 matrix: (model, reference) → what differs from a plain case."""
    return evidence(
        *(
            row(family="matrix", model=model, reference_model=other, **given)
            for (model, other), given in cells.items()
        )
    )


MATRIX = matrix(
    {
        ("opt-s", "opt-s"): {"difference": 0.0},
        ("opt-s", "opt-l"): {"difference": -0.041, "p_welch": 0.049},
        ("opt-l", "opt-s"): {"difference": 0.05, "p_welch": 0.01, "holm_crossed": 0.03},
        ("opt-l", "opt-l"): {"difference": 0.012, "seeds": 9},
    }
)


def test_a_matrix_marks_the_published_test_and_ours():
    text = registry.make_table("matrix", MATRIX, CATALOG, {}).text
    assert list(text.columns) == ["section", "Fine-tuned ↓ in context →", "OPT-S", "OPT-L"]
    assert text["OPT-S"].tolist() == ["0.0", "+5.0*†"]
    assert text["OPT-L"].tolist() == ["−4.1*", "+1.2 (9/10)"]
    assert set(text["section"]) == {"RTE, HANS (30,000 rows in 303 clusters, 9–10 seeds)"}


@pytest.mark.parametrize("table", ["matrix", "comparison"])
def test_a_note_tells_of_clusters_where_there_are_some(table):
    family = "matrix" if table == "matrix" else "same model"

    def note(**given):
        return registry.make_table(table, evidence(row(family=family, **given)), CATALOG, {}).note

    assert "are one cluster and vary together" in note()
    for alone in ({"clusters": 30_000}, {"clusters": 0}):
        assert "cluster" not in note(**alone), "rows stand alone, or none are resampled"


def test_the_note_of_a_matrix_computes_its_floor():
    note = registry.make_table("matrix", MATRIX, CATALOG, {}).note
    # 2 / 2^10 = 0.00195, times 49 = 0.0957.
    assert "With 10 seeds no sign-flip test falls below 0.002;" in note
    assert "Holm over 49 comparisons makes that 0.096, so that it can never be below 0.05." in note
    assert "correction over the 49 comparisons" in note
    few = evidence(row(family="matrix", family_size=4))
    assert "makes that 0.0078." in registry.make_table("matrix", few, CATALOG, {}).note


def test_a_matrix_shows_why_a_cell_is_empty():
    blank = {"difference": None, "low": None, "high": None, "status": "does not fit", "seeds": 0}
    found = matrix({("opt-s", "opt-s"): blank, ("opt-l", "opt-s"): {}})
    text = registry.make_table("matrix", found, CATALOG, {}).text
    assert text["OPT-S"].tolist() == ["does not fit", "+3.0"]


def test_options_choose_the_matrix():
    other = row(family="matrix across patterns", reference_pattern="gpt-3", difference=0.2)
    vanilla = row(family="matrix", method="van", difference=0.1)
    kin = row(family="matrix", model="gpt-s", reference_model="gpt-s", difference=0.3)
    found = evidence(row(family="matrix"), other, vanilla, kin)

    def cells(**options):
        return registry.make_table("matrix", found, CATALOG, options).numbers["difference"].tolist()

    assert cells() == [0.03]
    assert cells(arms=["pattern-ft/minimal", "in-context/*gpt-3"]) == [0.2]
    assert cells(arms=["vanilla-ft", "in-context"]) == [0.1]
    assert cells(family="gpt") == [0.3]
    assert cells(domain="in") == []
    assert cells(arms=["pattern-ft/gpt-3", "in-context"]) == [], (
        "no results of a pattern that the study has are no mistake"
    )


def test_a_matrix_has_options_for_shots_and_checkpoint():
    best, more = {"selection": "best-in-domain"}, {"k": 32}
    rows = [row(), row(**best, difference=0.1), row(**more, difference=0.2)]
    found = evidence(*(each | {"family": "matrix", "domain": "in"} for each in rows))
    table = registry.make_table("matrix", found, CATALOG, best)
    assert table.numbers["difference"].tolist() == [0.1]
    assert (
        "best in domain (reads the evaluation labels). In domain, the best epoch was chosen by "
        "these very rows" in table.note
    )
    table = registry.make_table("matrix", found, CATALOG, more)
    assert table.numbers["difference"].tolist() == [0.2]
    assert "32 shots; checkpoint of fine-tuned models: last epoch." in table.note


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "mnli"}, "unknown task 'mnli'"),
        ({"family": "bert"}, "unknown family 'bert'"),
        ({"arms": ["lora"]}, "unknown method 'lora'"),
        ({"domain": "inside"}, "unknown domain 'inside'"),
        ({"selection": "each"}, "unknown selection 'each'; valid: last, best-in-domain"),
        ({"k": 17}, "options.k: no cell has 17 shots; valid: 16$"),
    ],
)
def test_options_that_the_study_lacks_are_named(options, message):
    with pytest.raises(UserError, match=message):
        registry.make_table("matrix", MATRIX, CATALOG, options)


def test_a_cell_of_one_seed_is_pale_as_it_has_no_test():
    lone = row(family="matrix", model="opt-l", seeds=1, holm_crossed=None, status="one seed of 10")
    found = evidence(row(family="matrix", holm_crossed=0.01), row(family="matrix"), lone)
    cells, _ = matrix_figure.judged(found.comparisons, "crossed-holm", 5.0)
    assert cells["verdict"].tolist() == ["fine-tuning", "no difference found", "not tested"]
    assert cells["colour"].notna().tolist() == [True, False, False]
    drawn = str(matrix_figure.welch_matrix(found, CATALOG))
    assert "Pale: p ≥ 0.05, or no test (one seed)." in drawn
