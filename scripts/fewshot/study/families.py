"""The method families: all that the study, its rules and its plans must know of each.

A family is a module of `methods/`, an entry of FAMILIES and a method of config/methods.yaml that
names it. No job imports this module, so that a new entry runs no other family's jobs again: jobs,
metrics and pages get what they need of a family as plain values (settings, `JobInputs`, catalog).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..errors import unknown
from ..models.shapes import Architecture, Module
from ..models.widths import units_of
from .cells import IMPORTED

TRAINING = (
    *("learning_rate", "epochs", "batch_size", "warmup", "weight_decay", "gradient_clip"),
    *("curve_epochs", "curve_rows"),
)
"""Settings that every family which trains reads; those inherited from `base` count."""
WITH_LOSS = (*TRAINING, "loss")
"""These, and the name of one of `methods.losses.LOSSES`: for a family without a loss of its own."""
BOTTLENECK = ("bottleneck", "activation", "scale", "initialisation")
"""Settings of a bottleneck adapter, wherever it sits."""
HEADS = {"language-model": (), "classification": ("classifier",), "none": ()}
"""What is scored → the settings that it needs."""
COMMON = ("title", "base", "family", "head", "truncate")
"""Keys of config/methods.yaml that belong to no family."""
ANSWERS = ("answer_loss", "end_token")
"""Settings that a family which trains may have with the head `language-model`."""


def _nothing(shape: Architecture, settings: Mapping) -> int:
    return 0


@dataclass(frozen=True)
class Family:
    """What is told of a method family outside of its module."""

    settings: tuple[str, ...]
    """The settings that it needs, besides its head's."""
    trains: bool = True
    """Whether it trains on the shots."""
    shows_context: bool = False
    """Whether it shows the shots in front of each prompt."""
    baseline: bool = False
    """Whether it is one that others are held against: it has answers from the same shots, but
    neither trains the model nor shows it anything."""
    reads_model: bool = True
    """Whether it needs a language model; one that does not has a cell for each task and k alone."""
    without_shots: bool = False
    """Whether it runs with k = 0."""
    trained: Callable[[Architecture, Mapping], int] = _nothing
    """Parameters that it trains in a model of this shape, without a classification head."""
    added: Callable[[Architecture, Mapping], int] = _nothing
    """Those of them that it adds to the model."""
    heads: tuple[str, ...] = ("language-model", "classification")
    """The heads that it can be scored with."""
    learned_keys: bool = False
    """Whether its virtual tokens are keys and values in each layer, not tokens of the prompt."""
    recomputes: bool = True
    """Whether activations can be computed again in the backward pass, and this saves memory."""
    backward: bool = True
    """Whether gradients flow back through the layers."""
    trains_layers: bool = False
    """Whether it trains the weights of the layers' products."""
    trains_readout: bool = False
    """Whether it trains the readout over the vocabulary."""
    adds_products: bool = False
    """Whether what it adds are weights that each token is multiplied with."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Head → name by which figures and tables pick such methods, where not the usual one."""


def family_of(settings: Mapping) -> Family:
    """Return the family of a method's settings; raises UserError where there is none."""
    if settings["family"] not in FAMILIES:
        raise unknown("family", settings["family"], FAMILIES, "methods.yaml")
    return FAMILIES[settings["family"]]


def required_settings(settings: Mapping) -> tuple[str, ...]:
    """Return the settings that a method needs: those of its family and of its head."""
    return *family_of(settings).settings, *HEADS[settings["head"]]


def read_settings(settings: Mapping) -> dict:
    """Return what changes a method's results: what its family and head read, without a title.

    An entry may inherit more from its base: what other families and heads need.
    """
    answers = family_of(settings).trains and settings["head"] == "language-model"
    chosen = {*COMMON, *required_settings(settings), *(ANSWERS if answers else ())}
    chosen -= {"title", "base"}
    return {key: value for key, value in settings.items() if key in chosen}


def kind_of(settings: Mapping) -> str:
    """Return the kind of a method: its family, and its head where that is not the usual one."""
    suffix = "" if settings["head"] == "language-model" else f"-{settings['head']}"
    usual = settings["family"].replace("_", "-") + suffix
    return family_of(settings).kinds.get(settings["head"], usual)


def trainable(shape: Architecture, settings: Mapping, labels: int) -> int:
    """Return the parameters that a method trains, those of a classification head included.

    `settings` are the method's for one model (`targets` is the list for its family), `labels` the
    classes of the task.
    """
    return family_of(settings).trained(shape, settings) + head_parameters(shape, settings, labels)


def added(shape: Architecture, settings: Mapping, labels: int) -> int:
    """Return the parameters that a method adds to the model, a classification head included."""
    return family_of(settings).added(shape, settings) + head_parameters(shape, settings, labels)


def head_parameters(shape: Architecture, settings: Mapping, labels: int) -> int:
    """Return the parameters of a method's classification head on the readout's input; 0: none."""
    if settings.get("head") != "classification":
        return 0
    dense = settings.get("classifier", "dense-relu-linear") == "dense-relu-linear"
    baseline = "family" in settings and family_of(settings).baseline
    # Logistic regression on two labels has weights for one of them.
    rows = 1 if baseline and labels == 2 else labels
    return dense * shape.readout * (shape.readout + 1) + (shape.readout + 1) * rows


def training_passes(settings: Mapping) -> dict[str, int]:
    """Return the fields of `flops.TrainingPasses` of a method: how often training multiplies.

    Each product is taken forward, for the gradient of what goes in where gradients flow through
    the layers, and for that of the weights where these are trained.
    """
    family, headed = family_of(settings), settings.get("head") == "classification"
    return {
        "layers": 1 + family.backward + family.trains_layers,
        "attention": 3 if family.backward else 1,
        "readout": 1 + family.backward + (headed or family.trains_readout),
        "added": 3 * family.adds_products,
        "headed": int(headed),
    }


def _full(shape: Architecture, settings: Mapping) -> int:
    """Count everything; a readout of its own is unused, and frozen, behind another head."""
    unused = settings.get("head") == "classification" and not shape.tied
    return shape.parameters - (shape.vocabulary * shape.readout if unused else 0)


def _readout(shape: Architecture, settings: Mapping) -> int:
    """Count the readout, with a copy of the embeddings where it was tied to them."""
    return 0 if settings.get("head") == "classification" else shape.vocabulary * shape.readout


def _untied(shape: Architecture, settings: Mapping) -> int:
    """Count that copy."""
    return _readout(shape, settings) if shape.tied else 0


def _biases(shape: Architecture, settings: Mapping) -> int:
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


def _embeddings(shape: Architecture, settings: Mapping) -> int:
    """Count the embeddings of the virtual tokens (Lester et al. 2021)."""
    return settings["virtual_tokens"] * shape.readout


def _keys_and_values(shape: Architecture, settings: Mapping) -> int:
    """Count keys and values of the virtual tokens in every layer (Li and Liang 2021)."""
    return settings["virtual_tokens"] * 2 * shape.layers * shape.key_value


def _encoded_tokens(shape: Architecture, settings: Mapping) -> int:
    """Count p-tuning's embeddings and their encoder (peft's PromptEncoder)."""
    width = shape.readout
    inner = units_of(settings["encoder_width"], width)
    between = _dense(width, inner) + _dense(inner, inner) + _dense(inner, width)
    if settings["encoder"] == "lstm":
        # Two layers in both directions: four gates, with weights from below, from before, biases.
        layers = [2 * 4 * inner * (below + inner + 2) for below in (width, 2 * inner)]
        between = sum(layers) + _dense(2 * inner, 2 * inner) + _dense(2 * inner, width)
    return _embeddings(shape, settings) + between


def _encoded_prefix(shape: Architecture, settings: Mapping) -> int:
    """Count a prefix's embeddings, as wide as keys, and their encoder (peft's PrefixEncoder)."""
    width = shape.key_value
    inner = units_of(settings["encoder_width"], width)
    embeddings = settings["virtual_tokens"] * width
    return embeddings + _dense(width, inner) + _dense(inner, 2 * shape.layers * width)


def _bottlenecks(shape: Architecture, settings: Mapping) -> int:
    """Count the adapters: one for each of the sub-layers that have them (Houlsby et al. 2019)."""
    inner = units_of(settings["bottleneck"], shape.width)
    each = _dense(shape.width, inner) + _dense(inner, shape.width)
    return shape.layers * len(settings["sublayers"]) * each


def _prefix_and_bottlenecks(shape: Architecture, settings: Mapping) -> int:
    """Count a prefix's encoder, and an adapter for each feed-forward block (He et al. 2022)."""
    beside = _bottlenecks(shape, {**settings, "sublayers": ("feed-forward",)})
    return _encoded_prefix(shape, settings) + beside


def _dense(inputs: int, outputs: int) -> int:
    return (inputs + 1) * outputs


FAMILIES = {
    "in_context": Family(
        (),
        trains=False, shows_context=True, without_shots=True, heads=("language-model",),
        recomputes=False, backward=False,
    ),
    "ensemble": Family(
        ("shown",),
        trains=False, shows_context=True, heads=("language-model",),
        recomputes=False, backward=False,
    ),
    "retrieval": Family(
        ("shown", "similarity", "cached"),
        trains=False, shows_context=True, heads=("language-model",),
        recomputes=False, backward=False,
    ),
    IMPORTED: Family(("prompts",), trains=False),
    "full": Family(
        (*WITH_LOSS, "keep_weights"),
        trained=_full, trains_layers=True, trains_readout=True,
        kinds={"language-model": "pattern-ft", "classification": "vanilla-ft"},
    ),
    "head_only": Family(
        WITH_LOSS,
        trained=_readout, added=_untied, recomputes=False, backward=False, trains_readout=True,
    ),
    "bitfit": Family(WITH_LOSS, trained=_biases),
    "lora": Family(
        (*WITH_LOSS, "rank", "alpha", "dropout", "dora", "targets"),
        trained=_lora, added=_lora, adds_products=True,
    ),
    "ia3": Family(WITH_LOSS, trained=_ia3, added=_ia3),
    "adapter": Family(
        (*WITH_LOSS, "sublayers", "form", *BOTTLENECK),
        trained=_bottlenecks, added=_bottlenecks, adds_products=True,
    ),
    "prompt_tuning": Family(
        (*WITH_LOSS, "virtual_tokens"), trained=_embeddings, added=_embeddings
    ),
    "prompt_from_text": Family(
        (*WITH_LOSS, "virtual_tokens", "initial_text"), trained=_embeddings, added=_embeddings
    ),
    "p_tuning": Family(
        (*WITH_LOSS, "virtual_tokens", "encoder", "encoder_width"),
        trained=_encoded_tokens, added=_encoded_tokens,
    ),
    # transformers hands learned keys and values to the layers as a cache, which it drops where
    # activations are computed again.
    "prefix_tuning": Family(
        (*WITH_LOSS, "virtual_tokens"),
        trained=_keys_and_values, added=_keys_and_values, learned_keys=True, recomputes=False,
    ),
    "reparametrised_prefix": Family(
        (*WITH_LOSS, "virtual_tokens", "encoder_width"),
        trained=_encoded_prefix, added=_encoded_prefix, learned_keys=True, recomputes=False,
    ),
    # Most of what it adds is the prefix's encoder, which no token of a row is multiplied with.
    "mix_and_match": Family(
        (*WITH_LOSS, "virtual_tokens", "encoder_width", *BOTTLENECK),
        trained=_prefix_and_bottlenecks, added=_prefix_and_bottlenecks,
        learned_keys=True, recomputes=False,
    ),
    "label_counts": Family(
        ("answer",),
        trains=False, baseline=True, reads_model=False, without_shots=True, heads=("none",),
        recomputes=False, backward=False, kinds={"none": "label-counts"},
    ),
    "tfidf": Family(
        ("inverse_penalty",),
        trains=False, baseline=True, reads_model=False, heads=("none",),
        recomputes=False, backward=False, kinds={"none": "tfidf"},
    ),
    "hidden_state": Family(
        ("inverse_penalty",),
        trains=False, baseline=True, heads=("classification",),
        recomputes=False, backward=False, kinds={"classification": "hidden-state"},
    ),
}  # fmt: skip
