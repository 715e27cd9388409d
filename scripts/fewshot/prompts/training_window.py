"""Say of shots that are trained on with several patterns whether they fit with each of these."""

from collections.abc import Sequence

from .window import WindowChecker, check_cells


def check_training_patterns(
    checker: WindowChecker, cell: dict, cells: Sequence[dict], window: int
) -> dict[tuple, dict]:
    """Return (method, pattern, k, seed) of each of `cells` that has `train_patterns` → the row of
    `window.check_cells` of its longest shot with any of these.

    The arguments are those of `check_cells`; `checker` knows these patterns too. Raises UserError
    as that does, for the label words of these patterns.
    """
    found: dict[tuple, dict] = {}
    for item in cells:
        for name in item.get("train_patterns", ()):
            for seed in item["seeds"]:
                drawn = checker.shots[item["draw"], item["k"], seed]
                read = WindowChecker(
                    checker.tokenizer, checker.patterns, {"train": drawn}, checker.shots
                )
                asked = {**item, "pattern": name, "seeds": [seed]}
                (row,) = check_cells(read, cell, [asked], window)
                key = (item["method"], item["pattern"], item["k"], seed)
                longest = found.setdefault(key, row)
                found[key] = max(longest, row, key=lambda each: each["longest_tokens"])
    return found


def with_training_patterns(rows: list[dict], found: dict[tuple, dict]) -> list[dict]:
    """Return the rows of `check_cells` with what `check_training_patterns` found, where that is
    longer."""
    merged = []
    for row in rows:
        other = found.get(tuple(row[name] for name in ("method", "pattern", "k", "seed")), row)
        longer = other["longest_tokens"] > row["longest_tokens"]
        told = {key: other[key] for key in ("longest_tokens", "longest_row", "status")}
        merged.append({**row, **told} if longer else row)
    return merged
