"""What a study measures outside the task that a model is adapted to (key `forgetting`)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Forgetting:
    """Texts and tasks that are measured before and after adaptation: tasks with so many shots `k`
    in the context each, on `rows` rows at most. `name` tells one such setting from another."""

    texts: tuple[str, ...]
    tasks: tuple[str, ...]
    k: tuple[int, ...]
    rows: int
    name: str

    @classmethod
    def of(cls, told: Mapping) -> "Forgetting":
        """Return what the study's key says."""
        name = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
        lists = (tuple(told.get(key, ())) for key in ("text", "tasks", "k"))
        return cls(*lists, told["rows"], name)
