"""Schemas of what is tested: comparisons, the questions beside them, and variance components."""

import pyarrow as pa

from ..schemas import NAME, column

TESTS = ("crossed", "bootstrap", "paired", "welch", "permutation")
"""The tests of a comparison, whose p-values are corrected; the first decides."""


COMPARISONS = pa.schema(
    [
        column(
            "family",
            NAME,
            "'same model', 'matrix', 'matrix across patterns', or 'baseline' minus in context",
        ),
        column("protocol", NAME, "sampling and scoring rules"),
        column("task", NAME, "training task"),
        column("evaluation_set", NAME, "task that was scored"),
        column("domain", NAME, "'in' or 'out' of the training domain"),
        column("k", pa.int32(), "total number of shots, the same on both sides"),
        column("selection", NAME, "checkpoint of the fine-tuned model, as in main.selection"),
        column(
            "score",
            NAME,
            "what is compared: accuracy; of the same model also accuracy_batch, "
            "accuracy_contextual, accuracy_pmi, accuracy_bias and accuracy_affine (after a "
            "calibration), roc_area, and mcc or f1 where that is the task's metric",
        ),
        column("model", NAME, "model that was fine-tuned, or a baseline's (none: it reads none)"),
        column("method", NAME, "how"),
        column("pattern", NAME, "with which pattern"),
        column("reference_model", NAME, "model that learnt in context"),
        column("reference_method", NAME, "how"),
        column("reference_pattern", NAME, "with which pattern"),
        column(
            "seeds",
            pa.int32(),
            "seeds that both have, on which every test rests; where draws are not shared, each "
            "side keeps its own, and this tells of the side that lacks any, or has fewer",
        ),
        column("seeds_planned", pa.int32(), "seeds that both (or that side) should have"),
        column("rows", pa.int32(), "evaluation rows counted, the fewest of a seed"),
        column("clusters", pa.int32(), "clusters of rows, or rows, that vary; 0: none"),
        column("mean", pa.float64(), "mean score of the fine-tuned model, or baseline", True),
        column("reference_mean", pa.float64(), "mean score in context", True),
        column("difference", pa.float64(), "mean - reference_mean", True),
        column("low", pa.float64(), "95 % bound for other draws and rows like these", True),
        column("high", pa.float64(), "95 % bound for other draws and rows like these", True),
        column(
            "error",
            pa.float64(),
            "standard error of the difference over draws and rows, which are crossed (of one seed: "
            "over rows)",
            True,
        ),
        column("df", pa.float64(), "its degrees of freedom", True),
        column("draw_part", pa.float64(), "variance of the seeds' means over their number", True),
        column("row_part", pa.float64(), "that of the clusters' means over theirs", True),
        column("both_part", pa.float64(), "that of a seed's cluster over the number of both", True),
        column("p_crossed", pa.float64(), "two-sided p of difference / error: the verdict", True),
        column("bootstrap_low", pa.float64(), "95 % bound: crossed bootstrap", True),
        column("bootstrap_high", pa.float64(), "95 % bound: crossed bootstrap", True),
        column(
            "p_bootstrap",
            pa.float64(),
            "two-sided p of the crossed bootstrap (arms.RESAMPLES), a check",
            True,
        ),
        *(
            column(name, pa.float64(), "95 % bound for these rows: paired t, or Welch's", True)
            for name in ("t_low", "t_high")
        ),
        column("p_paired", pa.float64(), "two-sided p of the paired t-test", True),
        column("p_permutation", pa.float64(), "two-sided p of the sign-flip test", True),
        column("floor_permutation", pa.float64(), "smallest p that this test can give", True),
        column("welch_t", pa.float64(), "Welch's t, as published", True),
        column("welch_df", pa.float64(), "its degrees of freedom", True),
        column("p_welch", pa.float64(), "its two-sided p", True),
        *(
            column(f"{how}_{test}", pa.float64(), f"p_{test}, {said} over the family", True)
            for how, said in (("holm", "Holm"), ("bh", "Benjamini-Hochberg"))
            for test in TESTS
        ),
        column(
            "family_size",
            pa.int32(),
            "comparisons corrected together: those with p_crossed or, if none has, an estimate",
        ),
        column(
            "improvement",
            pa.float64(),
            "share of shared draws in which the fine-tuned run is better, a tie counting half; "
            "where draws are not shared, the probability that one run beats another",
            True,
        ),
        column("improvement_low", pa.float64(), "95 % bound: Wilson, or Newcombe", True),
        column("improvement_high", pa.float64(), "95 % bound: Wilson, or Newcombe", True),
        column("status", NAME, "'ok', 'i/n seeds', 'sampled rows', or why there is no estimate"),
    ]
)


CONTRASTS = pa.schema(
    [
        column(
            "question",
            NAME,
            "what is asked: 'gap' (of fine-tuned minus in context, out of domain minus in domain), "
            "'size' (trend of fine-tuned minus in context over the sizes of a family), 'size of "
            "one arm', 'shots' (effect of more shots on fine-tuned minus in context), 'shots of "
            "one arm', 'methods' (of fine-tuning), 'ways in context', 'patterns', 'mean' (of "
            "fine-tuned minus in context over models and patterns), 'mean of others like these'",
        ),
        column("protocol", NAME, "sampling and scoring rules"),
        column("task", NAME, "training task"),
        column("evaluation_set", NAME, "task that was scored; of a gap the one out of domain"),
        column("domain", NAME, "'in' or 'out' of the training domain"),
        column("selection", NAME, "checkpoint of fine-tuned models, as in main.selection"),
        column("model_family", NAME, "family whose sizes make a trend", True),
        column("model", NAME, "model; null: several", True),
        column("models", pa.list_(pa.string()), "models of a trend or mean", True),
        column("method", NAME, "method"),
        column("pattern", NAME, "its pattern; null: several", True),
        column("patterns", pa.list_(pa.string()), "patterns of a mean", True),
        column("k", pa.int32(), "total number of shots"),
        column("reference_method", NAME, "method that is subtracted; null: none", True),
        column("reference_pattern", NAME, "its pattern", True),
        column("reference_k", pa.int32(), "number of shots that is subtracted", True),
        column("seeds", pa.int32(), "seeds that all arms have; of unrelated draws the fewer"),
        column("seeds_planned", pa.int32(), "seeds that all arms should have"),
        column("rows", pa.int32(), "evaluation rows, of a gap those of the smaller set"),
        column("clusters", pa.int32(), "rows or clusters of rows, of all its sets; 0: none"),
        column("varies", NAME, "what error, low, high and p allow for"),
        column("estimate", pa.float64(), "the weighted sum of accuracies", True),
        column("error", pa.float64(), "its standard error for other draws and rows", True),
        column("df", pa.float64(), "degrees of freedom of this error", True),
        column("low", pa.float64(), "95 % bound for other draws and rows", True),
        column("high", pa.float64(), "95 % bound for other draws and rows", True),
        column("p", pa.float64(), "two-sided p for other draws and rows, not corrected", True),
        column("low_draws", pa.float64(), "95 % bound for other draws, these rows", True),
        column("high_draws", pa.float64(), "95 % bound for other draws, these rows", True),
        column("p_draws", pa.float64(), "two-sided p for other draws, these rows", True),
        column("draw_variance", pa.float64(), "mean square of draws / answers", True),
        column("draw_df", pa.float64(), "its degrees of freedom", True),
        column("row_variance", pa.float64(), "mean square of rows, or clusters, / answers", True),
        column("row_df", pa.float64(), "its degrees of freedom", True),
        column(
            "joint_variance",
            pa.float64(),
            "signed sum of the mean squares / answers of draws or rows together with others",
            True,
        ),
        column(
            "cells",
            pa.list_(pa.float64()),
            "mean differences by pattern, then model; one for all of what is not allowed for",
            True,
        ),
        column("status", NAME, "'ok', 'i/n seeds', or why there is no estimate"),
    ]
)


PARTS = (
    "seed",
    "pattern",
    "seed_pattern",
    "row",
    "seed_row",
    "pattern_row",
    "order",
    "residual",
)
"""What the variance of an answer splits into."""
PART_BOUNDS = [
    column(
        f"{part}_{side}",
        pa.float64(),
        f"{where} 95 % bound of `{part}`; of mean squares, or of a jackknife where rows are in it",
        True,
    )
    for part in PARTS
    for side, where in (("low", "lower"), ("high", "upper"))
]


VARIANCE = pa.schema(
    [
        column("protocol", NAME, "sampling and scoring rules"),
        column("task", NAME, "training task"),
        column("model", NAME, "model"),
        column("method", NAME, "method"),
        column("k", pa.int32(), "total number of shots"),
        column("selection", NAME, "checkpoint"),
        column("evaluation_set", NAME, "task that was scored"),
        column("domain", NAME, "'in' or 'out' of the training domain"),
        column("patterns", pa.int32(), "patterns with row predictions"),
        column("patterns_planned", pa.int32(), "patterns that there should be"),
        column("seeds", pa.int32(), "seeds whose row predictions all these patterns have"),
        column("seeds_planned", pa.int32(), "seeds that there should be"),
        column("orders", pa.int32(), "orders of the same shots, each with all that is split"),
        column("orders_planned", pa.int32(), "orders that there should be"),
        column(
            "rows",
            pa.int32(),
            "evaluation rows; split as independent of each other, also those of one cluster",
        ),
        column("mean", pa.float64(), "mean accuracy", True),
        column(
            "seed",
            pa.float64(),
            "variance of one answer (0 or 1) between draws; with one order, their orders' too",
            True,
        ),
        column("pattern", pa.float64(), "the same between patterns", True),
        column("seed_pattern", pa.float64(), "the same of draw and pattern together", True),
        column("row", pa.float64(), "the same between evaluation rows", True),
        column("seed_row", pa.float64(), "the same of draw and row together", True),
        column("pattern_row", pa.float64(), "the same of pattern and row together", True),
        column("residual", pa.float64(), "the same of what is left", True),
        column("order", pa.float64(), "the same between orders of the same shots", True),
        *PART_BOUNDS,
        column("spread", pa.float64(), "largest less smallest pattern, mean over seeds", True),
        column("status", NAME, "'ok', what of the table is there, or why there is none"),
    ]
)


FORGETTING = pa.schema(
    [
        *(
            column(name, kind, text)
            for name, kind, text in (
                ("protocol", NAME, "sampling and scoring rules"),
                ("task", NAME, "training task"),
                ("model", NAME, "model that was adapted"),
                ("method", NAME, "how"),
                ("pattern", NAME, "with which pattern"),
                ("k", pa.int32(), "on how many shots"),
                ("source", NAME, "text or other task that was scored before and after"),
                ("kind", NAME, "'text' or 'task'"),
                ("shots", pa.int32(), "shots of that task in the context (0 of a text)"),
                ("seeds", pa.int32(), "seeds that were compared"),
                ("rows", pa.int32(), "documents of the text, or rows of the task"),
                ("unfit", pa.int32(), "of these not known of every seed, before and after"),
            )
        ),
        column("tokens", pa.int32(), "tokens of the documents counted; null: a task", True),
        column("before", pa.float64(), "mean loss per token, or accuracy, before adaptation", True),
        column("after", pa.float64(), "the same after the last epoch, over seeds", True),
        column("change", pa.float64(), "after - before", True),
        column("error", pa.float64(), "its standard error over draws and documents, or rows", True),
        column("df", pa.float64(), "its degrees of freedom", True),
        column("low", pa.float64(), "95 % bound for other draws and documents like these", True),
        column("high", pa.float64(), "95 % bound for other draws and documents like these", True),
    ]
)
