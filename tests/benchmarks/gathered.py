"""Put the tables of several benchmarks into one: `python -m benchmarks.gathered FOLDER`.

The file FOLDER.parquet has the columns of all, and `benchmark`, which says whose row it is.
"""

import sys
from pathlib import Path

import pandas as pd


def gather(folder: Path) -> pd.DataFrame:
    """Return the rows of all Parquet files of a folder, and write them beside it."""
    files = sorted(folder.glob("*.parquet"))
    if not files:
        sys.exit(f"error: {folder}: no benchmark has written anything")
    rows = pd.concat([pd.read_parquet(path).assign(benchmark=path.stem) for path in files])
    rows.to_parquet(folder.with_suffix(".parquet"), index=False)
    return rows


if __name__ == "__main__":
    found = gather(Path(sys.argv[1]))
    print(f"{len(found)} measurements of {found['benchmark'].nunique()} benchmarks in "
          f"{Path(sys.argv[1]).with_suffix('.parquet')}")  # fmt: skip
