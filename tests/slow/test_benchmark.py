"""The scorer's benchmark, from its command line to its Parquet file, on tiny shapes."""

import pandas as pd
import pytest
from benchmarks import bench_scorer, report
from fewshot.errors import UserError

pytestmark = pytest.mark.slow

ARGUMENTS = "--models tiny-opt --device cpu --threads 1 --dtype float32 --repeats 1"


def test_all_systems_are_measured_and_stored(shared_data, tmp_path, capsys):
    out = tmp_path / "scorer.parquet"
    folders = ["--data", str(shared_data), "--tokenizers", str(shared_data), "--out", str(out)]
    options = "--k 0 2 32 --rows 6 --slow-rows 3 --sections systems --tasks rte".split()
    assert bench_scorer.main([*ARGUMENTS.split(), *options, *folders]) == 0
    table = pd.read_parquet(out)
    assert list(table.columns) == report.SCHEMA.names
    measured = table[table["status"] == "ok"]
    assert set(measured["system"]) == set(report.NAMES) and set(measured["k"]) == {0, 2}
    assert len(measured) == 8
    assert (measured["rows"] == measured["system"].map(lambda s: 6 if s == "fairshot" else 3)).all()
    assert (measured["rows_per_s"] > 0).all() and (measured["peak_mib"] > 0).all()
    assert (measured["max_abs_diff"] <= 1e-4).all() and measured["same_predictions"].all()
    assert measured.loc[measured["system"] == "fairshot", "matmul_share"].gt(0).all()
    assert table.loc[table["k"] == 32, "status"].tolist() == ["does not fit"]
    printed = capsys.readouterr().out
    assert "does not fit" in printed and "within 1e-4 of transformers-full" in printed


def test_missing_rows_are_one_line(shared_data, tmp_path):
    arguments = ["--data", str(tmp_path), "--tokenizers", str(shared_data)]
    with pytest.raises(UserError, match=r"no rows of task 'rte'.*--data"):
        bench_scorer.main([*ARGUMENTS.split(), "--k", "0", *arguments])
