"""Columns of everything that jobs store: rows, draws, predictions, curves, memory plan.

Declared here and nowhere else; `config/REFERENCE.md` prints their descriptions. What is computed
from runs has its schemas in `analysis/result_schemas.py`, so that a new column runs no job again.
"""

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa


def column(name: str, kind: pa.DataType, text: str, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": text})


NAME = pa.dictionary(pa.int32(), pa.string())


CELL = [
    column("protocol", NAME, "sampling and scoring rules: fair or mosbach2023"),
    column("task", NAME, "training task"),
    column("model", NAME, "model, as in config/models.yaml; none: no model is read"),
    column("method", NAME, "method, as in config/methods.yaml"),
    column("pattern", NAME, "pattern, as in config/patterns.yaml; none: no prompt is read"),
    column("k", pa.int32(), "total number of shots"),
    column("seed", pa.int32(), "data seed (0 where k = 0)"),
]


SUBSETS = [
    column("group", NAME, "coarse part of the evaluation set (HANS: heuristic)", nullable=True),
    column("subset", NAME, "fine part of the evaluation set (HANS: subcase)", nullable=True),
]


ROWS = pa.schema(
    [
        column("id", pa.int64(), "the row's number in the published split"),
        column("text_a", pa.string(), "first text"),
        column("text_b", pa.string(), "second text, null for tasks with one", nullable=True),
        column("label", pa.int16(), "gold label, an index into the task's labels"),
        *SUBSETS,
        column(
            "cluster",
            NAME,
            "rows that are not independent: of one template (HANS), or with one first text",
            nullable=True,
        ),
    ]
)


TEXTS = pa.schema(
    [
        column("id", pa.int64(), "the document's number in the published files, from 0"),
        column("text", pa.string(), "its text"),
    ]
)
"""Documents outside the tasks, on which forgetting is measured."""


SHOTS = pa.schema(
    [
        column("position", pa.int32(), "place in the context, from 0"),
        column("id", pa.int64(), "row of the training split"),
        column("label", pa.int16(), "its gold label"),
    ]
)


CHANGED_SHOTS = pa.schema(
    [
        *SHOTS,
        column("given", pa.int16(), "label that it is shown with, or trained on"),
        column(
            "words_a",
            pa.string(),
            "places of the first text's words that are shown, in order; empty: the text as it is",
        ),
        column("words_b", pa.string(), "the same of the second text"),
    ]
)
"""Draws of tasks with factors of the data (key `draw`); `label` stays the row's own."""


WINDOWS = pa.schema(
    [
        *CELL,
        column("context_tokens", pa.int32(), "tokens of the demonstrations, and of a chat's start"),
        column("longest_tokens", pa.int32(), "tokens of the longest full prompt"),
        column("longest_row", pa.string(), "that row, as set/id"),
        column(
            "shown_rows", pa.int32(), "evaluation rows whose texts are those of a shot (all sets)"
        ),
        column("window", pa.int32(), "tokens the model can read"),
        column("status", NAME, "'ok' or 'does not fit'"),
    ]
)


CURVES = pa.schema(
    [
        *CELL,
        column("epoch", pa.int32(), "epochs trained (0: no training)"),
        column("evaluation_set", NAME, "task that was scored, or 'train' for the training loss"),
        *SUBSETS,
        column("label", pa.int16(), "gold label (null for 'train')", nullable=True),
        column("sampled", pa.bool_(), "whether only the curve's sample of rows was counted"),
        column("n", pa.int32(), "rows"),
        column("correct", pa.int32(), "rows whose highest-ranked label word is gold"),
        column(
            "correct_vocabulary",
            pa.int32(),
            "correct rows whose top token starts a label word; null: not known of every such row",
            nullable=True,
        ),
        column("mean_logprob", pa.float64(), "mean log-probability of the gold label word"),
    ]
)


UNADAPTED = "none"
"""What stands for task, method and pattern of a model before any adaptation."""


FORGETTING = pa.schema(
    [
        *CELL,
        column("source", NAME, "text or other task that was scored"),
        column("kind", NAME, "'text' or 'task'"),
        column("shots", pa.int32(), "shots of that task in the context (0 of a text)"),
        column("id", pa.int64(), "document of the text, or row of the task's evaluation split"),
        column("tokens", pa.int32(), "tokens of the document that were predicted", nullable=True),
        column(
            "loss",
            pa.float64(),
            "mean of -log p(token | all before it in its piece) over these, in nats; null: a task, "
            "or a piece that does not fit the window",
            nullable=True,
        ),
        column(
            "correct",
            pa.bool_(),
            "whether the highest-ranked label word is gold; null: a text, a prompt that does not "
            "fit the window, or a method whose classification head has no label words",
            nullable=True,
        ),
    ]
)
"""What is measured outside a model's own task, before any adaptation (task, method and pattern are
'none', k is 0, seed that of the draw in the context, without shots the first) and after it, at the
last epoch."""


RANK_BY = "rank_by"
"""Metadata of row predictions: by what label words are ranked (see `prompts.patterns.ranking`)."""
CHARACTERS = "characters"
"""Metadata of row predictions ranked by it: the characters of each label word, a list in JSON."""


def ranking_metadata(rank_by: str, characters: Sequence[int]) -> dict[str, str]:
    """Return the metadata of row predictions that tell how label words are ranked."""
    lengths = {CHARACTERS: json.dumps(list(characters))} if rank_by == "characters" else {}
    return {RANK_BY: rank_by, **lengths}


def read_ranking(metadata: Mapping[bytes, bytes] | None) -> tuple[str, list[int]]:
    """Return by what label words are ranked and, where that needs them, their characters."""
    found = metadata or {}
    lengths = found.get(CHARACTERS.encode(), b"[]").decode()
    return found.get(RANK_BY.encode(), b"sum").decode(), json.loads(lengths)


def predictions_schema(labels: int) -> pa.Schema:
    """Return the schema of row predictions over `labels` label words.

    Null is what results made elsewhere do not tell: tokens of words, the normaliser, and whether
    the top token starts a label word where none of the words was the most probable text. With
    channel scoring log-probability and tokens are those of the row's text behind each label word,
    and the last two are null: there would be one for each word.
    """
    words = [
        column(f"logprob_{i}", pa.float32(), f"log-probability of label word {i}, over its tokens")
        for i in range(labels)
    ]
    tokens = [
        column(f"tokens_{i}", pa.int16(), f"tokens of label word {i} behind this prompt", True)
        for i in range(labels)
    ]
    return pa.schema(
        [
            *CELL,
            column("epoch", pa.int32(), "epochs trained (0: no training)"),
            column("last", pa.bool_(), "whether that is the run's last epoch"),
            column(
                "best",
                pa.bool_(),
                "whether that is the best epoch in domain by the run's curve, the earliest of "
                "equals; with best_epoch: held-out the curve counts the choice half alone",
            ),
            column("evaluation_set", NAME, "task that was scored"),
            column("id", pa.int64(), "row of the evaluation split"),
            column("label", pa.int16(), "gold label, an index into the evaluation set's labels"),
            column("gold", NAME, "gold label by name"),
            column("predicted", NAME, "predicted label by name, also one of the evaluation set"),
            column("correct", pa.bool_(), "whether that is the gold label"),
            *words,
            *tokens,
            column(
                "logsumexp", pa.float32(), "log of the sum of exponentials over all logits", True
            ),
            column(
                "argmax_is_label", pa.bool_(), "whether the top token starts a label word", True
            ),
        ]
    )


MEMORY_PLAN = pa.schema(
    [
        column("model", NAME, "name of the model"),
        column("method", NAME, "name of the method"),
        column("k", pa.int32(), "shots of the largest cell, which the row describes"),
        column("gpus", pa.int32(), "GPUs, over all nodes (0: one process on a CPU)"),
        column("nodes", pa.int32(), "nodes"),
        column("zero_stage", pa.int8(), "DeepSpeed ZeRO stage"),
        column("offload", NAME, "what lies in host memory: none, optimizer, parameters (and both)"),
        column("micro_tokens", pa.int32(), "padded tokens of one pass (0: nothing is trained)"),
        column("checkpointing", pa.bool_(), "whether activations are computed again"),
        column("gpu_gb", pa.float64(), "expected memory of a GPU, in 2^30 bytes"),
        column("host_gb", pa.float64(), "expected memory of a node's host, in 2^30 bytes"),
        column("parameters", pa.int64(), "parameters of the model"),
        column("trainable", pa.int64(), "parameters that are trained, a new head's included"),
        column("largest_layer", pa.int64(), "parameters of the largest module"),
        column("shape_known", pa.bool_(), "whether the model's shape is known, or guessed"),
    ]
)
