"""What is stored of a finished cell's latency; by itself, since an edit measures all anew."""

import pyarrow as pa

from ..schemas import CELL, NAME, column

WHOLE, CACHED, NO_CONTEXT = "whole prompts", "context cached", ""
"""How prompts are read: whole for each prediction; or behind a context that was read once; or, with
nothing in common, in the one way that there is."""

LATENCY = pa.schema(
    [
        *CELL,
        column("status", NAME, "'ok', or 'does not fit': no draw does"),
        column("reading", NAME, "'context cached', 'whole prompts', or empty: one way", True),
        column("merging", NAME, "'unmerged', 'merged', or empty: nothing beside the weights", True),
        column(
            "restored",
            pa.bool_(),
            "whether weights are the run's; else it keeps none, and those that training started "
            "from, of the same shapes, were measured",
            True,
        ),
        column("device", NAME, "kind and name of the processor", True),
        column("threads", pa.int32(), "threads of the process", True),
        column("dtype", NAME, "data type of the weights", True),
        column("batch_tokens", pa.int32(), "padded tokens of a full batch", True),
        column("context_tokens", pa.int32(), "tokens that all rows begin with", True),
        column("row_tokens", pa.float64(), "a row's tokens behind these, mean", True),
        column(
            "difference",
            pa.float64(),
            "largest difference of a log-probability from the run's, relative beyond 1; of rows "
            "read alone from rows read together where weights are not restored",
            True,
        ),
        column("single_ms", pa.float64(), "milliseconds per row at batch 1, median", True),
        column("single_ms_low", pa.float64(), "lower quartile", True),
        column("single_ms_high", pa.float64(), "upper quartile", True),
        column("single_rows", pa.int32(), "rows that were read so", True),
        column("batch_ms", pa.float64(), "milliseconds per row in full batches, median", True),
        column("batch_ms_low", pa.float64(), "lower quartile", True),
        column("batch_ms_high", pa.float64(), "upper quartile", True),
        column("batch_rows", pa.int32(), "rows of a pass", True),
        column("batches", pa.int32(), "batches of a pass, of all contexts", True),
        column("splits", pa.int32(), "batches that were halved as memory ran out", True),
        column("repeats", pa.int32(), "timed passes", True),
        column("memory_kind", NAME, "what memory is counted", True),
        column("single_peak_mib", pa.float64(), "largest memory at batch 1, weights too", True),
        column("single_growth_mib", pa.float64(), "how much of it reading took", True),
        column("batch_peak_mib", pa.float64(), "largest memory in full batches", True),
        column("batch_growth_mib", pa.float64(), "how much of it reading took", True),
        column("context_bytes", pa.int64(), "text of the context", True),
        column("cache_bytes", pa.int64(), "its keys and values, where they are kept", True),
        column(
            "trained_bytes",
            pa.int64(),
            "parameters that were trained",
            True,
        ),
        column("model_bytes", pa.int64(), "weights that are read, of model and adapter", True),
        column(
            "kept_bytes",
            pa.int64(),
            "what is kept beside the base model: context, cache, and what was trained or, with a "
            "folded adapter, a model of its own",
            True,
        ),
    ]
)
