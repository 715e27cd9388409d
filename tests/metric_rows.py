"""Rows of metrics made by hand, for tables of known numbers."""

import pandas as pd
from fewshot.analysis import result_schemas, row_errors

CELL = {"protocol": "fair", "task": "nli", "model": "opt-s", "method": "ft", "pattern": "minimal"}
CELL |= {"k": 16, "evaluation_set": "nli", "domain": "in"}


def metric_rows(accuracies, *, n=100, **cell) -> pd.DataFrame:
    """Return the overall metrics of one cell, a seed for each accuracy; None is missing.

    `cell` names further columns; errors are those of the seeds that are there.
    """
    base = CELL | {"selection": "last", "epoch": 1, "majority": 0.5, "status": "ok"} | cell
    found = [
        {"n": 0, "correct": 0, "status": "missing"} | dict.fromkeys(row_errors.ERRORS)
        if value is None
        else {"n": n, "correct": round(n * value), "accuracy": value}
        for value in accuracies
    ]
    rows = [base | {"seed": seed} | values for seed, values in enumerate(found)]
    return pd.DataFrame(rows).reindex(columns=result_schemas.METRICS.names)
