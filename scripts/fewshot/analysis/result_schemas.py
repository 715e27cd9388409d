"""Schemas of what is counted from runs; what runs store is in `schemas`, what is tested in
`statistics_schemas`."""

import pyarrow as pa

from ..schemas import CELL, NAME, SUBSETS, column


def _error(score: str) -> list[pa.Field]:
    """Return the columns of how far the mean of an accuracy over a cell's seeds may be off."""
    text = "standard error of its mean over the cell's seeds: other draws, rows like these"
    return [
        column(f"{score}_error", pa.float32(), text, True),
        column(f"{score}_df", pa.float32(), "degrees of freedom of that error", True),
    ]


METRICS = pa.schema(
    [
        *CELL,
        column("selection", NAME, "checkpoint, as in main.selection, or 'each' epoch of the curve"),
        column("epoch", pa.int32(), "epochs trained"),
        column("evaluation_set", NAME, "task that was scored, or 'train' (loss only)"),
        column("domain", NAME, "'in' or 'out' of the training domain, or 'train'"),
        *SUBSETS,
        column("label", pa.int16(), "gold label; null: all labels", nullable=True),
        column(
            "n",
            pa.int32(),
            "rows counted (0 where the status is not 'ok'): all of the set, those of the test half "
            "(selection held-out, in domain), or a curve's sample",
        ),
        column("correct", pa.int32(), "rows whose highest-ranked label word is gold"),
        column("accuracy", pa.float64(), "correct / n", nullable=True),
        *_error("accuracy"),
        column(
            "clusters",
            pa.int32(),
            "clusters of rows, or rows, that the errors rest on; null: not all answers were kept",
            nullable=True,
        ),
        column(
            "vocabulary_accuracy",
            pa.float64(),
            "share right whose top token starts a word",
            nullable=True,
        ),
        column("mean_logprob", pa.float64(), "mean log-prob of the gold word", nullable=True),
        column("majority", pa.float64(), "share of the set's most frequent label", nullable=True),
        column("mcc", pa.float64(), "Matthews correlation, over all rows of the set", True),
        column("f1", pa.float64(), "F1 of the set's second label; null for 3 labels and up", True),
        column("macro_f1", pa.float64(), "mean of the labels' F1", True),
        column("brier", pa.float64(), "Brier score (0 to 2) of the label words, scaled to 1", True),
        column("ece", pa.float64(), "expected calibration error of the same, 15 bins", True),
        column(
            "roc_area",
            pa.float64(),
            "area under the ROC curve; for 3 labels and up the mean of each against the rest",
            True,
        ),
        column(
            "roc_area_error",
            pa.float64(),
            "its standard error over rows, or clusters of them",
            True,
        ),
        column("accuracy_batch", pa.float64(), "accuracy after batch calibration", True),
        *_error("accuracy_batch"),
        column("accuracy_contextual", pa.float64(), "accuracy after contextual calibration", True),
        *_error("accuracy_contextual"),
        column("accuracy_pmi", pa.float64(), "accuracy ranked by mutual information", True),
        *_error("accuracy_pmi"),
        column(
            "accuracy_bias", pa.float64(), "accuracy with a bias fitted to held-out shots", True
        ),
        *_error("accuracy_bias"),
        column("accuracy_affine", pa.float64(), "accuracy with an affine map fitted to them", True),
        *_error("accuracy_affine"),
        column("status", NAME, "'ok', 'does not fit' or 'missing'"),
    ]
)


OUTCOMES = pa.schema(
    [
        *CELL,
        column("epoch", pa.int32(), "epochs trained (0: no training)"),
        column("evaluation_set", NAME, "task that was scored"),
        column(
            "n",
            pa.int32(),
            "rows: all of the set or, of the task's own in a study with best_epoch: held-out, "
            "those of the test half in a row besides",
        ),
        column(
            "correct",
            pa.binary(),
            "which rows are right, in ascending id: eight a byte, the first the highest bit",
        ),
        column("correct_batch", pa.binary(), "the same after batch calibration", True),
        column("correct_contextual", pa.binary(), "the same after contextual calibration", True),
        column("correct_pmi", pa.binary(), "the same ranked by mutual information", True),
        column("correct_bias", pa.binary(), "the same with a bias fitted to held-out shots", True),
        column("correct_affine", pa.binary(), "the same with an affine map fitted to them", True),
    ]
)


COSTS = pa.schema(
    [
        *CELL,
        column("device", NAME, "kind and name of the processor"),
        column("processes", pa.int32(), "processes, of which each has a GPU of its own, if any"),
        column("seconds_load", pa.float64(), "reading model and data: the seed's share of the job"),
        column("seconds_train", pa.float64(), "passes over the shots and their updates"),
        column("seconds_curve", pa.float64(), "scoring for the learning curve"),
        column("seconds_score", pa.float64(), "scoring all rows of the kept epochs"),
        column(
            "seconds_other",
            pa.float64(),
            "all else that was timed, but for what a study measures outside the task",
        ),
        column("device_seconds", pa.float64(), "all of these × processes: GPU seconds on GPUs"),
        column("peak_memory_mib", pa.float64(), "largest memory of a process or its GPU", True),
        column("predicted_memory_mib", pa.float64(), "that of a GPU as planned", True),
        column("parameters", pa.int64(), "parameters of the model", True),
        column("trainable", pa.int64(), "parameters that were trained", True),
        column("steps", pa.int64(), "optimiser steps (0: no training)", True),
        column("epochs", pa.int64(), "passes over the shots (0: no training)", True),
        column("train_tokens", pa.int64(), "tokens of one pass over the shots, on average", True),
        column("virtual_tokens", pa.int64(), "learned tokens or keys before every prompt"),
        column("rows", pa.int64(), "evaluation rows, of all sets", True),
        column("scored_rows", pa.int64(), "rows scored in seconds_curve and seconds_score", True),
        column("context_tokens", pa.float64(), "tokens all rows begin with, mean over rows", True),
        column("row_tokens", pa.float64(), "a row's tokens behind these, mean over rows", True),
        column("tokens_read", pa.int64(), "tokens that scoring all rows once did read", True),
        column(
            "shape_known", pa.bool_(), "whether FLOPs rest on the model's shape, with attention"
        ),
        column(
            "flops_train",
            pa.float64(),
            "operations of training, or of reading the rows to retrieve from",
            True,
        ),
        column(
            "flops_context",
            pa.float64(),
            "operations of encoding each context once",
            True,
        ),
        column("flops_cached", pa.float64(), "operations of a row behind it, mean", True),
        column("flops_uncached", pa.float64(), "operations of a row's whole prompt, mean", True),
        column(
            "disk_bytes",
            pa.int64(),
            "bytes kept: text shown, states, or weights trained",
            True,
        ),
        column("cache_bytes", pa.int64(), "keys and values of the encoded context", True),
    ]
)


def _interval(name: str, text: str) -> list[pa.Field]:
    """Return the columns of a number and of its interval."""
    ends = [
        column(f"{name}_{end}".removeprefix("estimate_"), pa.float64(), f"{which} end of its 95 % "
               "interval, for other draws and clusters; null: nothing tells how it varies", True)
        for end, which in (("low", "lower"), ("high", "upper"))
    ]  # fmt: skip
    return [column(name, pa.float64(), text, True), *ends]


BIAS = pa.schema(
    [
        *[field for field in CELL if field.name != "seed"],
        column("selection", NAME, "checkpoint, as in main.selection"),
        column("evaluation_set", NAME, "probe that was scored"),
        column("attribute", NAME, "social attribute, the probe's column subset"),
        column("group", NAME, "social group; null: all of the attribute", True),
        column(
            "measure",
            NAME,
            "'fraction neutral': share of pairs called neutral; 'net neutral': mean probability of "
            "neutral, given that a label word is said; 'lean': that of entailment less that of "
            "contradiction",
        ),
        *_interval("estimate", "mean of the measure over seeds and pairs"),
        *_interval("difference", "the group less the mean of the attribute's others; null: all"),
        *_interval("change", "the mean less that of the same model and pattern without shots"),
        *_interval("difference_change", "the difference less that without shots"),
        column("seeds", pa.int32(), "seeds that are done"),
        column("seeds_planned", pa.int32(), "seeds that were planned"),
        column("rows", pa.int32(), "pairs of the group, or of all"),
        column("clusters", pa.int32(), "clusters of pairs: occupations"),
        column("status", NAME, "'ok', 'i/n seeds', 'does not fit' or 'missing'"),
    ]
)


BEHAVIOUR = pa.schema(
    [
        column("model", NAME, "embedded model"),
        column("task", NAME, "what it was adapted to"),
        column("method", NAME, "in-context or fine-tuned"),
        column("pattern", NAME, "pattern of the prompt"),
        column("k", pa.int32(), "demonstrations or training rows"),
        column("flipped", pa.bool_(), "whether their label words were exchanged"),
        column("seed", pa.int32(), "data seed of their draw"),
        column("evaluation_set", NAME, "task that was scored"),
        column("subset", NAME, "part of it: construction, or HANS's subcase"),
        column("n", pa.int32(), "rows"),
        column("correct", pa.int32(), "rows whose likelier label word is gold, or the flipped one"),
    ]
)


ESTIMATE = pa.schema(
    [
        *[field for field in CELL if field.name != "seed"],
        column("first_seed", pa.int32(), "first data seed of the job"),
        column("last_seed", pa.int32(), "its last one"),
        column("gpus", pa.int32(), "GPUs, over all nodes (0: one process on a CPU)"),
        column("nodes", pa.int32(), "nodes"),
        column("seconds_start", pa.float64(), "imports, checks, storing predictions"),
        column("seconds_load", pa.float64(), "reading weights and rows, each seed's model"),
        column("seconds_train", pa.float64(), "passes over the shots and their updates"),
        column("seconds_curve", pa.float64(), "scoring for the learning curve"),
        column("seconds_score", pa.float64(), "scoring all rows of the kept epochs"),
        column("seconds_write", pa.float64(), "keeping the best weights, writing adapters"),
        column("seconds", pa.float64(), "all of these: from the job's start to its end"),
        column("device_hours", pa.float64(), "the same in hours × GPUs (threads of a CPU)"),
        column(
            "limit_minutes", pa.int32(), "time limit of the first attempt, as the site allows it"
        ),
        column("result_bytes", pa.int64(), "bytes of its predictions and of the weights it keeps"),
        column("fits", pa.bool_(), "whether its context is expected to fit the window"),
        column("held_out", pa.bool_(), "whether it scores shots held out in turn"),
        column("finished", pa.bool_(), "whether its results are there"),
    ]
)


CHOICES = pa.schema(
    [
        column("protocol", NAME, "sampling and scoring rules"),
        column("task", NAME, "training task"),
        column("model", NAME, "model"),
        column("k", pa.int32(), "total number of shots"),
        column("seed", pa.int32(), "data seed"),
        column("choice", NAME, "name of the choice, as in the study"),
        column("way", NAME, "way of choosing, see choices.WAYS"),
        column("evaluation_set", NAME, "task that was scored"),
        column("domain", NAME, "'in' or 'out' of the training domain"),
        column("accuracy", pa.float64(), "accuracy of what was chosen, or the mean", True),
        column(
            "n", pa.int32(), "rows that it rests on: a curve's sample where not all were scored"
        ),
        column("method", NAME, "method that was chosen; null for the mean", True),
        column("pattern", NAME, "its pattern", True),
        column("order", pa.int32(), "draw.order of its task; 0: shots as drawn", True),
        column("epoch", pa.int32(), "its epoch (0: no training)", True),
        column("calibration", NAME, "'none' or 'contextual'", True),
        column(
            "mean_logprob",
            pa.float64(),
            "mean log-probability of the held-out shots' labels under it, among the label words",
            True,
        ),
        column("candidates", pa.int32(), "candidates that there were (0: see status)"),
        column("flops_held_out", pa.float64(), "operations of all candidates' held-out runs", True),
        column("device_seconds_held_out", pa.float64(), "their seconds × processes", True),
        column(
            "flops_runs",
            pa.float64(),
            "operations of all candidates' runs on all shots without the evaluation rows: training "
            "and encoding the context once",
            True,
        ),
        column(
            "device_seconds_runs",
            pa.float64(),
            "seconds × processes of these runs, evaluation rows included",
            True,
        ),
        column("status", NAME, "'ok', 'does not fit', or 'missing': a candidate has no run yet"),
    ]
)
