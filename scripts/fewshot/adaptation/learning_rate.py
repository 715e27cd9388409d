"""The learning rate of each step."""

import math


def rate(step: int, total: int, settings: dict) -> float:
    """Return the learning rate of a step (from 0): a linear rise over the warm-up, then constant
    or, by `schedule`, falling towards 0 on a line or on half a cosine.

    The warm-up's last step is the first with the full rate; no step has rate 0. Behind the warm-up
    it is that of transformers' `get_scheduler`, whose own rises from 0, a step later.
    """
    warmup = math.ceil(settings["warmup"] * total - 1e-9)
    return settings["learning_rate"] * _share(step, warmup, total, settings.get("schedule"))


def _share(step: int, warmup: int, total: int, schedule: str | None) -> float:
    """Return the share of the full rate that a step has."""
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "linear":
        return (total - step) / (total - warmup)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / (total - warmup))))
    return 1.0
