"""Random generators by name: the only source of randomness."""

import hashlib

import numpy as np


def generator(*parts: str | int) -> np.random.Generator:
    """Return the generator that belongs to `parts`, for example ("shots", task, seed).

    The same parts give the same stream on every machine; streams of different parts are
    independent, so no result depends on the order in which draws are made.
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
