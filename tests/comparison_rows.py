"""Comparisons made by hand: two families, two methods, RTE with HANS."""

import pandas as pd
from fewshot.analysis import statistics_schemas, stats
from fewshot.analysis.evidence import Evidence

CATALOG = {
    "models": {
        name: {"title": name.upper(), "family": name[:3], "parameters": size}
        for name, size in (("opt-s", 1e8), ("opt-l", 1e9), ("gpt-s", 1e8))
    },
    "methods": {
        "icl": {
            "title": "In context",
            "family": "in_context",
            "kind": "in-context",
            "trained": False,
        },
        "ft": {"title": "Fine-tuned", "family": "full", "kind": "pattern-ft", "trained": True},
        "van": {"title": "Vanilla", "family": "full", "kind": "vanilla-ft", "trained": True},
    },
    "patterns": {"minimal": {"title": "minimal"}, "gpt-3": {"title": "gpt-3"}},
    "tasks": {
        "rte": {"title": "RTE", "labels": ["yes", "no"]},
        "hans": {"title": "HANS", "labels": ["yes", "no"]},
    },
    "main": {"k": 16, "selection": "last", "margin": 3},
}


def row(**given):
    """Return one comparison of ten seeds; what is not given is a plain, open case."""
    floor = stats.permutation_floor(10)
    base = {
        **{"family": "same model", "protocol": "fair", "task": "rte", "evaluation_set": "hans"},
        **{
            "domain": "out",
            "k": 16,
            "selection": "last",
            "score": "accuracy",
            "model": "opt-s",
            "method": "ft",
        },
        **{"pattern": "minimal", "reference_model": "opt-s", "reference_method": "icl"},
        **{"reference_pattern": "minimal", "seeds": 10, "seeds_planned": 10, "rows": 30_000},
        **{"clusters": 303, "difference": 0.03, "low": -0.01, "high": 0.07},
        **{"error": 0.02, "df": 100.0, "t_low": 0.01, "t_high": 0.05},
        **{"improvement": 0.75, "floor_permutation": floor},
        **{"family_size": 49, "status": "ok"},
    }
    names = ("crossed", "bootstrap", "paired", "permutation", "welch")
    p = {f"p_{name}": 0.2 for name in names}
    corrected = {f"holm_{name}": 0.6 for name in names} | {f"bh_{name}": 0.3 for name in names}
    return base | p | corrected | given


def evidence(*rows):
    frame = pd.DataFrame(rows).reindex(columns=statistics_schemas.COMPARISONS.names)
    return Evidence(comparisons=frame)
