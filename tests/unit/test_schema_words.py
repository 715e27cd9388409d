"""No message has the words of JSON Schema: a reader of it has a YAML file, and no schema."""

from collections.abc import Iterator

import pytest
from fewshot.validation import VALIDATOR, mistake, read_schema
from jsonschema.exceptions import ValidationError
from project import ROOT

SCHEMAS = sorted(path.stem for path in (ROOT / "config/schema").glob("*.yaml"))
WRONG = [
    *(None, True, -1, 0, 0.5, 1.0, 1.5, 10**9, "", " ", "zzz", "A B"),
    *([], [None], [[]], ["zzz"], [1, 1], [1.5] * 3, {}, {"zzz": 1}, {"A B": {}}),
    ["a", "b", "c"],
]
"""Values of every kind."""
TERMS = ("schema", "additional", "propert", "instance", "type '", "oneOf", "anyOf", "enum")


def parts(schema: dict) -> Iterator[dict]:
    """Yield a schema and all that is within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [schema.get(key) for key in ("additionalProperties", "items")]
    for part in [*inner, *schema.get("oneOf", ())]:
        if isinstance(part, dict):
            yield from parts(part)


def words(errors: list[ValidationError]) -> Iterator[str]:
    """Yield what jsonschema says of errors, and of those that made them."""
    for error in errors:
        yield error.message
        yield from words(error.context)


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_wrong_value_is_told_in_the_words_of_a_schema(name):
    root, told = read_schema(name), 0
    for part in parts(root):
        schema = {"properties": {"key": part}, "$defs": root.get("$defs", {})}
        for value in WRONG:
            wrong = mistake({"key": value}, schema, "x.yaml")
            if wrong is None:
                continue
            line, told = str(wrong), told + 1
            errors = list(VALIDATOR(schema).iter_errors({"key": value}))
            assert line.startswith("x.yaml: key") and "\n" not in line
            assert not [each for each in words(errors) if each in line]
            said = line.partition("; valid")[0]
            assert not [term for term in TERMS if term in said], line
    assert told > 30


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"minimum": 2}, 1, "1 is too small; valid: 2 or more"),
        ({"exclusiveMinimum": 0}, 0, "0 is too small; valid: more than 0"),
        ({"minimum": 0, "exclusiveMaximum": 1}, 1, "1 is too large; valid: 0 or more and less th"),
        ({"minimum": 0, "maximum": 50}, -1, "-1 is too small; valid: 0 or more and at most 50"),
        ({"maxProperties": 1}, {"a": 1, "b": 2}, "2 entries; valid: 1 at most"),
    ],
)
def test_bounds_are_told_with_what_is_valid(schema, value, message):
    wrong = mistake({"key": value}, {"properties": {"key": schema}}, "x.yaml")
    assert str(wrong).startswith(f"x.yaml: key: {message}")
