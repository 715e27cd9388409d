"""Floating-point operations of prompts and training, from a model's shape and counts of tokens.

A multiply-add counts as two operations (Kaplan et al. 2020, section 2.1). What is counted are the
matrix products: layers, attention, and the readout where an answer is read off. Left out is what
works element by element (norms, biases, activations, softmax, rotary positions, the optimiser),
padding, and forward passes repeated to save memory: model FLOPs, as PaLM's (Chowdhery et al. 2022,
appendix B).

Of N weights in the layers' products a token takes 2 N operations forward (Kaplan's N: embeddings
are looked up, not multiplied). A token that attends to c keys, itself among them, takes besides
2 · 2 · L · d · c, queries with keys and weights with values, of L layers and d = heads × head size.
PaLM's 12 L H Q T for a token of training is three times this with c = T; with the mean c = T / 2 of
causal attention it is Kaplan's 2 L T d forward. Here c is counted exactly: a row of q tokens behind
P keys has q P + q (q + 1) / 2 of them, and in a layer with a sliding window what of these the
window reaches.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..models.shapes import Architecture

READOUTS = ("lm_head",)
"""Modules that only meet the positions where an answer is read off."""


@dataclass(frozen=True)
class ModelSize:
    """What of a model decides its operations; all but `weights` is 0 where the shape is not known.

    `weights` are those of the layers' products, or all parameters where the shape is not known;
    `attention` is layers × width of all heads' queries, `sliding` the part of it that is in layers
    where a token attends to `window` tokens at most; `cache` are the elements of a token's keys and
    values, `readout` those of the readout over the vocabulary, `width` what meets it.
    """

    weights: int
    attention: int = 0
    cache: int = 0
    readout: int = 0
    width: int = 0
    known: bool = False
    sliding: int = 0
    window: int = 0


@dataclass(frozen=True)
class Counts:
    """Counts of some prompts: `rows` (one that is read n times counts n times), the `shared` tokens
    that all begin with, the sums over rows of the `own` tokens behind these and of their `squares`,
    and `learned` keys before them all. `answers` tokens are asked for, if not one for each row: in
    training, and with channel scoring, where a row counts for each label."""

    rows: int
    shared: float
    own: float
    squares: float
    learned: int = 0
    answers: float = 0


@dataclass(frozen=True)
class TrainingPasses:
    """How often a training step multiplies, in forward passes, by what: the weights of the
    `layers`' products, `attention`, and the `readout` or head. `beside` are weights that the method
    adds to the layers' products; `predicting` those of them that a prediction is multiplied with
    too, since they cannot be folded into the layers'. See `families.training_passes`."""

    layers: int
    attention: int
    readout: int
    beside: int = 0
    predicting: int = 0


def model_size(shape: Architecture) -> ModelSize:
    """Return what of an architecture decides its operations.

    Of a guessed shape nothing is used but the number of parameters, as T-Few does.
    """
    if not shape.exact:
        return ModelSize(shape.parameters)
    products = [
        product for product in shape.modules if product.inputs and product.name not in READOUTS
    ]
    return ModelSize(
        weights=sum(product.weight * product.count for product in products),
        attention=shape.layers * shape.query,
        cache=2 * shape.layers * shape.key_value,
        readout=shape.vocabulary * shape.readout,
        width=shape.readout,
        known=True,
        sliding=shape.sliding_layers * shape.query,
        window=shape.sliding_window,
    )


def head(size: ModelSize, settings: Mapping, labels: int) -> int:
    """Return the weights that a position meets where an answer is read off.

    `settings` are the method's: the readout over the vocabulary, or a classification head.
    """
    if settings.get("head") != "classification" or not size.known:
        return size.readout
    dense = size.width**2 if settings.get("classifier") != "linear" else 0
    return dense + size.width * labels


def forward(
    size: ModelSize, tokens: float, squares: float, keys: float = 0, rows: float = 1
) -> float:
    """Return the operations of `rows` rows through the layers: 2 N Σq and attention.

    `tokens` is Σq over rows of q tokens, `squares` Σq², `keys` the K in front of each row.
    """
    return products(size, tokens) + attention(size, tokens, squares, keys, rows)


def products(size: ModelSize, tokens: float) -> float:
    """Return the operations of the layers' products with weights: 2 N Σq."""
    return 2 * size.weights * tokens


def attention(
    size: ModelSize, tokens: float, squares: float, keys: float = 0, rows: float = 1
) -> float:
    """Return the operations of attention: 4 L d (K Σq + Σ q (q + 1) / 2).

    Behind K keys in a layer with a sliding window, rows of the mean length decide: all keys count
    where these end within the window, else those that it reaches. That is exact where rows are
    equally long, where the window is no longer than K, and where all rows end on one side of it.
    """
    reached = keys * tokens + (squares + tokens) / 2
    if not size.sliding or rows * keys + tokens <= rows * size.window:
        return 4 * size.attention * reached
    near = rows * _near(size.window, tokens / rows, keys)
    return 4 * ((size.attention - size.sliding) * reached + size.sliding * near)


def _near(window: int, length: float, keys: float) -> float:
    """Return how many keys the tokens of a row reach, which stands behind `keys` and ends past the
    window: W q - n (n - 1) / 2, as the first n = W - K tokens have fewer than W keys."""
    first = max(0, window - keys)
    return window * length - first * (first - 1) / 2


def context(size: ModelSize, counts: Counts) -> float:
    """Return the operations of encoding what all prompts begin with, once: 2 N P + …"""
    return forward(size, counts.shared, counts.shared**2, counts.learned)


def cached(size: ModelSize, counts: Counts, answer: int) -> float:
    """Return the operations of all rows behind the encoded context: 2 N M Q + …, and `answer`
    weights for each row, or for each token of a text that is scored whole (`counts.answers`). Label
    words of several tokens are read off at one position more each, which is not counted."""
    keys = counts.shared + counts.learned
    own = forward(size, counts.own, counts.squares, keys, counts.rows)
    return own + 2 * answer * (counts.answers or counts.rows)


def uncached(size: ModelSize, counts: Counts, answer: int) -> float:
    """Return the operations of all rows, each read whole: 2 N M (P + Q) + …

    That is the context encoded for each row, and each row behind it.
    """
    return counts.rows * context(size, counts) + cached(size, counts, answer)


def training(
    size: ModelSize,
    counts: Counts,
    epochs: int,
    passes: TrainingPasses,
    answer: int,
) -> float:
    """Return the operations of training on rows, `epochs` times.

    A backward pass multiplies twice for each product forward: for the gradient of what goes in, and
    for that of the weights, where these are trained. So all weights trained take 6 N for a token
    (Kaplan et al. 2020, table 1) and frozen ones 4 N, to which LoRA and adapters add 6 for each
    weight of their own; what other families add is no product, or small. Attention multiplies
    what comes from the row on both sides: three times its forward pass. Where only the head is
    trained nothing flows back through the layers. Counted although not needed: gradients in the
    first layer where nothing below is trained, at most 1 / (2 L) of all.
    """
    once = passes.layers * products(size, counts.own)
    once += passes.attention * attention(
        size, counts.own, counts.squares, counts.learned, counts.rows
    )
    once += passes.readout * 2 * answer * (counts.answers or counts.rows)
    once += 3 * 2 * passes.beside * counts.own
    return epochs * once


def predictions_to_break_even(
    fixed: float, each: float, other_fixed: float, other_each: float
) -> float:
    """Return from how many predictions M on the first way costs no more than the other.

    Solves fixed + M · each = other_fixed + M · other_each. 0 where the first is never dearer,
    infinite where it never gets cheaper. Not a number where a cost is not known.
    """
    if math.isnan(fixed + each + other_fixed + other_each):
        return math.nan
    if fixed <= other_fixed and each <= other_each:
        return 0.0
    if each >= other_each:
        return math.inf
    return max(0.0, (fixed - other_fixed) / (other_each - each))
