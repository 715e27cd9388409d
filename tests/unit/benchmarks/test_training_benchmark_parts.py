"""What the training benchmark prepares, and what it computes from its measurements."""

import subprocess

import pandas as pd
import pytest
from benchmarks import apart, bench_training, cases, printing, trainers, training_plan
from benchmarks import training_report as report
from fewshot.errors import UserError
from job_files import PATTERN, some_rows
from tiny import tiny_tokenizer


def found(train, score, other, losses, logprobs, peak=100.0):
    return {
        "train": train,
        "score": score,
        "other": other,
        "losses": losses,
        "logprobs": logprobs,
        "steps": 8,
        "scored_rows": 100,
        "peak_mib": peak,
    }


def test_a_row_has_medians_rates_and_differences():
    about = {"epochs": 2, "rows": 50, "hans_rows": 30}
    ours = found([8.0], [1.0], [1.0], [3.0, 2.0], [[-1.0, -2.0]])
    other = found([40.0, 16.0, 24.0], [8.0, 4.0, 90.0], [3.0], [3.0, 2.5], [[-1.0, -2.25]])
    row = training_plan.summarise(other, ours, about)
    assert row["step_s"] == 3.0 and row["eval_rows_per_s"] == 12.5 and row["hans_rows_per_s"] == 10
    assert row["evaluation_share"] == 0.25 and row["passes"] == 3
    assert (row["loss_diff"], row["logprob_diff"], row["final_loss"]) == (0.5, 0.25, 2.5)
    assert training_plan.summarise(ours, ours, about)["loss_diff"] == 0


def table(**changed) -> pd.DataFrame:
    fixed = {
        **{"model": "m", "k": 128, "dtype": "float32", "device": "cpu", "threads": 2},
        **{"batch_size": 32, "epochs": 2, "rows": 277, "hans_rows": 300, "passes": 3},
        **{"evaluation_share": 0.4, "final_loss": 2.5, "losses": [3.0, 2.5]},
    }
    names = ("system", "step_s", "eval_rows_per_s", "hans_rows_per_s", "peak_mib")
    measured = [
        ("fairshot", 1.0, 60.0, 300.0, 600.0),
        ("trainer-padded", 4.5, 10.0, 10.0, 1200.0),
        ("trainer-dynamic", 2.0, 30.0, 100.0, 900.0),
    ]
    rows = [dict(zip(names, each, strict=True)) for each in measured]
    apart_ = [{"loss_diff": diff, "logprob_diff": 120 * diff} for diff in (0.0, 1e-6, 5e-5)]
    pairs = zip(rows, apart_, strict=True)
    return report.frame([{**fixed, **row, **diff, **changed} for row, diff in pairs])


def test_targets_compare_with_the_trainer():
    targets = report.targets(table())
    assert [(target.found, target.reached) for target in targets] == [
        ("4.5 x", True),
        ("2.0 x", False),
        ("6.0 x", True),
        ("30.0 x", True),
        ("50%", True),
        ("5.0e-05", True),
        ("6.0e-03", False),
    ]
    assert "trainer-dynamic" in targets[1].text
    assert printing.summary(targets).count("not reached") == 2


def test_targets_are_of_what_was_measured():
    alone = table()
    assert report.targets(alone[alone["system"] == "fairshot"]) == []
    assert report.targets(alone[alone["system"] != "fairshot"]) == []
    # bfloat16 rounds losses; only the other promises are kept there.
    assert len(report.targets(table(dtype="bfloat16"))) == 5


def test_the_table_is_printed_with_ratios():
    text = report.render(table())
    assert "m, float32, cpu, 2 threads: RTE, k = 128, batch 32, 2 epochs; 277 RTE and 300" in text
    ratios = [line.split() for line in text.splitlines() if line.strip().startswith("fairshot :")]
    assert ratios[0][2:] == ["trainer-padded", "4.5", "x", "6.0", "x", "30.0", "x", "50%"]
    assert ratios[1][2:] == ["trainer-dynamic", "2.0", "x", "2.0", "x", "3.0", "x", "67%"]
    assert "40% of fairshot's time goes into evaluating 277 rows" in report.share(table())


def test_rows_are_padded_to_a_length_or_to_the_longest():
    rows = [{"ids": [5, 6, 7], "target": 1}, {"ids": [8], "target": 2}]
    batch = trainers.collate(rows, 0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 1], [2, -100, -100]]
    assert trainers.collate(rows, 6)["input_ids"].shape == (2, 6)
    with pytest.raises(ValueError, match="a row of 3 tokens does not fit into 2"):
        trainers.collate(rows, 2)


def test_the_draw_is_the_first_without_a_long_row(monkeypatch):
    tokenizer, rows = tiny_tokenizer(), some_rows(30, "draws")
    monkeypatch.setattr(cases, "rows_of", lambda folder, task, split: rows)
    lengths = dict(zip(rows["id"], cases.query_lengths(tokenizer, PATTERN, rows), strict=True))
    assert lengths[100] == len(tokenizer(PATTERN.query(*rows.loc[0, ["text_a", "text_b"]]))[0].ids)
    first = [max(lengths[i] for i in cases._shots(rows, "t", 4, seed)["id"]) for seed in range(10)]
    for limit in range(min(first), max(first) + 1):
        seed, shots = cases.draw_within(None, tokenizer, PATTERN, "t", 4, limit)
        assert seed == next(i for i, length in enumerate(first) if length <= limit)
        assert shots["id"].tolist() == cases._shots(rows, "t", 4, seed)["id"].tolist()
    with pytest.raises(UserError, match=r"in every draw of k = 4 a row has over 2 tokens"):
        cases.draw_within(None, tokenizer, PATTERN, "t", 4, 2)
    spread = cases.spread_rows(None, tokenizer, PATTERN, "t", 5, max(lengths.values()))
    assert len(spread) == 5 and spread["id"].is_unique
    with pytest.raises(UserError, match="an evaluation row has over 2 tokens"):
        cases.spread_rows(None, tokenizer, PATTERN, "t", 5, 2)


@pytest.mark.parametrize(
    ("option", "value"), [("--k", "0"), ("--epochs", "-1"), ("--rows", "0"), ("--repeats", "0")]
)
def test_numbers_that_measure_nothing_are_one_line(option, value):
    with pytest.raises(UserError) as error:
        bench_training.main([option, value])
    assert str(error.value) == f"{option} {value}: must be more than 0"


def test_a_worker_sees_one_gpu_or_none(monkeypatch):
    job = {"threads": 3, "device": "cuda"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    assert apart.environment(job)["CUDA_VISIBLE_DEVICES"] == "5"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert apart.environment(job)["CUDA_VISIBLE_DEVICES"] == "0"
    cpu = apart.environment({**job, "device": "cpu"})
    assert cpu["CUDA_VISIBLE_DEVICES"] == "" and cpu["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("code", "errors", "said"),
    [
        (1, "Traceback\n  line\nValueError: no such thing\n", "ValueError: no such thing"),
        (1, "", "exit code 1"),
        (-9, "a warning\n", "killed by signal 9 (9: memory may have run out)"),
    ],
)
def test_a_worker_that_fails_says_why(monkeypatch, tmp_path, code, errors, said):
    done = subprocess.CompletedProcess([], code, "", errors)
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: done)
    job = {"system": "fairshot", "model": "m", "threads": 1, "device": "cpu"}
    with pytest.raises(UserError) as error:
        apart.run("worker", job, tmp_path)
    assert str(error.value) == f"fairshot with m failed: {said}"
