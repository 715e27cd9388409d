"""Bytes that a transformer holds besides its weights, for each token or row that it reads."""

from .blueprints import Architecture

FLOAT32 = 4
QUERIES = 1024
"""Queries whose attention scores are held at once where no fused kernel serves."""


def kept_per_token(shape: Architecture, element: int) -> int:
    """Return the bytes that one layer keeps of a token for its backward pass.

    Korthikanti et al. 2022 (Reducing activation recomputation in large transformer models) count 34
    times the width for a layer of GPT-3's kind in 16 bits: inputs of both norms (4), of the
    projections to queries, keys and values (2), these (6), the attention's result (2), the inputs of
    the feed-forward part (2), of its activation and what comes out (16), two dropout masks (2). The
    attention matrix, 5 × heads × tokens in theirs, is left out: fused kernels do not hold it. Here
    with other widths, with `element` bytes a number, and with as many inner states as the activation
    keeps. RMS norms of transformers compute in float32 and keep that copy as well.
    """
    norms = 2 * shape.width * ((FLOAT32 + element) if shape.wide_norms else element)
    projected = shape.width + shape.query + 2 * shape.key_value + shape.query
    inner = shape.width + shape.inner_states * shape.feed_forward
    return norms + element * (projected + inner) + 2 * shape.width


def working_per_token(shape: Architecture, element: int) -> int:
    """Return the bytes that a layer holds of a token at once, while it computes and keeps nothing.

    Its input, the sum and a norm's result, and the larger of what attention and feed-forward part
    hold: queries, keys and values before and after their positions are put in, or inner states.
    """
    attention = 2 * (shape.query + 2 * shape.key_value) + shape.query
    inner = shape.working_states * shape.feed_forward
    norm = 2 * FLOAT32 * shape.width if shape.wide_norms else 0
    return element * (3 * shape.width + max(attention, inner)) + norm


def training_bytes(
    shape: Architecture, element: int, tokens: int, rows: int, checkpointing: bool
) -> int:
    """Return the bytes of a forward and backward pass over `tokens` in `rows`, weights apart.

    With checkpointing only the inputs of layers are kept, and one layer is computed again at a time
    (Chen et al. 2016). The gradients of one layer's states come on top, and the logits of each row's
    last position: in `element` bytes and in float32, and the gradients of both.
    """
    layer = kept_per_token(shape, element)
    inputs = element * shape.width
    layers = shape.layers * inputs + layer if checkpointing else shape.layers * layer
    # Embeddings and the last norm.
    ends = 2 * (element + (FLOAT32 if shape.wide_norms else 0)) * shape.width
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
