"""Read YAML and check it against its JSON schema; every mistake is one line."""

import datetime
import math
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

from .errors import UserError, unknown


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    finite = isinstance(value, float) and math.isfinite(value)
    return finite or _is_integer(_, value)


# JSON Schema takes 2.0 for an integer; range() and the names of files do not. It has no number that
# is not finite, which YAML has.
VALIDATOR = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)
CONFIG = Path(__file__).resolve().parents[2] / "config"
"""The configuration that comes with the code."""
NOT_BLANK = r"\S"
KINDS = {
    "array": "a list",
    "object": "a mapping",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
BOUNDS = {
    "minimum": "{} or more",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}
NUMBERS = {
    "minItems": "or more",
    "minProperties": "or more",
    "maxItems": "at most",
    "maxProperties": "at most",
}


def mistake(content: dict, schema: dict, where: str) -> UserError | None:
    """Return the most telling error of `content` against a JSON schema, if there is one.

    `where` names the file. The schema's descriptions and examples say what is valid.
    """
    errors = list(VALIDATOR(schema).iter_errors(content))
    return _explain(_most_telling(errors), where) if errors else None


def _most_telling(errors: list[ValidationError]) -> ValidationError:
    """Return the error to report: a misspelt key rather than the key that it leaves missing."""
    typos = [error for error in errors if error.validator == "additionalProperties"]
    return best_match(typos or errors)


def _explain(error: ValidationError, where: str) -> UserError:
    """Turn a schema error into one line."""
    key = _key(error.absolute_path) or "top level"
    value, at = error.instance, f"{where}: {key}"
    if error.validator == "additionalProperties" and isinstance(value, dict):
        valid = error.schema.get("properties", {})
        for name in value:
            if name not in valid:
                return unknown("key", name, valid, at)
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in value]
        return UserError(f"{at}: '{missing[0]}' is missing")
    if error.validator == "dependentRequired":
        needs = error.validator_value
        first, other = next((n, k) for k in needs if k in value for n in needs[k] if n not in value)
        return UserError(f"{at}: '{first}' is missing, which '{other}' needs")
    # Several alternatives, or one of them that has nothing but a name and its values.
    choice = error if error.validator in ("oneOf", "anyOf") else error.parent
    if choice is error or (choice and error.validator == "enum" and "title" in error.schema):
        return _explain_choice(choice, where, at)
    if error.validator == "enum" and value is not None:
        return unknown("value", value, error.validator_value, at)
    return UserError(f"{at}: {_fault(error)}")


def _key(path: Iterable[str | int]) -> str:
    """Return the place of a value in a file; a list's entries count from 1, as lines and rows."""
    parts = (f" (entry {part + 1})" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".")


def _fault(error: ValidationError) -> str:
    """Return what is wrong with a value that is neither a key nor one of several alternatives."""
    value, schema, rule = error.instance, error.schema, error.validator_value
    if error.validator == "enum":
        return f"the value is missing; valid: {', '.join(map(str, rule))}"
    if error.validator == "type":
        return _wrong_kind(value, [rule] if isinstance(rule, str) else rule, schema)
    if error.validator == "minLength" or rule == NOT_BLANK:
        return f"'{value}' is blank"
    if error.validator == "pattern":
        return f"'{value}' does not fit{_hint(schema)}"
    if error.validator in NUMBERS:
        entries = f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
        return f"{entries}; valid: {rule} {NUMBERS[error.validator]}"
    if error.validator == "uniqueItems":
        twice = next(item for item in value if sum(_same(item, other) for other in value) > 1)
        return f"{_shown(twice)} is given twice"
    if error.validator in BOUNDS:
        size = "small" if "inimum" in error.validator else "large"
        valid = " and ".join(BOUNDS[key].format(schema[key]) for key in BOUNDS if key in schema)
        return f"{value} is too {size}; valid: {valid}"
    return error.message


def _wrong_kind(value: object, kinds: list[str], schema: dict) -> str:
    """Return that a value is of none of the kinds, and how to write it where that is known."""
    words = " or ".join(KINDS[kind] for kind in kinds)
    keys = ", ".join(schema.get("properties", ())) if "object" in kinds else ""
    valid = f"; valid keys: {keys}" if keys else ""
    if value is None:
        hint = _hint(schema) if "examples" in schema else f"; valid: {words}"
        return f"the value is missing{valid or hint}"
    if "integer" in kinds and (whole := _whole(value)) is not None:
        return f"{value} is not {words}; write {whole}"
    if "number" in kinds and isinstance(value, float):
        words = words.replace("a number", "a finite number")
    if kinds == ["array"]:
        valid = f"; write [{value}]" if _may_be_item(value, schema) else ""
    elif isinstance(value, str):
        valid = valid or _number_hint(value, kinds[0])
    elif "string" in kinds and not isinstance(value, dict | list):
        # YAML has read it as something else: 012, for one, as 10.
        hint = _hint(schema) if "examples" in schema else ""
        valid = f"; put what the file says there in quotes{hint}"
    return f"{_shown(value)} is not {words}{valid}"


def _may_be_item(value: object, schema: dict) -> bool:
    """Return whether a value that is no list may be the only one of a list."""
    plain = (isinstance(value, str) and value.strip()) or _is_number(None, value)
    return bool(plain) and VALIDATOR(schema.get("items", {})).is_valid(value)


def _same(value: object, other: object) -> bool:
    """Return whether two values are the same to JSON Schema: true is not 1, though 1.0 is."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _hint(schema: dict) -> str:
    """Return what is valid by a schema's own words: its description and first example."""
    text = schema.get("description", "")
    parts = [
        text[:1].lower() + text[1:],
        *(f"such as {each}" for each in schema.get("examples", ())[:1]),
    ]
    return f"; valid: {', '.join(filter(None, parts))}"


def _shown(value: object) -> str:
    """Return a value as a configuration has it; of a list or mapping only what it is."""
    if isinstance(value, dict | list):
        return KINDS["object" if isinstance(value, dict) else "array"]
    if isinstance(value, str | datetime.date):
        return f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(value: object) -> int | None:
    """Return the whole number that was written as 2.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _number_hint(text: str, kind: str) -> str:
    """Return how YAML wants a number that it read as text; nothing where `text` is none.

    1e-5 is text to YAML 1.1, whose numbers with an exponent have a point and a signed exponent.
    """
    try:
        value = float(text)
    except ValueError:
        return ""
    if kind == "integer" and value.is_integer():
        return f"; write {int(value)}"
    if kind != "number" or not math.isfinite(value):
        return ""
    if "e" not in text.lower():
        return f"; write {value}, without quotes"
    mantissa, _, exponent = text.lower().partition("e")
    return f"; write {float(mantissa)}e{int(exponent):+d}"


def _explain_choice(error: ValidationError, where: str, at: str) -> UserError:
    """Explain why no alternative fits, by the one with most keys in common if there is any."""
    value, options = error.instance, error.validator_value
    given = set(value) if isinstance(value, dict) else set()
    common = [len(given & set(option.get("properties", {}))) for option in options]
    if max(common):
        nearest = common.index(max(common))
        return _explain(
            _most_telling([e for e in error.context if e.schema_path[0] == nearest]), where
        )
    whole = _whole(value)
    if whole is not None and VALIDATOR(error.schema).is_valid(whole):
        return UserError(f"{at}: {value} is not a whole number; write {whole}")
    names = [name for option in options for name in option.get("enum", ())]
    if isinstance(value, str) and get_close_matches(value, names, n=1):
        return unknown("value", value, names, at)
    choices = [" with ".join(option.get("required") or _kinds(option)) for option in options]
    number = "exactly" if error.validator == "oneOf" else "at least"
    missing = "the value is missing; " if value is None else ""
    # YAML has read yes and no, or a date, as something else than text.
    read = isinstance(value, bool | datetime.date) and any(map(_may_be_text, options))
    quotes = "; for text, put what the file says there in quotes" if read else ""
    return UserError(f"{at}: {missing}give {number} one of: {'; '.join(choices)}{quotes}")


def _may_be_text(option: dict) -> bool:
    kinds = option.get("type", ())
    return "string" in ([kinds] if isinstance(kinds, str) else kinds)


def _kinds(option: dict) -> list[str]:
    if "title" in option:
        return [option["title"]]
    kinds = option["type"]
    return [" or ".join(KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds))]


def read_yaml(path: str | Path, empty: bool = False) -> dict:
    """Read a YAML mapping; raises UserError with the line where it is broken.

    A key given twice is an error: the later one would silently replace the earlier. So is a file
    with nothing in it, unless it may be `empty`.
    """
    try:
        content = yaml.load(Path(path).read_text("utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
    except PermissionError:
        raise UserError(f"{path}: cannot be read (permission denied)") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise UserError(f"{path}: line {line}: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    if content is None and empty:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold a mapping")
    return content


# libyaml's parser, which most builds have, takes a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


MERGE = "tag:yaml.org,2002:merge"
"""The tag of the key `<<`, with which a mapping takes another's keys over."""


class _UniqueKeys(_LOADER):
    """Refuse keys given twice, and those that YAML does not read as text (1, yes, no, null)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key_node.value}' must be put in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def shipped_folder() -> Path:
    """Return the folder of configuration that comes with the code: `config`, as messages name it,
    where Python runs in the project, and else a path from the root."""
    return Path("config") if Path("config").resolve() == CONFIG else CONFIG


@cache
def read_schema(name: str) -> dict:
    """Return the JSON schema of one configuration file."""
    path = CONFIG / "schema" / f"{name}.yaml"
    return yaml.load(path.read_text("utf-8"), Loader=_LOADER)


def validate(content: dict, schema_name: str, where: str) -> dict:
    """Validate `content` and return it with defaults; raises UserError naming key and file."""
    schema = read_schema(schema_name)
    wrong = mistake(content, schema, where)
    if wrong:
        raise wrong
    return _fill(content, schema, schema)


def _fill(content: object, schema: dict, root: dict) -> object:
    """Return `content` with the defaults of `schema`, recursively."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(content, list):
        return [_fill(item, schema.get("items", {}), root) for item in content]
    if not isinstance(content, dict):
        return content
    for option in schema.get("oneOf", []):
        if VALIDATOR(option).is_valid(content) and "properties" in option:
            schema = option
    properties = schema.get("properties", {})
    other = schema.get("additionalProperties")
    filled = {key: part["default"] for key, part in properties.items() if "default" in part}
    for key, value in {**filled, **content}.items():
        part = properties.get(key, other if isinstance(other, dict) else {})
        filled[key] = _fill(value, part, root)
    # The order of a mapping carries meaning (labels are numbered by it): keep the file's.
    return {key: filled[key] for key in [*content, *(k for k in filled if k not in content)]}
