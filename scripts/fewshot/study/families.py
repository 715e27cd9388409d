"""The method families: all that the study, its rules and its plans must know of each.

A family is a module of `methods/`, an entry of FAMILIES and a method of config/methods.yaml that
names it. No job imports this module, so that a new entry runs no other family's jobs again: jobs,
metrics and pages get what they need of a family as plain values (settings, `JobInputs`, catalog).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import unknown
from ..models.shapes import Architecture
from . import parameter_counts as counts
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
ANSWERS = ("answer_loss", "end_token", "start_from")
"""Settings that a family which trains may have with the head `language-model`."""
CONTEXTS = ("train_context", "score_context")
"""Settings of such a method that read the shots in a context too."""
DISTILLATION = ("unlabelled_rows", "temperature", "rounds")
"""Settings that such a method needs with a loss of context distillation, and has with no other."""
DISTILLING = ("distil-label-words", "distil-vocabulary")
"""These losses (`methods.losses.DISTILLATION`)."""
TRAINING_CHOICES = ("steps", "optimizer", "scale_parameter", "schedule", "train_patterns")
"""Settings that every family which trains may have; `steps` stands in the place of `epochs`."""


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
    trained: Callable[[Architecture, Mapping], int] = counts.nothing
    """Parameters that it trains in a model of this shape, without a classification head."""
    added: Callable[[Architecture, Mapping], int] = counts.nothing
    """Those of them that it adds to the model."""
    heads: tuple[str, ...] = ("language-model", "classification")
    """The heads that it can be scored with."""
    matrices: Callable[[Architecture, Mapping], Iterable[counts.Matrix]] = counts.no_matrices
    """Those of the tensors it trains that have rows and columns, as far as the shape is known."""
    starts_as_base: bool = False
    """Whether the model computes what it did before, as long as nothing is trained."""
    distils: bool = False
    """Whether it is trained by context distillation alone."""
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
    products: Callable[[Architecture, Mapping], int] = counts.nothing
    """Those that it adds which each token of a row is multiplied with."""
    four_bit: bool = False
    """Whether the weights of linear layers are in 4 bits (see `models.four_bit`)."""
    folds: bool = False
    """Whether these can be folded into the model's weights, so that predictions cost no more."""
    fuses: str = ""
    """The family of the other tasks' adapters that it keeps as they are, and attends over."""
    fixed: Mapping[str, object] = field(default_factory=dict)
    """Settings of other families that it has with one value alone."""
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


def readable_settings(settings: Mapping) -> set[str]:
    """Return the settings that a method's family and head read, whether it has them or not."""
    chosen = {*COMMON, *required_settings(settings)} - {"title", "base"}
    if family_of(settings).trains:
        chosen |= {*TRAINING_CHOICES}
        if settings["head"] == "language-model":
            chosen |= {*ANSWERS, *CONTEXTS, *DISTILLATION}
    return chosen


def read_settings(settings: Mapping) -> dict:
    """Return what changes a method's results: what its family and head read, without a title.

    An entry may inherit more from its base: what other families and heads need.
    """
    chosen = readable_settings(settings)
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


def second_moments(shape: Architecture, settings: Mapping, labels: int) -> int | None:
    """Return how many numbers Adafactor keeps in training (Shazeer and Stern 2018): one for each
    row and each column of a matrix, and one for each element of another tensor.

    None where the method's optimiser is AdamW. What is not known to be a matrix counts as none.
    """
    if settings.get("optimizer") != "adafactor":
        return None
    matrices = [*family_of(settings).matrices(shape, settings)]
    if settings.get("head") == "classification":
        dense = settings["classifier"] == "dense-relu-linear"
        matrices += [(1, labels, shape.readout), (int(dense), shape.readout, shape.readout)]
    saved = sum(count * (rows * columns - rows - columns) for count, rows, columns in matrices)
    return trainable(shape, settings, labels) - saved


def training_passes(shape: Architecture, settings: Mapping) -> dict[str, int]:
    """Return the fields of `flops.TrainingPasses` of a method: how often training multiplies.

    Each product is taken forward, for the gradient of what goes in where gradients flow through
    the layers, and for that of the weights where these are trained. `settings` are the method's for
    one model, as `trainable` takes them.
    """
    family, headed = family_of(settings), settings.get("head") == "classification"
    products = family.products(shape, settings)
    return {
        "layers": 1 + family.backward + family.trains_layers,
        "attention": 3 if family.backward else 1,
        "readout": 1 + family.backward + (headed or family.trains_readout),
        "beside": products,
        "predicting": 0 if family.folds else products,
    }


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
        starts_as_base=True, trained=counts.full, matrices=counts.full_matrices,
        trains_layers=True, trains_readout=True,
        kinds={"language-model": "pattern-ft", "classification": "vanilla-ft"},
    ),
    "head_only": Family(
        WITH_LOSS,
        trained=counts.readout, added=counts.untied, matrices=counts.readout_matrices,
        recomputes=False, backward=False, trains_readout=True,
    ),
    "bitfit": Family(WITH_LOSS, starts_as_base=True, trained=counts.biases),
    "lora": Family(
        (*WITH_LOSS, "rank", "alpha", "dropout", "dora", "targets"),
        starts_as_base=True, trained=counts.lora, added=counts.lora, matrices=counts.lora_matrices,
        products=counts.lora, folds=True,
    ),
    # Weights in 4 bits are not the base model's, and could not take the update up without a loss.
    "qlora": Family(
        (*WITH_LOSS, "rank", "alpha", "dropout", "targets", "quantise"),
        trained=counts.lora, added=counts.lora, matrices=counts.lora_matrices,
        products=counts.lora, four_bit=True, fixed={"dora": False},
    ),
    "ia3": Family(WITH_LOSS, starts_as_base=True, trained=counts.ia3, added=counts.ia3),
    "adapter": Family(
        (*WITH_LOSS, "sublayers", "form", *BOTTLENECK),
        trained=counts.bottlenecks, added=counts.bottlenecks,
        matrices=counts.bottleneck_matrices, products=counts.bottlenecks,
    ),
    "adapter_fusion": Family(
        (*WITH_LOSS, "start_from", "sublayers", "form", *BOTTLENECK),
        heads=("language-model",), trained=counts.fusions, added=counts.fused_bottlenecks,
        matrices=counts.fusion_matrices, products=counts.fused_bottlenecks, fuses="adapter",
    ),
    "prompt_tuning": Family(
        (*WITH_LOSS, "virtual_tokens"),
        trained=counts.embeddings, added=counts.embeddings, matrices=counts.embedding_matrices,
    ),
    "prompt_from_text": Family(
        (*WITH_LOSS, "virtual_tokens", "initial_text"),
        trained=counts.embeddings, added=counts.embeddings, matrices=counts.embedding_matrices,
    ),
    "p_tuning": Family(
        (*WITH_LOSS, "virtual_tokens", "encoder", "encoder_width"),
        trained=counts.encoded_tokens, added=counts.encoded_tokens,
        matrices=counts.encoded_tokens_matrices,
    ),
    # transformers hands learned keys and values to the layers as a cache, which it drops where
    # activations are computed again.
    "prefix_tuning": Family(
        (*WITH_LOSS, "virtual_tokens"),
        trained=counts.keys_and_values, added=counts.keys_and_values,
        matrices=counts.key_and_value_matrices, learned_keys=True, recomputes=False,
    ),
    "reparametrised_prefix": Family(
        (*WITH_LOSS, "virtual_tokens", "encoder_width"),
        trained=counts.encoded_prefix, added=counts.encoded_prefix,
        matrices=counts.encoded_prefix_matrices, learned_keys=True, recomputes=False,
    ),
    "context_tuning": Family(
        (*WITH_LOSS, "token_dropout"),
        trained=counts.keys_and_values, added=counts.keys_and_values,
        matrices=counts.key_and_value_matrices, learned_keys=True, recomputes=False,
    ),
    # Weight decay would move the first token too, which has no gradient.
    "cartridge": Family(
        (*WITH_LOSS, "virtual_tokens"), heads=("language-model",),
        starts_as_base=True, distils=True, trained=counts.keys_and_values,
        added=counts.keys_and_values, matrices=counts.key_and_value_matrices,
        learned_keys=True, recomputes=False, fixed={"rounds": 1, "weight_decay": 0.0},
    ),
    "mix_and_match": Family(
        (*WITH_LOSS, "virtual_tokens", "encoder_width", *BOTTLENECK),
        trained=counts.prefix_and_bottlenecks, added=counts.prefix_and_bottlenecks,
        matrices=counts.prefix_and_bottleneck_matrices, products=counts.bottlenecks_beside,
        learned_keys=True, recomputes=False,
        fixed={"form": "parallel", "sublayers": ["feed-forward"]},
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
