"""The training benchmark's table: its columns, how it is printed, and which targets it reaches."""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from .printing import Target, aligned, column

OURS, PADDED, DYNAMIC = "fairshot", "trainer-padded", "trainer-dynamic"
EQUAL = {"loss_diff": ("losses", 1e-4), "logprob_diff": ("log-probabilities", 1e-3)}
"""Differences in float32 up to which training is the same.

Single log-probabilities of the two Trainers differ from each other by 1e-4 after an epoch. Adam
divides a gradient by its own size, which should let rounding move weights whose gradient is next to
nothing; losses, which average over rows, agree more closely.
"""

SCHEMA = pa.schema(
    [
        column("system", pa.string(), "what was measured", False),
        column("model", pa.string(), "shape of the model; its weights are random", False),
        column("k", pa.int32(), "rows that are trained on", False),
        column("step_s", pa.float64(), "seconds of an optimiser step, median of the passes", False),
        column("eval_rows_per_s", pa.float64(), "RTE rows scored per second after each epoch, "
               "median of the passes", False),
        column("peak_mib", pa.float64(), "peak memory of training and evaluation beyond the "
               "weights, MiB", False),
        column("final_loss", pa.float64(), "mean loss of the last epoch", False),
        column("hans_rows_per_s", pa.float64(), "HANS rows scored per second, median of the "
               "passes", False),
        column("evaluation_share", pa.float64(), "share of evaluation in the time of training "
               "and evaluation", False),
        column("losses", pa.list_(pa.float64()), "mean loss of each epoch", False),
        column("loss_diff", pa.float64(), "largest difference of an epoch's loss from fairshot's",
               False),
        column("logprob_diff", pa.float64(), "largest difference of a label's log-probability "
               "from fairshot's, RTE rows after the last epoch", False),
        column("dtype", pa.string(), "float32 or bfloat16 (the Trainer: autocast)", False),
        column("device", pa.string(), "'cpu' or 'cuda'", False),
        column("threads", pa.int32(), "threads of the process", False),
        column("seed", pa.int32(), "data seed of the draw", False),
        column("epochs", pa.int32(), "epochs, each followed by an evaluation", False),
        column("batch_size", pa.int32(), "rows of an optimiser step", False),
        column("learning_rate", pa.float64(), "rate after the warm-up", False),
        column("steps", pa.int32(), "optimiser steps of a pass", False),
        column("longest", pa.int32(), "tokens of the longest training row", False),
        column("rows", pa.int32(), "RTE rows of each evaluation", False),
        column("hans_rows", pa.int32(), "HANS rows", False),
        column("passes", pa.int32(), "trainings that were timed", False),
    ]
)  # fmt: skip

SHOWN = {
    "system": ("system", "{}"),
    "step_s": ("s/step", "{:.3f}"),
    "eval_rows_per_s": ("RTE rows/s", "{:.1f}"),
    "hans_rows_per_s": ("HANS rows/s", "{:.1f}"),
    "peak_mib": ("peak MiB", "{:,.0f}"),
    "evaluation_share": ("evaluation", "{:.0%}"),
    "final_loss": ("final loss", "{:.6f}"),
    "loss_diff": ("loss diff", "{:.1e}"),
    "logprob_diff": ("logprob diff", "{:.1e}"),
    "passes": ("passes", "{}"),
}
"""Heading and format of the columns that are printed."""
CELL = ["model", "k", "dtype"]


def frame(rows: list[dict]) -> pd.DataFrame:
    """Return the measurements as a table with the columns of `SCHEMA`."""
    return pd.DataFrame(rows).reindex(columns=SCHEMA.names)


def render(table: pd.DataFrame) -> str:
    """Return the table as text: for each model, k and type its systems, then fairshot's ratios."""
    blocks = []
    for (model, k, dtype), part in table.groupby(CELL, sort=False):
        cells = [
            [form.format(row[name]) for name, (_, form) in SHOWN.items()]
            for row in part.to_dict("records")
        ]
        first = part.iloc[0]
        about = (
            f"{model}, {dtype}, {first['device']}, {first['threads']} threads: RTE, k = {k}, "
            f"batch {first['batch_size']}, {first['epochs']} epochs; {first['rows']} RTE and "
            f"{first['hans_rows']} HANS rows scored"
        )
        lines = [[heading for heading, _ in SHOWN.values()], *cells, *_ratios(part)]
        blocks.append(f"{about}\n{aligned(lines)}")
    return "\n\n".join(blocks)


def _ratios(part: pd.DataFrame) -> Iterator[list[str]]:
    """Yield a line for each other system: how many times faster fairshot is, and its memory."""
    rows = part.set_index("system")
    for other in rows.index.drop(OURS, errors="ignore") if OURS in rows.index else ():
        found = {
            "system": f"{OURS} : {other}",
            "step_s": f"{rows['step_s'][other] / rows['step_s'][OURS]:.1f} x",
            "peak_mib": f"{rows['peak_mib'][OURS] / rows['peak_mib'][other]:.0%}",
        }
        for name in ("eval_rows_per_s", "hans_rows_per_s"):
            found[name] = f"{rows[name][OURS] / rows[name][other]:.1f} x"
        yield [found.get(name, "") for name in SHOWN]


def targets(table: pd.DataFrame) -> list[Target]:
    """Compare what was measured with what the project promises; what was not measured is absent."""
    return [
        target
        for cell, part in table.groupby(CELL, sort=False)
        for target in _of_cell("{}, k = {}, {}".format(*cell), part.set_index("system"))
    ]


def _of_cell(where: str, rows: pd.DataFrame) -> Iterator[Target]:
    wanted = [
        ("step_s", PADDED, 4.0, "training steps"),
        ("step_s", DYNAMIC, 2.5, "training steps"),
        ("eval_rows_per_s", PADDED, 5.0, "evaluation of RTE rows"),
        ("hans_rows_per_s", PADDED, 15.0, "evaluation of HANS rows"),
    ]
    others = [name for name in (PADDED, DYNAMIC) if name in rows.index and OURS in rows.index]
    for name, other, factor, what in wanted:
        if other in others:
            ratio = rows[name][OURS] / rows[name][other]
            found = 1 / ratio if name == "step_s" else ratio
            text = f"{where}: {what} {factor:g} x {other}"
            yield Target(text, f"{found:.1f} x", bool(found >= factor))
    if PADDED in others:
        found = rows["peak_mib"][OURS] / rows["peak_mib"][PADDED]
        text = f"{where}: at most 60 % of the peak memory of {PADDED} beyond the weights"
        yield Target(text, f"{found:.0%}", bool(found <= 0.6))
    if others and (rows["dtype"] == "float32").all():
        for name, (what, limit) in EQUAL.items():
            found = rows.loc[others, name].max()
            text = f"{where}: {what} of all systems within {limit:.0e}"
            yield Target(text, f"{found:.1e}", bool(found <= limit))


def share(table: pd.DataFrame) -> str:
    """Return a line for each of fairshot's cells: what share of its time goes into evaluation."""
    lines = []
    for row in table[table["system"] == OURS].to_dict("records"):
        lines.append(
            f"{row['model']}, k = {row['k']}, {row['dtype']}: {row['evaluation_share']:.0%} of "
            f"fairshot's time goes into evaluating {row['rows']} rows after each epoch"
        )
    return "\n".join(lines)
