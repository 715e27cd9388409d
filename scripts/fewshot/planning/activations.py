"""Bytes that a transformer holds besides its weights, for each token or row that it reads."""

from ..models.blueprints import Architecture

FLOAT32 = 4
SCORE = 12
"""Bytes that attention without a fused kernel keeps of a score, in soft-capping and softmax."""
QUERIES = 1024
"""Queries whose attention scores are held at once where no fused kernel serves."""


def kept_per_token(shape: Architecture, element: int, row: int) -> int:
    """Return the bytes that one layer keeps of a token, in a row of `row`, for its backward pass.

    Korthikanti et al. 2022 (Reducing activation recomputation in large transformer models) count
    34 times the width for a layer of GPT-3's kind in 16 bits: inputs of both norms (4), of the
    projections to queries, keys and values (2), these (6), the attention's result (2), the inputs
    of the feed-forward part (2), of its activation and what comes out (16), two dropout masks (2).
    The attention matrix, 5 × heads × tokens in theirs, is left out where kernels are fused. Here
    with other widths, with `element` bytes a number, and with what transformers' modules keep
    besides: inner states by the activation, what norms that compute in float32 keep of that.
    """
    norms = shape.normed * _normed(shape, element)
    projected = shape.width + shape.query + 2 * shape.key_value + shape.query
    inner = shape.width + shape.inner_states * shape.feed_forward
    scores = shape.heads * row * SCORE if shape.holds_scores else 0
    return norms + element * (projected + inner + shape.extra) + 2 * shape.width + scores


def _normed(shape: Architecture, element: int) -> int:
    """Return the bytes that a norm keeps of a number: itself, or what it is in float32."""
    return (element, FLOAT32 + element, 2 * FLOAT32)[shape.norm_copies]


def working_per_token(shape: Architecture, element: int) -> int:
    """Return the bytes that a layer holds of a token at once, while it computes and keeps nothing.

    Its input, the sum and a norm's result, and the larger of what attention and feed-forward part
    hold: queries, keys and values before and after their positions are put in, or inner states.
    """
    attention = 2 * (shape.query + 2 * shape.key_value) + shape.query
    inner = shape.working_states * shape.feed_forward
    norm = 2 * FLOAT32 * shape.width if shape.norm_copies else 0
    return element * (3 * shape.width + max(attention, inner)) + norm


def training_bytes(
    shape: Architecture, element: int, tokens: int, rows: int, row: int, checkpointing: bool
) -> int:
    """Return the bytes of a forward and backward pass, weights apart.

    Over `tokens` at once; `rows` of up to `row` tokens are all that the process has in a step.

    With checkpointing only the inputs of layers are kept, and one layer is computed again at a
    time (Chen et al. 2016). The gradients of one layer's states come on top, and the logits of each
    row's last position: in `element` bytes and in float32, and the gradients of both.
    """
    layer = kept_per_token(shape, element, row)
    inputs = element * shape.width
    layers = shape.layers * inputs + layer if checkpointing else shape.layers * layer
    # The last norm.
    ends = _normed(shape, element) * shape.width
    logits = rows * shape.vocabulary * (2 * element + 3 * FLOAT32)
    return tokens * (layers + ends + working_per_token(shape, element)) + logits


def scoring_bytes(shape: Architecture, element: int, tokens: int, rows: int, row: int) -> int:
    """Return the bytes of scoring a batch of `tokens` in `rows` of up to `row` tokens.

    The logits of each row are held once in `element` bytes and twice in float32 (themselves, and
    their exponentials); attention with a mask of its own holds the scores of `QUERIES` queries at
    a time, thrice in float32.
    """
    logits = rows * shape.vocabulary * (element + 2 * FLOAT32)
    scores = min(QUERIES, tokens) * shape.heads * row * 3 * FLOAT32
    return tokens * working_per_token(shape, element) + max(logits, scores)


def context_bytes(shape: Architecture, element: int, tokens: int) -> int:
    """Return the bytes of the keys and values of a shared context: 2 × layers × width × tokens."""
    return 2 * shape.layers * shape.key_value * tokens * element
