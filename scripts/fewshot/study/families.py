"""How many parameters a method trains, told from its settings and the model's shape: no torch."""

from collections.abc import Mapping

from ..models.shapes import Architecture, Module

CONTEXT_FAMILIES = ("in_context",)
"""Families that train nothing."""


def trainable(shape: Architecture, settings: Mapping, labels: int) -> int:
    """Return the parameters that a method trains, those of a classification head included.

    `settings` are the method's for one model (`targets` is the list for its family), `labels` the
    classes of the task. A family that is not known here counts as training everything, which is
    the most that it can.
    """
    count = FAMILIES.get(settings["family"], _full)(shape, settings)
    if settings["family"] in CONTEXT_FAMILIES or settings.get("head") != "classification":
        return count
    return count + head_size(shape, settings.get("classifier", "dense-relu-linear"), labels)


def head_size(shape: Architecture, classifier: str, labels: int) -> int:
    """Return the parameters of a classification head on the readout's input."""
    dense = shape.readout * (shape.readout + 1) if classifier == "dense-relu-linear" else 0
    return dense + (shape.readout + 1) * labels


def added(shape: Architecture, settings: Mapping, labels: int) -> int:
    """Return the parameters that a method adds to the model."""
    if settings["family"] in ("full", "bitfit", "head_only"):
        if settings.get("head") == "classification":
            return head_size(shape, settings.get("classifier", "dense-relu-linear"), labels)
        untied = settings["family"] == "head_only" and shape.tied
        return shape.vocabulary * shape.readout if untied else 0
    return trainable(shape, settings, labels) if settings["family"] in FAMILIES else 0


def _nothing(shape: Architecture, settings: Mapping) -> int:
    return 0


def _full(shape: Architecture, settings: Mapping) -> int:
    """Count everything; a readout of its own is unused, and frozen, behind another head."""
    unused = settings.get("head") == "classification" and not shape.tied
    return shape.parameters - (shape.vocabulary * shape.readout if unused else 0)


def _head_only(shape: Architecture, settings: Mapping) -> int:
    """Count the readout, with a copy of the embeddings where it was tied to them."""
    return 0 if settings.get("head") == "classification" else shape.vocabulary * shape.readout


def _bitfit(shape: Architecture, settings: Mapping) -> int:
    """Count all biases, those of norms included; of a guessed shape, one per output of a layer."""
    if not shape.exact:
        return shape.layers * (8 * shape.width + 3 * shape.feed_forward)
    return sum(each.bias * each.count for each in shape.modules)


def _lora(shape: Architecture, settings: Mapping) -> int:
    """Count rank × (inputs + outputs) of each target, and for DoRA its outputs (magnitudes)."""
    targets = settings.get("targets", ())
    modules = [each for each in shape.modules if each.name in targets]
    if not shape.exact:
        width, inner = shape.width, shape.feed_forward
        sizes = [(width, width)] * 4 + [(width, inner)] * 3
        modules = [Module("", 0, 0, shape.layers, *size) for size in sizes]
    magnitudes = 1 if settings.get("dora") else 0
    return sum(
        each.count * (settings["rank"] * (each.inputs + each.outputs) + magnitudes * each.outputs)
        for each in modules
    )


def _ia3(shape: Architecture, settings: Mapping) -> int:
    """Count one factor for each key, value and inner feed-forward state (Liu et al. 2022)."""
    return shape.layers * (2 * shape.key_value + shape.feed_forward)


def _prompt_tuning(shape: Architecture, settings: Mapping) -> int:
    """Count the embeddings of the virtual tokens (Lester et al. 2021)."""
    return settings["virtual_tokens"] * shape.readout


def _prefix_tuning(shape: Architecture, settings: Mapping) -> int:
    """Count keys and values of the virtual tokens in every layer (Li and Liang 2021)."""
    return settings["virtual_tokens"] * 2 * shape.layers * shape.key_value


FAMILIES = {
    "in_context": _nothing,
    "full": _full,
    "head_only": _head_only,
    "bitfit": _bitfit,
    "lora": _lora,
    "ia3": _ia3,
    "prompt_tuning": _prompt_tuning,
    "prefix_tuning": _prefix_tuning,
}
