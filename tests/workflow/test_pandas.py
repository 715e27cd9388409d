"""The lines of pandas in README.md give what the headline table has."""

import subprocess
import sys

import pages
import pandas as pd
import pytest

KEYS = ["model", "method", "evaluation_set"]


@pytest.mark.slow
def test_the_lines_of_pandas_give_the_headlines_means(study):
    [code] = pages.blocks_of("README.md", "python", "finished-demo")
    assert code.count('["k"] == 16') == 1
    code = code.replace('["k"] == 16', '["k"] == 4')  # The small study's shots.
    code += 'cells["correct"].mean().reset_index().to_parquet("means.parquet")\n'
    subprocess.run([sys.executable, "-c", code], cwd=study.folder, check=True)
    found = pd.read_parquet(study.folder / "means.parquet").astype({key: str for key in KEYS})
    headline = pd.read_parquet(study.folder / "results/demo/tables/headline.parquet")
    wanted = headline.astype({key: str for key in KEYS}).set_index(KEYS)["mean"]
    assert len(wanted) == 6
    pd.testing.assert_series_equal(
        found.set_index(KEYS)["correct"].sort_index(), wanted.sort_index(), check_names=False
    )
