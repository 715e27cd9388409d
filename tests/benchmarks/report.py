"""The benchmark's table: its columns, how it is printed, and which targets it reaches."""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from .printing import Target, aligned, column

NAMES = ("fairshot", "transformers-full", "transformers-cache", "lm-eval")


SCHEMA = pa.schema(
    [
        column("system", pa.string(), "what was measured", False),
        column("model", pa.string(), "shape of the model; its weights are random", False),
        column("dtype", pa.string(), "type of its weights", False),
        column("device", pa.string(), "'cpu' or 'cuda'", False),
        column("threads", pa.int32(), "threads of the process", False),
        column("task", pa.string(), "task of rows and shots", False),
        column("k", pa.int32(), "shots", False),
        column("seed", pa.int32(), "data seed of the draw", False),
        column("status", pa.string(), "'ok' or 'does not fit'", False),
        column("shared", pa.int32(), "tokens that all prompts share", False),
        column("longest", pa.int32(), "tokens of the longest prompt", False),
        column("batch", pa.string(), "size of a batch, in padded tokens or rows"),
        column("rows", pa.int32(), "rows that were timed", False),
        column("passes", pa.int32(), "passes over the rows", False),
        column("rows_per_s", pa.float64(), "rows per second, median of the passes"),
        column("peak_mib", pa.float64(), "peak memory beyond the weights, MiB"),
        column("gflops", pa.float64(), "1e9 operations needed per second of scoring"),
        column("gemm_gflops", pa.float64(), "1e9 operations per second of bare products"),
        column("matmul_share", pa.float64(), "gflops / gemm_gflops"),
        column("max_abs_diff", pa.float64(), "largest difference of a label's log-probability "
                "from transformers-full in float32"),
        column("same_predictions", pa.bool_(), "whether all predictions are its predictions"),
    ]
)  # fmt: skip

SHOWN = {
    "system": "system", "dtype": "dtype", "task": "task", "k": "k", "shared": "shared",
    "batch": "batch", "rows": "rows", "passes": "passes", "rows_per_s": "rows/s",
    "peak_mib": "peak MiB", "matmul_share": "of GEMM", "max_abs_diff": "max diff",
    "same_predictions": "same",
}  # fmt: skip
_FORMATS = {
    "rows_per_s": "{:.2f}",
    "peak_mib": "{:,.0f}",
    "matmul_share": "{:.0%}",
    "max_abs_diff": "{:.1e}",
}


def frame(rows: list[dict]) -> pd.DataFrame:
    """Return the measurements as a table with the columns of `SCHEMA`."""
    table = pd.DataFrame(rows).reindex(columns=SCHEMA.names)
    return table.astype({"k": "Int32", "same_predictions": "boolean"})


def render(table: pd.DataFrame) -> str:
    """Return the table as text: one block per model."""
    blocks = []
    for model, part in table.groupby("model", sort=False):
        cells = [[_cell(row, name) for name in SHOWN] for row in part.to_dict("records")]
        where = f"{part['device'].iloc[0]}, {part['threads'].iloc[0]} threads"
        text = aligned([list(SHOWN.values()), *cells])
        blocks.append(f"{model} ({where})\n{text}")
    return "\n\n".join(blocks)


def _cell(row: dict, name: str) -> str:
    value = row[name]
    if name == "rows_per_s" and row["status"] != "ok":
        return row["status"]
    if pd.isna(value):
        return ""
    if name == "same_predictions":
        return "yes" if value else "NO"
    return _FORMATS.get(name, "{}").format(value)


def targets(table: pd.DataFrame) -> list[Target]:
    """Compare what was measured with what is promised; what was not measured is absent."""
    return [*_speed(table), *_equality(table)]


def _speed(table: pd.DataFrame) -> Iterator[Target]:
    wanted = [
        ("rte", 16, "lm-eval", 25.0),
        ("rte", 16, "transformers-full", 14.0),
        ("mnli", 32, "lm-eval", 40.0),
    ]
    part = table[table["status"] == "ok"]
    for (model, dtype), group in part.groupby(["model", "dtype"], sort=False):
        rates = group.set_index(["task", "k", "system"])["rows_per_s"]
        for task, k, system, factor in wanted:
            if (task, k, system) in rates.index and (task, k, "fairshot") in rates.index:
                found = rates[task, k, "fairshot"] / rates[task, k, system]
                text = f"{model} {dtype}, {task}, k = {k}: at least {factor:g} x {system}"
                yield Target(text, f"{found:.1f} x", bool(found >= factor))


def _equality(table: pd.DataFrame) -> Iterator[Target]:
    part = table[(table["dtype"] == "float32") & table["max_abs_diff"].notna()]
    for system, group in part.groupby("system", sort=False):
        worst = group["max_abs_diff"].max()
        text = f"{system} float32: within 1e-4 of transformers-full, same predictions"
        same = bool(group["same_predictions"].all())
        yield Target(text, f"{worst:.1e}", bool(worst <= 1e-4) and same)
