"""Write `config/REFERENCE.md` from the schemas: every key and every stored column, in one place.

`make docs` runs it; a test fails while the file is out of step.
"""

import inspect
import sys
from collections.abc import Callable

import pyarrow as pa
from fewshot import schemas
from fewshot.analysis import result_schemas as results
from fewshot.analysis import statistics_schemas as tested
from fewshot.analysis.latency_schema import LATENCY
from fewshot.planning.power_page import POWERS
from fewshot.report.figures.registry import CHARTS
from fewshot.report.tables.registry import TABLES as TABLE_FUNCTIONS
from fewshot.validation import read_schema

INTRODUCTION = """\
# Configuration and outputs

`make docs` writes this page from `config/schema/`, from `schemas.py`, `analysis/result_schemas.py`,
`analysis/latency_schema.py`, `analysis/statistics_schemas.py` and `planning/power_page.py` in
`scripts/fewshot/`, and from the functions of figures and tables.

A study names models, tasks, methods and patterns from the registries beside it and says which
combinations are run. `config/config.yaml` is the demo; `config/paper.yaml` the paper's grid; any
other file is used with `snakemake --configfile my-study.yaml`, alone and not merged with the demo.
"""

FUNCTIONS = {"figures": CHARTS, "tables": TABLE_FUNCTIONS}
FILES = {
    "study": "The study (`config/config.yaml`, `config/paper.yaml`, yours)",
    "models": "`config/models.yaml`",
    "revisions": "`config/revisions.yaml`",
    "tasks": "`config/tasks.yaml`",
    "patterns": "`config/patterns.yaml`",
    "methods": "`config/methods.yaml`",
    "texts": "`config/texts.yaml`",
    "prices": "`config/prices.yaml`",
    "figures": "`config/figures.yaml`",
    "site": "`profiles/slurm/site.yaml`",
}

TABLES = {
    "results/data/{task}/{split}.parquet: prepared rows": schemas.ROWS,
    "results/texts/{text}.parquet: documents of a text": schemas.TEXTS,
    "results/shots/{draw}/{task}/k{k}/seed{seed}.parquet: a draw": schemas.SHOTS,
    "results/shots/fair/{task}/k{k}/seed{seed}.parquet: one with factors of the data": (
        schemas.CHANGED_SHOTS
    ),
    "results/windows/{study}/{task}/{model}.parquet: what fits the window": schemas.WINDOWS,
    "results/runs/…/predictions.parquet: row predictions": schemas.predictions_schema(2),
    "results/runs/…/curves.parquet: counts by epoch": schemas.CURVES,
    "results/runs-forgetting/…/forgetting.parquet, results/unadapted/{study}/{model}.parquet: what "
    "changes outside the task": schemas.FORGETTING,
    "results/{study}/plan.parquet: the memory plan": schemas.MEMORY_PLAN,
    "results/{study}/estimate.parquet: predicted times of jobs (task 'none': before any "
    "adaptation)": results.ESTIMATE,
    "results/{study}/power.parquet: what the study can find": POWERS,
    "results/metrics/{study}/{task}/{model}.parquet: accuracies": results.METRICS,
    "results/costs/{study}/{task}/{model}.parquet: costs of finished seeds": results.COSTS,
    "results/latency/…parquet: latency, memory and bytes of a finished cell": LATENCY,
    "results/outcomes/{study}/{task}/{model}.parquet: which rows are right": results.OUTCOMES,
    "results/statistics/{study}/{task}/comparisons.parquet: comparisons": tested.COMPARISONS,
    "results/statistics/{study}/{task}/contrasts.parquet: questions": tested.CONTRASTS,
    "results/statistics/{study}/{task}/variance.parquet: variance": tested.VARIANCE,
    "results/statistics/{study}/forgetting.parquet: changes outside the task": tested.FORGETTING,
    "results/choices/{study}/{task}/{model}.parquet: settings by way of choosing": results.CHOICES,
    "results/bias/{study}/{task}/{model}.parquet: what models make of bias probes": results.BIAS,
    "results/behaviour/{model}.parquet: what the embedded models label right": results.BEHAVIOUR,
}


def render() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, "## Keys\n"]
    parts += [_keys(name, heading) for name, heading in FILES.items()]
    parts.append(
        "## Functions of figures and tables\n\nWhat an entry may name as `function`, and the "
        "`options` that it takes, some with their default in brackets. What each option means is "
        "among the keys of `config/figures.yaml`.\n"
    )
    parts += [_functions(kind, functions) for kind, functions in FUNCTIONS.items()]
    parts.append("## Columns\n\nAll tables are Parquet, zstd-compressed.\n")
    parts += [_columns(heading, schema) for heading, schema in TABLES.items()]
    return "\n".join(parts)


def _keys(name: str, heading: str) -> str:
    schema = read_schema(name)
    rows = [f"### {heading}\n", schema["description"] + "\n"]
    entry = schema.get("additionalProperties")
    rows += _table(entry if isinstance(entry, dict) else schema, schema)
    return "\n".join(rows) + "\n"


def _table(schema: dict, root: dict) -> list[str]:
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, part, required in _properties(schema, root):
        default = "required" if required else _plain(part.get("default", "none"))
        kind = part.get("type") or _alternatives(part)
        meaning = part.get("description", "").replace("|", "\\|")
        rows.append(f"| `{key}` | {_plain(kind)} | {default} | {meaning} |")
    return rows


def _alternatives(part: dict) -> str:
    """Return what a key may be that has no one type."""
    if "enum" in part:
        return "one of " + _plain(part["enum"])
    named = [option.get("title") for option in part.get("oneOf", [])]
    return ", or ".join(named) if all(named) and named else "mixed"


def _properties(schema: dict, root: dict, prefix: str = ""):
    """Yield (dotted key, schema, required) of a mapping and of the mappings inside it."""
    schema = _followed(schema, root)
    # What only entries without a `base` must say counts as required too.
    needed = schema.get("required", schema.get("else", {}).get("required", []))
    for key, part in schema.get("properties", {}).items():
        part = _followed(part, root)
        yield f"{prefix}{key}", part, key in needed
        inner = part.get("items", part)
        for option in [inner, *inner.get("oneOf", [])]:
            yield from _properties(option, root, f"{prefix}{key}.")
        entry = part.get("additionalProperties")
        if isinstance(entry, dict):
            for option in [entry, *entry.get("oneOf", [])]:
                yield from _properties(option, root, f"{prefix}{key}.*.")


def _followed(schema: dict, root: dict) -> dict:
    """Return what a reference within the schema leads to, or the schema itself."""
    return root["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def _plain(value: object) -> str:
    if value == "\n\n":
        return "two line breaks"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value == {} else str(value)


def _functions(kind: str, functions: dict[str, Callable]) -> str:
    """Return the table of functions by name: docstrings, and options from their signatures."""
    rows = [f"### Functions of {kind}\n", "| function | what it makes | options |", "|---|---|---|"]
    for name, function in functions.items():
        makes = " ".join(inspect.getdoc(function).split()).replace("|", "\\|")
        options = ", ".join(map(_option, options_of(function))) or "none"
        rows.append(f"| `{name}` | {makes} | {options} |")
    return "\n".join(rows) + "\n"


def options_of(function: Callable) -> list[inspect.Parameter]:
    """Return the keyword-only parameters of a function."""
    parameters = inspect.signature(function).parameters.values()
    return [each for each in parameters if each.kind is each.KEYWORD_ONLY]


def _option(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is None else f" ({parameter.default})"
    return f"`{parameter.name}`{default}"


def _columns(heading: str, schema: pa.Schema) -> str:
    path, _, what = heading.partition(": ")
    rows = [
        f"### {what.capitalize()}\n",
        f"`{path}`\n",
        "| column | type | meaning |",
        "|---|---|---|",
    ]
    for field in schema:
        kind = "string" if pa.types.is_dictionary(field.type) else str(field.type)
        null = ", may be null" if field.nullable else ""
        rows.append(
            f"| `{field.name}` | {kind}{null} | {field.metadata[b'description'].decode()} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
