"""What the protocols are: which kind of draw each shows to its methods."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """The kinds of draw (see `draws.DRAWS`) of methods that use a context, and that train."""

    in_context: str
    trained: str


PROTOCOLS = {
    "fair": Protocol("fair", "fair"),
    "mosbach2023": Protocol("mosbach2023-in-context", "mosbach2023-fine-tuning"),
}
DRAWS = tuple(
    dict.fromkeys(kind for each in PROTOCOLS.values() for kind in (each.in_context, each.trained))
)
UNBALANCED = ("mosbach2023-fine-tuning",)
"""Kinds of draw that do not take as many rows of each label, so that any k will do."""
