"""How many parameters the method families train, by a model's shape and a method's settings.

Functions that end in `_matrices` yield those of the trained tensors that have rows and columns, as
far as the shape is known.
"""

from collections.abc import Iterable, Mapping

from ..models.shapes import Architecture, Module
from ..models.widths import units_of

Matrix = tuple[int, int, int]
"""How many trained matrices there are of so many rows and columns."""


def nothing(shape: Architecture, settings: Mapping) -> int:
    """Return that nothing is counted."""
    return 0


def no_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Return that there are none."""
    return ()


def full(shape: Architecture, settings: Mapping) -> int:
    """Count everything; a readout of its own is unused, and frozen, behind another head."""
    unused = settings.get("head") == "classification" and not shape.tied
    return shape.parameters - (shape.vocabulary * shape.readout if unused else 0)


def full_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield products and embeddings; a readout behind another head is not trained."""
    headed = settings.get("head") == "classification"
    for each in shape.modules:
        if each.inputs and not (headed and each.name == "lm_head"):
            yield each.count, each.outputs, each.inputs
        elif each.name.startswith("embed"):
            width = shape.width if each.name == "embed_positions" else shape.readout
            yield each.count, each.weight // width, width


def readout(shape: Architecture, settings: Mapping) -> int:
    """Count the readout, with a copy of the embeddings where it was tied to them."""
    return 0 if settings.get("head") == "classification" else shape.vocabulary * shape.readout


def readout_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Return the readout, if it is trained."""
    return ((int(readout(shape, settings) > 0), shape.vocabulary, shape.readout),)


def untied(shape: Architecture, settings: Mapping) -> int:
    """Count that copy."""
    return readout(shape, settings) if shape.tied else 0


def biases(shape: Architecture, settings: Mapping) -> int:
    """Count all biases, those of norms included; of a guessed shape, one per output of a layer."""
    if not shape.exact:
        return shape.layers * (8 * shape.width + 3 * shape.feed_forward)
    return sum(each.bias * each.count for each in shape.modules)


def lora(shape: Architecture, settings: Mapping) -> int:
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


def lora_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield both factors of each target."""
    for each in (each for each in shape.modules if each.name in settings.get("targets", ())):
        yield each.count, settings["rank"], each.inputs
        yield each.count, each.outputs, settings["rank"]


def linear_weights(shape: Architecture) -> tuple[int, int]:
    """Return the weights of all linear layers but the readout, and of the largest; (0, 0) where
    only their sum with others is known."""
    sizes = [
        (each.weight * each.count, each.weight)
        for each in shape.modules
        if each.inputs and each.name != "lm_head"
    ]
    return sum(every for every, _ in sizes), max((one for _, one in sizes), default=0)


def lora_inputs(shape: Architecture, settings: Mapping) -> int:
    """Return the elements that LoRA's modules read of one token, in all layers."""
    if not shape.exact:
        return shape.layers * (6 * shape.width + shape.feed_forward)
    targets = settings.get("targets", ())
    return sum(each.count * each.inputs for each in shape.modules if each.name in targets)


def ia3(shape: Architecture, settings: Mapping) -> int:
    """Count one factor for each key, value and inner feed-forward state (Liu et al. 2022)."""
    return shape.layers * (2 * shape.key_value + shape.feed_forward)


def embeddings(shape: Architecture, settings: Mapping) -> int:
    """Count the embeddings of the virtual tokens (Lester et al. 2021)."""
    return settings["virtual_tokens"] * shape.readout


def embedding_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Return the embeddings of the virtual tokens."""
    return ((1, settings["virtual_tokens"], shape.readout),)


def keys_and_values(shape: Architecture, settings: Mapping) -> int:
    """Count keys and values of the virtual tokens in every layer (Li and Liang 2021)."""
    return settings["virtual_tokens"] * 2 * shape.layers * shape.key_value


def encoded_tokens(shape: Architecture, settings: Mapping) -> int:
    """Count p-tuning's embeddings and their encoder (peft's PromptEncoder)."""
    width = shape.readout
    inner = units_of(settings["encoder_width"], width)
    between = _dense(width, inner) + _dense(inner, inner) + _dense(inner, width)
    if settings["encoder"] == "lstm":
        # Two layers in both directions: four gates, with weights from below, from before, biases.
        layers = [2 * 4 * inner * (below + inner + 2) for below in (width, 2 * inner)]
        between = sum(layers) + _dense(2 * inner, 2 * inner) + _dense(2 * inner, width)
    return embeddings(shape, settings) + between


def encoded_tokens_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield embeddings and the products of their encoder."""
    width = shape.readout
    inner = units_of(settings["encoder_width"], width)
    yield 1, settings["virtual_tokens"], width
    if settings["encoder"] != "lstm":
        yield from ((1, inner, width), (1, inner, inner), (1, width, inner))
        return
    for below in (width, 2 * inner):
        yield from ((2, 4 * inner, below), (2, 4 * inner, inner))
    yield from ((1, 2 * inner, 2 * inner), (1, width, 2 * inner))


def encoded_prefix(shape: Architecture, settings: Mapping) -> int:
    """Count a prefix's embeddings, as wide as keys, and their encoder (peft's PrefixEncoder)."""
    width = shape.key_value
    inner = units_of(settings["encoder_width"], width)
    embeddings = settings["virtual_tokens"] * width
    return embeddings + _dense(width, inner) + _dense(inner, 2 * shape.layers * width)


def encoded_prefix_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield embeddings and the products of their encoder."""
    width = shape.key_value
    inner = units_of(settings["encoder_width"], width)
    yield from ((1, settings["virtual_tokens"], width), (1, inner, width))
    yield 1, 2 * shape.layers * width, inner


def bottlenecks(shape: Architecture, settings: Mapping) -> int:
    """Count the adapters: one for each of the sub-layers that have them (Houlsby et al. 2019)."""
    inner = units_of(settings["bottleneck"], shape.width)
    each = _dense(shape.width, inner) + _dense(inner, shape.width)
    return shape.layers * len(settings["sublayers"]) * each


def bottleneck_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield the products down and up of each adapter."""
    inner, each = units_of(settings["bottleneck"], shape.width), len(settings["sublayers"])
    yield shape.layers * each, inner, shape.width
    yield shape.layers * each, shape.width, inner


def fusions(shape: Architecture, settings: Mapping) -> int:
    """Count queries with their biases, keys and values over the tasks' adapters of each sub-layer
    (Pfeiffer et al. 2021)."""
    places = shape.layers * len(settings["sublayers"])
    return places * (3 * shape.width**2 + shape.width)


def fusion_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield the three matrices of each sub-layer."""
    yield 3 * shape.layers * len(settings["sublayers"]), shape.width, shape.width


def fused_bottlenecks(shape: Architecture, settings: Mapping) -> int:
    """Count these, and the frozen adapters of all tasks: what each token is multiplied with."""
    tasks = len(settings["start_from"]["tasks"])
    return fusions(shape, settings) + tasks * bottlenecks(shape, settings)


def bottlenecks_beside(shape: Architecture, settings: Mapping) -> int:
    """Count an adapter for each feed-forward block (He et al. 2022)."""
    return bottlenecks(shape, {**settings, "sublayers": ("feed-forward",)})


def prefix_and_bottlenecks(shape: Architecture, settings: Mapping) -> int:
    """Count a prefix's encoder, and these adapters."""
    return encoded_prefix(shape, settings) + bottlenecks_beside(shape, settings)


def prefix_and_bottleneck_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield those of both."""
    yield from encoded_prefix_matrices(shape, settings)
    yield from bottleneck_matrices(shape, {**settings, "sublayers": ("feed-forward",)})


def _dense(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


def key_and_value_matrices(shape: Architecture, settings: Mapping) -> Iterable[Matrix]:
    """Yield the matrices of virtual tokens, one for each layer and head."""
    width = shape.query // shape.heads
    heads = shape.key_value // width
    return ((2 * shape.layers * heads, settings["virtual_tokens"], width),)
