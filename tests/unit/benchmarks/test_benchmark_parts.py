"""What the benchmarks prepare, and what they compute from their measurements."""

import subprocess
from argparse import Namespace

import pytest
from benchmarks import bench_context, bench_scorer, bench_training, cases, harness, shapes, trainer
from fewshot.errors import UserError
from fewshot.scoring import reader
from job_files import PATTERN, some_rows
from tiny import tiny_tokenizer


def test_operations_are_counted_as_in_the_formula():
    model = shapes.build("tiny-opt")
    linear = 2 * (4 * 32 * 32 + 2 * 32 * 128)  # two layers: attention and feed-forward
    assert sum(a * b for a, b in shapes.linear_shapes(model)) == linear
    # A prefix of 3 tokens, rows of 2 tokens and of 1; in the second and last layer own tokens have
    # queries, keys and values only, but for the two that are answered.
    weights = 2 * linear * (3 + (2 + 1) * (1 + 1 / 4) / 2 + 2 * (3 / 4) / 2)
    attention = 4 * 32 * (2 * (1 + 2 + 3) + (4 + 5) + 4)
    assert shapes.scoring_flops(model, 3, [2, 1], 2) == weights + attention + 2 * 2 * 50272 * 32


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("opt-125m", 125_239_296),
        ("pythia-160m", 162_322_944),
        ("gemma3-270m", 268_098_176),
    ],
)
def test_shapes_are_the_published_ones(name, parameters):
    import torch
    from transformers import AutoModelForCausalLM

    make, *sizes = {**shapes.SHAPES, **shapes.SLIDING}[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(make(*sizes))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.slow
def test_the_systems_behind_a_context_find_the_same(monkeypatch):
    """In chunks, in one piece, and by transformers with a copied cache."""
    monkeypatch.setattr(reader, "CHUNK", 256)
    job = {"model": "tiny-gemma3", "dtype": "float32", "device": "cpu", "threads": 1, "rows": 3}
    job |= {"context": 700, "batch_tokens": 128, "repeats": 1, "seconds": 9.0, "clock": "cpu"}
    found = {name: bench_context.measure({**job, "system": name}) for name in bench_context.SYSTEMS}
    ours, first = found["fairshot"], {}
    for system, each in found.items():
        row = bench_context.summarise(each, ours["logprobs"], 3, first, system)
        assert row["of_shortest"] == row["passes"] == 1 and row["context_s"] > 0
        assert row.get("max_abs_diff", 0.0) < 1e-4
    again = bench_context.summarise(
        {**ours, "seconds": [1.0]}, None, 3, {"fairshot": 6.0}, "fairshot"
    )
    assert (again["rows_per_s"], again["of_shortest"]) == (3.0, 0.5)


def test_samples_are_spread_over_lengths():
    lengths = [5, 1, 9, 3, 7, 2, 8, 4, 6, 0]
    assert sorted(lengths[i] for i in cases.stratified(lengths, 5)) == [1, 3, 5, 7, 9]
    assert cases.stratified(lengths, 99) == list(range(10))
    assert cases.common([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2


def table(path, benchmark, same, rows, **changed) -> harness.Table:
    made = harness.Table(path / "table.parquet", benchmark.COLUMNS, same)
    for row in rows:
        made.add(Namespace(device="cpu", threads=2), {"model": "m", "dtype": "float32", **row})
        made.rows[-1].update(changed)
    return made


def test_the_scorers_targets_compare_with_what_was_measured(tmp_path):
    about = {"task": "rte", "k": 16, "status": "ok"}
    same = {"max_abs_diff": 2e-4, "same_predictions": True}
    rows = [
        {"system": "fairshot", "rows_per_s": 50.0, **about, **same},
        {"system": "lm-eval", "rows_per_s": 2.0, **about},
        {"system": "transformers-full", "rows_per_s": 5.0, **about},
        {"system": "fairshot", "dtype": "bfloat16", "rows_per_s": 9.0, "matmul_share": 0.69}
        | {"of_fewest": 0.75, **about},
    ]
    made = table(tmp_path, bench_scorer, ["model", "dtype", "task", "k"], rows)
    assert made.judge(bench_scorer.TARGETS) == [
        (True, "reached: m, float32, lm-eval, task rte, k 16: rows_per_s_ratio 25, at least 25"),
        (
            False,
            "not reached: m, float32, transformers-full, task rte, k 16: rows_per_s_ratio 10, "
            "at least 14",
        ),
        (False, "not reached: m, float32, fairshot: max_abs_diff 0.0002, at most 0.0001"),
        (True, "reached: m, float32, fairshot: same_predictions 1, at least 1"),
        (False, "not reached: m, bfloat16, fairshot: matmul_share 0.69, at least 0.7"),
        (True, "reached: m, bfloat16, fairshot, task rte, k 16: of_fewest 0.75, at least 0.75"),
    ]
    row = {"model": "m", "task": "rte", "system": "fairshot", "rows_per_s": 20.0}
    assert bench_scorer.of_fewest(made, {**row, "dtype": "float32"}) == 0.4
    assert bench_scorer.of_fewest(made, {**row, "dtype": "float16"}) is None


def found(train, score, other, losses, logprobs):
    times = {"train": train, "score": score, "other": other, "steps": 8, "scored_rows": 100}
    return {**times, "losses": losses, "logprobs": logprobs, "peak_mib": 100.0}


def test_a_row_has_medians_rates_and_differences():
    about = {"epochs": 2, "rows": 50, "hans_rows": 30}
    ours = found([8.0], [1.0], [1.0], [3.0, 2.0], [[-1.0, -2.0]])
    other = found([40.0, 16.0, 24.0], [8.0, 4.0, 90.0], [3.0], [3.0, 2.5], [[-1.0, -2.25]])
    row = bench_training.summarise(other, ours, about)
    assert row["step_s"] == 3.0 and row["eval_rows_per_s"] == 12.5 and row["hans_rows_per_s"] == 10
    assert row["evaluation_share"] == 0.25 and row["passes"] == 3
    assert (row["loss_diff"], row["logprob_diff"], row["final_loss"]) == (0.5, 0.25, 2.5)
    assert bench_training.summarise(ours, ours, about)["loss_diff"] == 0


def trainings(path, only=lambda system: True, **changed) -> harness.Table:
    names = ("system", "step_s", "eval_rows_per_s", "hans_rows_per_s", "peak_mib", "loss_diff")
    measured = [
        ("fairshot", 1.0, 60.0, 300.0, 600.0, 0.0),
        ("trainer-padded", 4.5, 10.0, 10.0, 1200.0, 1e-6),
        ("trainer-dynamic", 2.0, 30.0, 100.0, 900.0, 5e-5),
    ]
    rows = [dict(zip(names, each, strict=True)) for each in measured if only(each[0])]
    rows = [{**row, "k": 128, "logprob_diff": 120 * row["loss_diff"]} for row in rows]
    return table(path, bench_training, ["model", "dtype", "k"], rows, **changed)


def test_trainings_are_compared_with_the_trainer(tmp_path):
    judged = trainings(tmp_path).judge(bench_training.TARGETS)
    texts = [text.partition(": m, float32, ")[2] for reached, text in judged if not reached]
    assert texts == [
        "trainer-dynamic: step_s_ratio 2, at least 2.5",
        "trainer-dynamic: logprob_diff 0.006, at most 0.001",
    ]
    assert len(judged) == 5 + 2 * 3
    text = trainings(tmp_path).render()
    ratios = {line.split()[2]: line.split() for line in text.splitlines()[1:]}
    assert ratios["trainer-padded"][3:] == [
        *("128", "4.500", "4.5", "10.0", "6.0", "10.0", "30.0", "1,200", "2.0"),
        *("1.0e-06", "1.2e-04"),
    ]


def test_targets_are_of_what_was_measured(tmp_path):
    one = trainings(tmp_path, lambda system: system != "fairshot").judge(bench_training.TARGETS)
    assert all("_diff" in text for _, text in one), "there is nothing to compare speeds with"
    # bfloat16 rounds losses; only the other promises are kept there.
    assert len(trainings(tmp_path, dtype="bfloat16").judge(bench_training.TARGETS)) == 5


def test_a_missed_target_fails_where_that_is_asked(tmp_path, capsys):
    made = trainings(tmp_path)
    assert made.finish(bench_training.TARGETS, check=False) == 0
    assert made.finish(bench_training.TARGETS, check=True) == 1
    assert made.finish(bench_training.TARGETS[:1], check=True) == 0
    assert "not reached" in capsys.readouterr().out


def test_rows_are_padded_to_a_length_or_to_the_longest():
    rows = [{"ids": [5, 6, 7], "target": 1}, {"ids": [8], "target": 2}]
    batch = trainer.collate(rows, 0)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 1], [2, -100, -100]]
    assert trainer.collate(rows, 6)["input_ids"].shape == (2, 6)
    with pytest.raises(ValueError, match="a row of 3 tokens does not fit into 2"):
        trainer.collate(rows, 2)


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


def test_a_measurement_sees_one_gpu_or_none(monkeypatch):
    job = {"threads": 3, "device": "cuda"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    assert harness.environment(job)["CUDA_VISIBLE_DEVICES"] == "5"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert harness.environment(job)["CUDA_VISIBLE_DEVICES"] == "0"
    cpu = harness.environment({**job, "device": "cpu"})
    assert cpu["CUDA_VISIBLE_DEVICES"] == "" and cpu["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("code", "errors", "said"),
    [
        (1, "Traceback\n  line\nValueError: no such thing\n", "ValueError: no such thing"),
        (1, "", "exit code 1"),
        (-9, "a warning\n", "killed by signal 9 (9: memory may have run out)"),
    ],
)
def test_a_measurement_that_fails_says_why(monkeypatch, code, errors, said):
    done = subprocess.CompletedProcess([], code, "", errors)
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: done)
    job = {"system": "fairshot", "model": "m", "threads": 1, "device": "cpu"}
    with pytest.raises(UserError) as error:
        harness.run("bench_scorer", job)
    assert str(error.value) == f"fairshot with m failed: {said}"
