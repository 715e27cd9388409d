"""How much memory a job takes on each GPU and on each node, by where its model states live."""

from dataclasses import dataclass

from ..models.shapes import CHUNK, QUERIES, Architecture
from ..runtime.placement import BUCKET, Placement

FLOAT32 = 4
SCORE = 12
"""Bytes that attention without a fused kernel keeps of a score, in soft-capping and softmax."""


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
    shape: Architecture, element: int, tokens: int, answers: int, row: int, checkpointing: bool
) -> int:
    """Return the bytes of a forward and backward pass, weights apart.

    Over `tokens` at once, in rows of up to `row`; `answers` are the tokens of answers that the
    process asks for in a step.

    With checkpointing only the inputs of layers are kept, and one layer is computed again at a
    time (Chen et al. 2016). The gradients of one layer's states come on top, and the logits where
    these are predicted: in `element` bytes and in float32, and the gradients of both.
    """
    layer = kept_per_token(shape, element, row)
    inputs = element * shape.width
    layers = shape.layers * inputs + layer if checkpointing else shape.layers * layer
    # The last norm.
    ends = _normed(shape, element) * shape.width
    logits = answers * shape.vocabulary * (2 * element + 3 * FLOAT32)
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


GIB = 2**30

LIVE = 1_050_000_000
"""Parameters that stage 3 holds gathered at most (`stage3_max_live_parameters` and what it
fetches ahead)."""
SUBGROUP = 1_000_000_000
"""Parameters that stage 3 updates at once (`sub_group_size`)."""
CONTEXT = 1.0 * GIB
"""Bytes of a GPU that PyTorch does not count: CUDA's context, libraries, buffers of NCCL."""
SLACK = 1.08
"""What the allocator takes for each byte that it gives: blocks are rounded up and cut."""
LIBRARIES = {"gpu": 5.0 * GIB, "cpu": 2.5 * GIB}
"""Host memory of a process before it holds a model."""
LONGEST_ROW = 512
"""Tokens of a query that the plan reckons with, and of a demonstration."""
SHORT_ROW = 32
"""Tokens of the shortest queries, which makes most rows in a batch."""
FOUR_BIT = 0.5 + 1 / 64 + FLOAT32 / (64 * 256)
"""Bytes of a weight in 4 bits, with its share of a scale and of that one's (`models.four_bit`)."""
QUANTISING = 14
"""Bytes held for each weight of a layer while it is put into 4 bits, by bitsandbytes' operations on
a CPU: in float32, scaled, as the number of a value, and packed."""


@dataclass(frozen=True)
class Quantised:
    """What is in 4 bits: `weights` in all, of the `largest` layer. What is trained is in float32
    then, and a layer keeps `beside` bytes of a token for its gradients."""

    weights: int
    largest: int
    beside: int = 0


@dataclass(frozen=True)
class Demand:
    """What a job computes, wherever it runs.

    `element` is the bytes of a weight; `trainable` and `added` are parameters; `rows` those of an
    optimiser step and `row` the tokens of one, `answers` those of its answer; rows that are read
    with each label word count `readings` times. `context` is the tokens of a shared context, and
    `batch_tokens` those of a scoring batch. `backward` tells whether gradients pass the layers.
    `states` are numbers in float32 that each process keeps in host memory, `second_moments` those
    of Adafactor, whose tensors stay whole (None: AdamW's two for each trained parameter). Frozen
    weights may be `quantised`, which stay whole too.
    """

    shape: Architecture
    element: int
    trainable: int = 0
    added: int = 0
    rows: int = 0
    row: int = LONGEST_ROW
    context: int = 0
    batch_tokens: int = 0
    backward: bool = True
    answers: int = 1
    readings: int = 1
    states: int = 0
    second_moments: int | None = None
    quantised: Quantised | None = None

    @property
    def parameters(self) -> int:
        """Return all parameters, those that the method adds included."""
        return self.shape.parameters + self.added

    @property
    def whole(self) -> bool:
        """Return whether tensors can neither be cut up nor moved to the host."""
        return self.second_moments is not None or self.quantised is not None

    @property
    def trained_element(self) -> int:
        """Return the bytes of a trained number."""
        return self.element if self.quantised is None else FLOAT32

    @property
    def weights(self) -> float:
        """Return the bytes of all weights."""
        if self.quantised is None:
            return self.element * self.parameters
        rest = self.element * (self.shape.parameters - self.quantised.weights)
        return rest + FOUR_BIT * self.quantised.weights + FLOAT32 * self.added


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one GPU as PyTorch counts them, of one GPU as a whole, and of one node's host.

    Without a GPU the first two are 0.
    """

    allocated: int
    gpu: int
    host: int


def estimate(demand: Demand, placement: Placement, per_node: int, nodes: int) -> MemoryEstimate:
    """Return the most memory that a job takes, with `per_node` processes on each of `nodes`.

    With `per_node` 0 the job is one process without a GPU. What is held all the time adds up; of
    backward pass, optimiser step and scoring the largest counts.
    """
    processes = max(1, per_node) * nodes
    held = holding(demand, placement, processes)
    phases = max(
        passing(demand, placement, processes),
        stepping(demand, placement, processes),
        scoring(demand),
    )
    if not per_node:
        # What is trained is there as base weights and as those of the best epoch, too.
        copies = 2 * demand.trained_element * demand.trainable
        host = max(held + copies + phases + FLOAT32 * demand.states, loading(demand))
        return MemoryEstimate(0, 0, int(LIBRARIES["cpu"] + SLACK * host))
    allocated = int(held + phases)
    kept = on_host(demand, placement, processes) + FLOAT32 * demand.states
    each = LIBRARIES["gpu"] + SLACK * kept
    # In shards, one process reads the weights, and later keeps a copy of what is trained.
    whole = demand.element * demand.parameters if placement.zero_stage == 3 else 0
    return MemoryEstimate(allocated, int(SLACK * allocated + CONTEXT), int(per_node * each + whole))


def holding(demand: Demand, placement: Placement, processes: int) -> float:
    """Return the bytes of weights, gradients and optimiser states of one process.

    AdamW keeps two moments in float32, Adafactor fewer numbers. DeepSpeed's stages add master
    weights, in float32 too, where they are a copy, and so does Adafactor for weights in half
    precision. Frozen weights have none of these. A paged optimiser is taken to have room.
    """
    stage, offload = placement.zero_stage, placement.offload
    element, trained = demand.element, demand.trainable
    share = trained / processes if stage else trained
    weights = demand.weights
    if stage == 3:
        gathered = element * min(demand.parameters, LIVE)
        weights = gathered + (weights / processes if offload != "parameters" else 0)
        weights = min(weights, element * demand.parameters * (1 + 1 / processes))
    if not trained:
        return weights
    if demand.whole:
        element, moments = demand.trained_element, demand.second_moments
        moments = 2 * trained if moments is None else moments
        copies = FLOAT32 * trained if element < FLOAT32 else 0
        return weights + element * trained + FLOAT32 * moments + copies
    master = FLOAT32 if stage else 0
    optimiser = 0 if offload != "none" else (2 * FLOAT32 + master) * share
    gradients = element * (trained if stage < 2 else share)
    if offload != "none":
        # They go to the host as they come; one parameter's are on their way.
        gradients = element * min(trained, demand.shape.largest_layer)
    bucket = element * min(BUCKET, trained) if stage == 3 else 0
    return weights + gradients + optimiser + bucket


def loading(demand: Demand) -> float:
    """Return the most bytes that the host holds while weights are put into 4 bits, layer by layer;
    of other weights there is no more than later."""
    if demand.quantised is None:
        return 0
    return demand.element * demand.shape.parameters + QUANTISING * demand.quantised.largest


def passing(demand: Demand, placement: Placement, processes: int) -> float:
    """Return the bytes of a forward and backward pass of one process, beyond what is held."""
    if not demand.rows or not demand.trainable:
        return 0
    answers = -(-demand.rows // processes) * demand.answers
    tokens = tokens_at_once(demand, placement, processes)
    # Without a stage gradients are copied to be reduced, where there are several processes.
    copied = placement.zero_stage == 0 and processes > 1 and not demand.whole
    reduced = placement.zero_stage in (1, 2) or copied
    buffer = demand.element * min(BUCKET, demand.trainable)
    bucket = buffer if reduced else 0
    if placement.zero_stage == 3:
        bucket = buffer / processes  # what it is reduced to
    if not demand.backward:
        return bucket + scoring_bytes(demand.shape, demand.element, tokens, answers, demand.row)
    beside = 0
    if demand.quantised is not None:
        layers = 1 if placement.checkpointing else demand.shape.layers
        beside = tokens * layers * demand.quantised.beside + _unpacked(demand)
    return (
        bucket
        + beside
        + training_bytes(
            demand.shape, demand.element, tokens, answers, demand.row, placement.checkpointing
        )
    )


def _unpacked(demand: Demand) -> int:
    """Return the bytes of the largest layer's weights, which are there as long as it computes."""
    return 0 if demand.quantised is None else demand.element * demand.quantised.largest


def tokens_at_once(demand: Demand, placement: Placement, processes: int) -> int:
    """Return the padded tokens of one pass: bounded by the placement, but for a single row."""
    tokens = -(-demand.rows // processes) * demand.row
    bound = placement.micro_tokens or demand.batch_tokens
    return min(tokens, max(bound, demand.row * demand.readings))


def stepping(demand: Demand, placement: Placement, processes: int) -> float:
    """Return the bytes that the optimiser's step holds for a moment.

    Stages 1 and 2 make gradients flat and, in half precision, turn them into float32. Stage 3 does
    that by groups, with AdamW's two intermediate values (elsewhere its kernel is fused). For its
    norm the largest gradient is turned into double precision. Adafactor turns gradients in half
    precision into float32 first, and then holds three values for each element of a tensor.
    """
    stage, trained = placement.zero_stage, demand.trainable
    if demand.second_moments is not None:
        gradients = FLOAT32 * trained if demand.trained_element < FLOAT32 else 0
        return gradients + 3 * FLOAT32 * min(trained, demand.shape.largest_layer)
    if not trained or not stage or placement.offload != "none":
        return 0
    share = trained / processes
    norm = 2 * FLOAT32 * min(trained, demand.shape.largest_layer)
    if stage == 3:
        return max(3 * FLOAT32 * min(share, SUBGROUP), norm)
    return max((demand.element + (FLOAT32 if demand.element < FLOAT32 else 0)) * share, norm)


def scoring(demand: Demand) -> float:
    """Return the bytes of scoring: the context's keys and values, and a batch of rows behind it.

    The context is encoded in chunks. Where scores are held, no more are than of `CHUNK` keys.
    """
    shape, element = demand.shape, demand.element
    tokens = max(demand.batch_tokens, demand.row)
    rows = max(1, tokens // SHORT_ROW)
    chunk = min(demand.context, CHUNK)
    seen = chunk if shape.holds_scores else 1
    batch = scoring_bytes(shape, element, tokens, rows, max(demand.row, seen))
    encoding = scoring_bytes(shape, element, chunk, 1, seen) if chunk else 0
    context = context_bytes(shape, element, demand.context)
    return context + max(batch, encoding) + _unpacked(demand)


def on_host(demand: Demand, placement: Placement, processes: int) -> float:
    """Return the bytes of one process in host memory, besides its libraries.

    Below stage 3 the base weights, from which each seed starts, and a copy of what is trained;
    those in 4 bits as they are before that. With offload AdamW's moments and two intermediate
    values, master weights, gradients in float32 and as they come, and the weights in their own
    precision.
    """
    element, trained = demand.element, demand.trainable
    base = element * (demand.shape.parameters + trained) if placement.zero_stage < 3 else 0
    if placement.offload == "none":
        return base
    states = (6 * FLOAT32 + 2 * element) * trained / processes
    moved = element * demand.parameters / processes if placement.offload == "parameters" else 0
    return base + states + moved
