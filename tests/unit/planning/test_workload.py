"""Rows and tokens of jobs: as prepared, as tasks tell, or as is typical."""

from dataclasses import replace

import pandas as pd
import pytest
from fewshot import schemas, storage
from fewshot.data.synthetic import generate
from fewshot.planning import workload
from fewshot.planning.workload import (
    BYTES_PER_TOKEN,
    AnswerSize,
    Reading,
    Split,
    Splits,
    told_rows,
    work_of,
)
from fewshot.study.study import Cell
from fewshot.study.task_checks import stated_rows
from registries import BLOCK, copy_registries, edit, load

SYNTHETIC = {"synthetic": "mnli-like", "sizes": {"train": 901, "validation": 31}}
GRID = [
    {"methods": ["in-context"], "patterns": ["minimal", "eval-harness"], "k": [0, 16, 32]},
    {
        "methods": ["pattern-ft", "prompt-tuning", "prefix-tuning"],
        "patterns": ["minimal"],
        "k": [16],
    },
]


def write_rows(path, texts: list[tuple[str, str | None]]) -> None:
    a, b = zip(*texts, strict=True)
    blank = [None] * len(texts)
    frame = pd.DataFrame({"id": range(len(texts)), "text_a": a, "text_b": b, "label": 0,
                          "group": blank, "subset": blank, "cluster": blank})  # fmt: skip
    storage.write_table(path, frame, schemas.ROWS)


@pytest.fixture
def study(tmp_path):
    return load(copy_registries(tmp_path), models=["opt-125m"], tasks=["rte"], grid=GRID)


def work(study, method="in-context", pattern="minimal", k=16, seeds=3, folder="nowhere", **changes):
    cell = Cell("fair", "rte", "opt-125m", method, pattern, k)
    settings = {**study.method_settings(method, "opt-125m"), **changes}
    return work_of(study, Splits(study.tasks, folder=workload.Path(folder)), cell, seeds, settings)


def test_texts_are_read_behind_each_label_word(tmp_path):
    grid = [{"methods": ["in-context"], "patterns": ["minimal", "channel-minimal"], "k": [16]}]
    study = load(copy_registries(tmp_path), models=["opt-125m"], tasks=["rte"], grid=grid)
    plain, turned = (work(study, pattern=name) for name in ("minimal", "channel-minimal"))
    assert turned.predictions == plain.predictions
    assert [each.times for each in turned.score] == [2] * len(plain.score)
    for once, each in zip(plain.score, turned.score, strict=True):
        assert each.rows == once.rows and each.answers == each.tokens
        assert abs(each.tokens - once.tokens) < 1 and once.answers == 1
    assert abs(turned.context - plain.context) < 16


def test_what_a_task_tells_of_its_rows(study):
    tasks = study.tasks
    assert told_rows(tasks["mnli"], tasks, "validation") == 3479 + 3213
    assert told_rows(tasks["mnli-three-way"], tasks, "train") == 392_702
    assert told_rows(tasks["synth-mnli"], tasks, "validation") == 120, "180 less the third label"
    assert told_rows(tasks["synth-hans"], tasks, "validation") == 180
    unknown = {key: each for key, each in tasks["qqp"].items() if key != "expected"}
    assert told_rows(unknown, tasks, "validation") == 1000, "what it is cut to"
    assert told_rows(unknown, tasks, "train") == workload.TYPICAL_ROWS
    shared = {key: each for key, each in tasks["mnli-mismatched"].items() if key != "expected"}
    assert told_rows(shared, tasks, "validation") == workload.TYPICAL_ROWS


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, {"entailment": 301, "contradiction": 300}),
        ({"labels": {"a": 0, "b": [1, 2, "2"]}, "drop": []}, {"a": 301, "b": 600}),
        ({"drop": [1, -1, 7]}, {"entailment": 301, "contradiction": 300}),
        ({"label": "construction"}, 901),
    ],
)
def test_rows_of_a_synthetic_split_are_those_of_its_labels(study, changes, rows):
    entry = {**study.tasks["synth-mnli"], "source": SYNTHETIC, **changes}
    assert stated_rows(entry, study.tasks, "train") == ("sizes", rows)
    made = generate("mnli-like", "validation", 31, 0)["label"].value_counts()
    assert dict(made) == {0: 11, 1: 10, 2: 10}, "the first labels have the rows that are over"


def test_prepared_rows_count_and_measure_themselves(study, tmp_path):
    """A premise that stands twice is stored once, and read once."""
    premise = "word " * 40
    write_rows(
        tmp_path / "qqp" / "train.parquet", [(f"{i} {premise}", "b" * 50) for i in range(200)]
    )
    write_rows(
        tmp_path / "qqp" / "validation.parquet", [(premise, f"{i:050d}") for i in range(200)]
    )
    splits = Splits(study.tasks, tmp_path)
    train, twice = splits.of("qqp", "train"), splits.of("qqp", "validation")
    assert train.rows == twice.rows == 200, "whatever `expected` says"
    assert train.tokens == pytest.approx((203 + 4) / BYTES_PER_TOKEN, rel=0.1)
    assert twice.tokens == pytest.approx((50 + 4) / BYTES_PER_TOKEN, rel=0.15)
    assert Splits(study.tasks, tmp_path / "none").of("qqp", "train").tokens == 40


def test_row_tokens_of_the_task_count_before_what_is_measured(study, tmp_path):
    write_rows(tmp_path / "rte" / "train.parquet", [("a", "b")] * 5)
    assert Splits(study.tasks, tmp_path).of("rte", "train") == Split(5, 66)


def test_rows_without_texts_and_broken_files_do_not_disturb(study, tmp_path):
    path = tmp_path / "qqp" / "validation.parquet"
    path.parent.mkdir()
    pd.DataFrame({"id": range(7), "label": 0}).to_parquet(path)
    assert Splits(study.tasks, tmp_path).of("qqp", "validation") == Split(7, 40)
    path.write_bytes(b"PAR1 this is no Parquet")
    assert Splits(study.tasks, tmp_path).of("qqp", "validation") == Split(1000, 40)


def test_rows_are_read_behind_each_context_of_an_ensemble(study):
    found, around = work(study, k=32, shown=4), 1 + 4 / BYTES_PER_TOKEN
    assert found.score == (Reading(277, 65 + around, 8), Reading(30_000, 11 + around, 8))
    assert found.context == pytest.approx(4 * (66 + around + 2)) and found.fits
    assert not work(study, k=32).fits, "all in one context"
    assert found.predictions == 30_277


def test_retrieved_shots_are_each_rows_own(study):
    shown = {"shown": 4, "similarity": "bm25", "cached": 8}
    around = 1 + 4 / BYTES_PER_TOKEN
    solved = 66 + around + 2
    found = work(study, k=16, **shown)
    assert found.score[0].tokens == pytest.approx(65 + around + 4 * solved)
    assert found.context == pytest.approx(8 * solved) and found.fits
    states = work(study, k=16, **{**shown, "similarity": "states"})
    assert states.score[0].tokens == pytest.approx(2 * (65 + around) + 4 * solved)
    assert not work(study, k=32, **{**shown, "cached": 26}).fits, "30 shots in a prompt"


def test_work_in_context_by_hand(study):
    """RTE has 277 rows of 65 tokens, HANS 30,000 of 11; the template adds 4 characters."""
    found, around = work(study), 1 + 4 / BYTES_PER_TOKEN
    assert found.score == (Reading(277, 65 + around), Reading(30_000, 11 + around))
    assert found.context == pytest.approx(16 * (66 + around + 2)) and found.fits
    assert (found.curve, found.epochs, found.predictions) == ((), 0, 30_277)
    bare = work(study, k=0, seeds=1)
    assert (bare.context, bare.seeds, bare.fits) == (0, 1, True)
    longer = work(study, pattern="eval-harness")
    assert longer.context > found.context and longer.score[0].tokens > found.score[0].tokens


def test_a_context_beyond_the_window_is_cut_to_it(study):
    found = work(study, k=32)
    assert not found.fits and found.context == 2048 - found.score[0].tokens


def test_work_of_training_by_hand(study):
    """10 points of the curve: RTE whole, HANS 512 rows; then both at the best, HANS at the last."""
    found, around = work(study, "pattern-ft"), 1 + 4 / BYTES_PER_TOKEN
    assert (found.rows, found.row, found.epochs) == (16, 66 + around, 40)
    assert [(each.rows, each.times) for each in found.curve] == [(277, 10), (512, 10)]
    assert [(each.rows, each.times) for each in found.score] == [(277, 1), (30_000, 2)]
    assert found.predictions == 2 * 30_277 and found.evaluated == 30_277
    each = work(study, "pattern-ft", curve_epochs="each")
    assert [each.times for each in each.curve] == [40, 40]
    once = work(study, "pattern-ft", curve_epochs="last")
    assert [(each.rows, each.times) for each in once.curve] == [(277, 1), (512, 1)]
    assert [each.times for each in once.score] == [0, 1] and once.predictions == 30_277
    whole = work(study, "pattern-ft", curve_rows="all")
    assert [(each.rows, each.times) for each in whole.curve] == [(277, 10), (30_000, 10)]
    assert [each.times for each in whole.score] == [1, 1]
    assert work(study, "pattern-ft", truncate=50).row == 50


def test_a_curve_that_counts_a_half_leaves_all_rows_for_the_end(tmp_path):
    """Of RTE's 277 rows 138 are on the curve; all are scored at the best epoch and at the last."""
    study = load(
        copy_registries(tmp_path),
        models=["opt-125m"], tasks=["rte"], grid=GRID, best_epoch="held-out",
    )  # fmt: skip
    found = work(study, "pattern-ft", curve_rows="all")
    assert [(each.rows, each.times) for each in found.curve] == [(138, 10), (30_000, 10)]
    assert [each.times for each in found.score] == [2, 1]
    assert work(study).score[0].rows == 277, "in context nothing is chosen"


def test_label_words_of_several_tokens_are_read_too(tmp_path):
    """Two tokens and three; with label words compared each row is read with both."""
    folder = copy_registries(tmp_path)
    words = {"entailment": "That follows", "not_entailment": "It does not"}
    answers = {"template": "{text_a} {text_b} ?", "answer": " {label}", "labels": words}
    edit(folder, "patterns", lambda c: c.update(long=answers))
    grid = [{**BLOCK, "methods": ["in-context", "pattern-ft"], "patterns": ["minimal", "long"]}]
    study = load(folder, models=["opt-125m"], tasks=["rte"], grid=grid)
    one = work(study, "pattern-ft")
    for changes, size in (
        ({}, AnswerSize(1, 3, 3)),
        ({"answer_loss": "sum", "end_token": True}, AnswerSize(1, 4, 5)),
        ({"loss": "label-words"}, AnswerSize(2, 3, 3)),
        ({"head": "classification"}, AnswerSize()),
    ):
        found = work(study, "pattern-ft", "long", **changes)
        assert (found.rows, found.row) == (16 * size.readings, one.row + size.tokens - 1)
        for mine, short in zip(found.score, one.score, strict=True):
            assert mine.tokens == pytest.approx(short.tokens + size.forked)
    short, shown = work(study, k=2), work(study, pattern="long", k=2)
    assert shown.score[0].tokens == pytest.approx(short.score[0].tokens + 3)


def test_virtual_tokens_are_read_and_learned_keys_attended_to(study):
    plain = work(study, "pattern-ft")
    prompt, prefix = work(study, "prompt-tuning"), work(study, "prefix-tuning")
    assert (prompt.row, prompt.context, prompt.learned) == (plain.row + 20, 20, 0)
    assert (prefix.row, prefix.context, prefix.learned) == (plain.row, 0, 20)


def test_the_protocol_decides_what_is_scored(study):
    cell = Cell("mosbach2023", "rte", "opt-125m", "in-context", "minimal", 2)
    settings = study.method_settings("in-context", "opt-125m")
    found = work_of(study, Splits(study.tasks), cell, 1, settings)
    assert found.score[1].rows == 10_000


def test_tasks_with_one_text_have_their_own_template(tmp_path):
    folder = copy_registries(tmp_path)
    edit(folder, "patterns", lambda c: c["minimal"].update(template_one_text="{text_a}" + "x" * 50))
    study = load(
        folder,
        models=["opt-125m"],
        tasks=["cola"],
        grid=[GRID[0] | {"k": [2], "patterns": ["minimal"]}],
    )
    cell = Cell("fair", "cola", "opt-125m", "in-context", "minimal", 2)
    assert workload.template_tokens(study, cell) == pytest.approx(1 + 51 / BYTES_PER_TOKEN)
    assert replace(cell, task="rte") != cell and workload.template_tokens(
        study, replace(cell, task="rte")
    ) == pytest.approx(1 + 4 / BYTES_PER_TOKEN)
