"""The memory plan as a table, its counts checked against transformers' own modules.

Modules are made on torch's meta device: with shapes, without memory, in a second or two each.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from transformers import AutoConfig

from .. import schemas, storage
from ..errors import UserError
from ..models.compatibility import parameter_counts
from ..models.language_part import read_config
from ..models.load import check_shape
from ..report.table_text import markdown_rows

LOG = logging.getLogger(__name__)


def checked(plan: Sequence[Mapping], models: Mapping[str, Mapping]) -> pd.DataFrame:
    """Return the plan's rows (schemas.MEMORY_PLAN) with true `parameters` and `largest_layer`.

    `models` are the registry's entries. Where the plan knew the shape, raises UserError if a count
    differs; where it guessed, transformers' counts take the guess's place. Models of which no
    configuration is at hand are named in the log.
    """
    frame = pd.DataFrame(list(plan), columns=schemas.MEMORY_PLAN.names)
    for name in frame["model"].unique():
        rows = frame["model"] == name
        counts = count_parameters(models[name], name)
        if counts is None:
            LOG.warning("%s: no configuration to check; its memory is estimated from `parameters` "
                        "alone, generously", name)  # fmt: skip
            continue
        known = frame.loc[rows, ["parameters", "largest_layer"]].iloc[0]
        if frame.loc[rows, "shape_known"].all() and tuple(known) != counts:
            raise UserError(
                f"models.yaml: model '{name}': the plan counts {tuple(known)} parameters in "
                f"all and in the largest layer, transformers {counts}"
            )
        if models[name]["parameters"] != counts[0]:
            raise UserError(
                f"models.yaml: {name}.parameters is {models[name]['parameters']}, but the "
                f"model has {counts[0]}"
            )
        frame.loc[rows, ["parameters", "largest_layer"]] = counts
        LOG.info("%s: %d parameters, %d in the largest layer", name, *counts)
    return frame


def count_parameters(entry: Mapping, name: str) -> tuple[int, int] | None:
    """Return the parameters of an entry's model and those of its largest module.

    As DeepSpeed counts: shared parameters once, and a module's own parameters only. None where the
    entry has no configuration or transformers does not know its type.
    """
    if "local" in entry:
        config, _ = read_config(Path(entry["local"]).expanduser())
    elif "config" in entry:
        # The padding token, which has to be in the vocabulary, adds nothing.
        given = {
            "max_position_embeddings": entry["window"],
            **entry["config"],
            "pad_token_id": None,
        }
        try:
            config = AutoConfig.for_model(**given)
        except ValueError:
            return None
        check_shape(config, entry["config"], name)
    else:
        return None
    return parameter_counts(config)


def write_memory_plan(plan: pd.DataFrame, output, machine: str) -> None:
    """Write the plan as Parquet, CSV and Markdown; `machine` is named in the latter."""
    storage.write_table(output.plan, plan, schemas.MEMORY_PLAN)
    with storage.atomic(output.csv) as partial:
        plan.to_csv(partial, index=False)
    with storage.atomic(output.md) as partial:
        Path(partial).write_text(memory_plan_page(plan, machine), "utf-8")


COLUMNS = (
    *("model", "method", "k", "GPUs", "nodes", "stage", "offload", "tokens at once"),
    *("checkpointing", "GB per GPU", "host GB", "parameters", "trained", "largest layer"),
)


def memory_plan_page(plan: pd.DataFrame, machine: str) -> str:
    """Return the plan as a page of Markdown."""
    lines = [
        f"# Memory plan for {machine}",
        "",
        "The cheapest configuration that fits, for each model and method at its most shots. GB are",
        "2^30 bytes, expected on each GPU and on each node. A shape marked ~ is guessed from the",
        "number of parameters.",
        "",
    ]
    rows = [
        (
            *(row.model + ("" if row.shape_known else " ~"), row.method, row.k, row.gpus),
            *(row.nodes, row.zero_stage, row.offload, row.micro_tokens or "-"),
            *("yes" if row.checkpointing else "no", f"{row.gpu_gb:.1f}", f"{row.host_gb:.1f}"),
            *(f"{each:,}" for each in (row.parameters, row.trainable, row.largest_layer)),
        )
        for row in plan.itertuples()
    ]
    return "\n".join([*lines, *markdown_rows(COLUMNS, "llrrrrlrlrrrrr", rows)]) + "\n"
