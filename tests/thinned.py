"""Variants of a parametrised test that show the same: which are tried always, and which seldom."""

from collections.abc import Collection, Iterable

import pytest


def thinned(cases: Iterable, fast: Collection = (), slow: Collection = ()) -> list:
    """Return the parameters `cases`: those in `fast` are for `make test`, those in `slow` for
    `make test-slow`, and all others for `make test-weekly`.

    Raises ValueError for a case that is not there.
    """
    cases = list(cases)
    if lost := [case for case in (*fast, *slow) if case not in cases]:
        raise ValueError(f"no such cases: {lost}")
    marks = [
        () if c in fast else pytest.mark.slow if c in slow else pytest.mark.weekly for c in cases
    ]
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark)
        for case, mark in zip(cases, marks, strict=True)
    ]
