"""The benchmarks, from their command lines to their Parquet files, on tiny shapes."""

import numpy as np
import pandas as pd
import pytest
from benchmarks import (
    bench_folding,
    bench_memory,
    bench_readout,
    bench_scorer,
    bench_training,
    rivals,
)
from fewshot.errors import UserError

pytestmark = pytest.mark.slow

ARGUMENTS = "--models tiny-opt --device cpu --threads 1 --dtype float32 --repeats 1"
TRAINING = (
    "--device cpu --threads 1 --repeats 1 --k 40 --epochs 2 --learning-rate 0.01 --rows 12 "
    "--hans-rows 6"
)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Leave out what training in this process has set: transformers would wait for others."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.weekly
def test_all_systems_are_measured_and_stored(shared_data, tmp_path, capsys):
    out = tmp_path / "scorer.parquet"
    folders = ["--data", str(shared_data), "--tokenizers", str(shared_data), "--out", str(out)]
    options = ["--systems", *bench_scorer.SYSTEMS, *"--k 0 2 28 --rows 6 --slow-rows 3".split()]
    assert bench_scorer.main([*ARGUMENTS.split(), *options, *folders]) == 0
    table = pd.read_parquet(out)
    assert list(table.columns) == list(bench_scorer.COLUMNS)
    measured = table[table["status"] == "ok"]
    assert set(measured["system"]) == set(bench_scorer.SYSTEMS) and set(measured["k"]) == {0, 2}
    assert len(measured) == 8
    slow = measured["system"].isin(bench_scorer.SLOW)
    assert (measured["rows"] == slow.map({True: 3, False: 6})).all()
    assert (measured["rows_per_s"] > 0).all() and (measured["peak_mib"] > 0).all()
    assert (measured["max_abs_diff"] <= 1e-4).all() and measured["same_predictions"].all()
    assert measured.loc[measured["system"] == "fairshot", "matmul_share"].gt(0).all()
    assert table.loc[table["k"] == 28, "status"].tolist() == ["does not fit"]
    printed = capsys.readouterr().out
    assert "does not fit" in printed and "x rows/s" in printed and "max_abs_diff" in printed


@pytest.mark.parametrize("system", rivals.RIVALS)
def test_a_rival_finds_the_same(system, shared_data, tmp_path):
    if not rivals.interpreter(rivals.FOLDER, system).exists():
        pytest.skip("not installed; `make rivals` does it")
    out = tmp_path / "scorer.parquet"
    folders = ["--data", str(shared_data), "--tokenizers", str(shared_data), "--out", str(out)]
    # vLLM has no kernel for the heads of tiny-opt.
    options = ["--models", "opt-125m", "--systems", "fairshot", system]
    options += "--k 0 2 --rows 3".split()
    assert bench_scorer.main([*ARGUMENTS.split(), *options, *folders]) == 0
    rival = pd.read_parquet(out).set_index("system").loc[[system]]
    assert rival["k"].tolist() == [0, 2] and rival["version"].notna().all()
    assert (rival["rows_per_s"] > 0).all() and (rival["peak_mib"] >= 0).all()
    # Eight bits round; all else is the same arithmetic in another order.
    assert (rival["max_abs_diff"] < (1.0 if "int8" in system else 1e-4)).all()


def test_missing_rows_are_one_line(shared_data, tmp_path):
    arguments = ["--data", str(tmp_path), "--tokenizers", str(shared_data)]
    with pytest.raises(UserError, match=r"no rows of task 'rte'.*--data"):
        bench_scorer.main([*ARGUMENTS.split(), "--k", "0", *arguments])


@pytest.mark.weekly
@pytest.mark.parametrize("model", ["tiny-opt", "tiny-pythia"])
def test_all_systems_train_alike_and_are_stored(model, shared_data, tmp_path, capsys):
    out = tmp_path / "training.parquet"
    folders = ["--data", str(shared_data), "--tokenizers", str(shared_data), "--out", str(out)]
    assert bench_training.main(["--models", model, *TRAINING.split(), *folders]) == 0
    table = pd.read_parquet(out)
    assert list(table.columns) == list(bench_training.COLUMNS)
    assert table["system"].tolist() == ["fairshot", "trainer-padded", "trainer-dynamic"]
    losses = np.array(table["losses"].tolist())
    assert losses.shape == (3, 2) and (losses[:, 1] < losses[:, 0] - 1).all()
    np.testing.assert_allclose(losses, losses[[0, 0, 0]], rtol=0, atol=1e-4)
    assert (table["final_loss"] == losses[:, 1]).all()
    assert (table["loss_diff"] <= 1e-4).all() and (table["logprob_diff"] <= 1e-4).all()
    # Another order of additions: the systems are not compared with themselves.
    assert table["logprob_diff"].iloc[1:].gt(0).all()
    measured = table[["step_s", "eval_rows_per_s", "hans_rows_per_s", "peak_mib"]]
    assert measured.gt(0).all(axis=None) and table["evaluation_share"].between(0.01, 0.99).all()
    # Two batches (32 and 8 rows) in each of two epochs.
    assert (table["steps"] == 4).all() and (table["rows"] == 12).all() and (table["k"] == 40).all()
    printed = capsys.readouterr().out
    assert "x s/step" in printed and "logprob_diff" in printed


def test_rows_that_training_lacks_are_one_line(shared_data, tmp_path):
    folders = ["--data", str(tmp_path), "--tokenizers", str(shared_data)]
    with pytest.raises(UserError, match=r"no rows of task 'rte'.*--data"):
        bench_training.main([*TRAINING.split(), *folders])


@pytest.mark.weekly
def test_predicted_and_measured_memory_are_compared(tmp_path, capsys):
    out = tmp_path / "memory.parquet"
    options = "--models tiny-opt --methods lora --device cpu --threads 1 --k 8 --row 32"
    places = ["--placements", "plain", "stage 1", "--out", str(out)]
    assert bench_memory.main([*options.split(), *places]) == 0
    table = pd.read_parquet(out)
    assert list(table.columns) == list(bench_memory.COLUMNS)
    assert table["placement"].tolist() == ["plain", "stage 1"] and (table["status"] == "ok").all()
    assert table[["predicted_mib", "measured_mib", "ratio", "seconds"]].gt(0).all(axis=None)
    assert "predicted measured ratio" in capsys.readouterr().out


@pytest.mark.weekly
def test_both_readouts_are_measured(shared_data, tmp_path):
    out = tmp_path / "readout.parquet"
    folders = ["--data", str(shared_data), "--tokenizers", str(shared_data), "--out", str(out)]
    options = "--models tiny-opt --device cpu --threads 1 --seconds 1 --k 0 --rows 4"
    assert bench_readout.main([*options.split(), *folders]) == 0
    row = pd.read_parquet(out).iloc[0]
    assert row["rounded"] > 0 and row["ratio"] == pytest.approx(row["exact"] / row["rounded"])


@pytest.mark.weekly
def test_folding_is_measured(tmp_path):
    out = tmp_path / "folding.parquet"
    options = "--models tiny-opt --dtype float32 --adapters lora ia3 --device cpu --threads 1"
    assert bench_folding.main([*options.split(), "--repeats", "1", "--out", str(out)]) == 0
    table = pd.read_parquet(out)
    assert table["adapter"].tolist() == ["lora", "ia3"]
    assert table[["base", "beside", "folded"]].gt(0).all(axis=None)
    assert (table["max_abs_diff"] < 1e-5).all()
