"""Read and check the YAML registries and the study; every mistake is one line.

Closed JSON schemas (`config/schema/`) find wrong keys and types, `plan.py` finds names that no
registry defines. jsonschema is called directly: Snakemake's `validate` prints its errors over
many lines and cannot suggest the nearest valid name.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from .errors import UserError, unknown

REGISTRIES = ("models", "tasks", "methods", "patterns", "figures")
NOT_BLANK = r"\S"


def load_registries(folder: str | Path) -> dict[str, dict]:
    """Read the registries under `folder` and return them checked, defaults filled in."""
    registries = {}
    for name in REGISTRIES:
        path = Path(folder, f"{name}.yaml")
        if name == "figures" and not path.exists():  # An imported study brings none.
            path = Path("config", "figures.yaml")
        registries[name] = check(read_yaml(path), name, str(path))
    registries["methods"] = _inherit(registries["methods"], str(Path(folder, "methods.yaml")))
    return registries


def read_yaml(path: str | Path, empty: bool = False) -> dict:
    """Read a YAML mapping; raises UserError with the line where it is broken.

    A key given twice is an error: the later one would silently replace the earlier. So is a file
    with nothing in it, unless it may be `empty`.
    """
    try:
        content = yaml.load(Path(path).read_text("utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise UserError(f"{path}: file not found") from None
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


class _UniqueKeys(yaml.SafeLoader):
    """Refuse keys given twice, and those that YAML does not read as text (1, yes, no, null)."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
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


def read_schema(name: str) -> dict:
    """Return the JSON schema of one configuration file."""
    folder = Path(__file__).parents[2] / "config" / "schema"
    return yaml.safe_load((folder / f"{name}.yaml").read_text())


def check(content: dict, schema_name: str, where: str) -> dict:
    """Validate `content` and return it with defaults; raises UserError naming key and file."""
    schema = read_schema(schema_name)
    wrong = mistake(content, schema, where)
    if wrong:
        raise wrong
    return _fill(content, schema, schema)


def mistake(content: dict, schema: dict, where: str) -> UserError | None:
    """Return the most telling error of `content` against a JSON schema, if there is one."""
    errors = list(Draft202012Validator(schema).iter_errors(content))
    return _explain(_most_telling(errors), where) if errors else None


def _explain(error: ValidationError, where: str) -> UserError:
    """Turn a schema error into one line."""
    key = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        valid = error.schema.get("properties", {})
        for name in error.instance:
            if name not in valid:
                return unknown("key", name, valid, f"{where}: {key}")
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return UserError(f"{where}: {key}: '{missing[0]}' is missing")
    if error.validator == "enum":
        if error.parent and "title" in error.schema:  # It is one alternative of several.
            return _explain_choice(error.parent, where, key)
        return unknown("value", error.instance, error.validator_value, f"{where}: {key}")
    if error.validator in ("oneOf", "anyOf"):
        return _explain_choice(error, where, key)
    if error.schema.get("pattern") == NOT_BLANK and isinstance(error.instance, str):
        return UserError(f"{where}: {key}: '{error.instance}' is blank")
    hint = ""
    if error.validator == "type" and error.validator_value == "object":
        keys = ", ".join(error.schema.get("properties", ()))
        hint = f"; valid keys: {keys}" if keys else ""
        return UserError(f"{where}: {key}: {error.instance!r} is no mapping of keys{hint}")
    if error.validator == "type" and isinstance(error.instance, str):
        hint = _number_hint(error.instance, error.validator_value)
    return UserError(f"{where}: {key}: {error.message}{hint}")


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


def _explain_choice(error: ValidationError, where: str, key: str) -> UserError:
    """Explain why no alternative fits, by the one with most keys in common if there is any."""
    given = set(error.instance) if isinstance(error.instance, dict) else set()
    options = error.validator_value
    common = [len(given & set(option.get("properties", {}))) for option in options]
    if max(common):
        nearest = common.index(max(common))
        return _explain(
            _most_telling([e for e in error.context if e.schema_path[0] == nearest]), where
        )
    choices = [" with ".join(option.get("required") or _types(option)) for option in options]
    number = "exactly" if error.validator == "oneOf" else "at least"
    return UserError(f"{where}: {key}: give {number} one of: {'; '.join(choices)}")


def _types(option: dict) -> list[str]:
    if "title" in option:
        return [option["title"]]
    types = option["type"]
    return [types if isinstance(types, str) else " or ".join(types)]


def _most_telling(errors: list[ValidationError]) -> ValidationError:
    """Return the error to report: a misspelt key rather than the key that it leaves missing."""
    typos = [error for error in errors if error.validator == "additionalProperties"]
    return best_match(typos or errors)


def _fill(content: object, schema: dict, root: dict) -> object:
    """Return `content` with the defaults of `schema`, recursively."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(content, list):
        return [_fill(item, schema.get("items", {}), root) for item in content]
    if not isinstance(content, dict):
        return content
    for option in schema.get("oneOf", []):
        if Draft202012Validator(option).is_valid(content) and "properties" in option:
            schema = option
    known = schema.get("properties", {})
    other = schema.get("additionalProperties")
    filled = {key: part["default"] for key, part in known.items() if "default" in part}
    for key, value in {**filled, **content}.items():
        part = known.get(key, other if isinstance(other, dict) else {})
        filled[key] = _fill(value, part, root)
    # The order of a mapping carries meaning (labels are numbered by it): keep the file's.
    return {key: filled[key] for key in [*content, *(k for k in filled if k not in content)]}


def _inherit(methods: dict[str, dict], where: str) -> dict[str, dict]:
    """Resolve `base` entries; raises UserError for an unknown base or a circle."""
    return {name: _resolved(name, methods, where) for name in methods}


def _resolved(name: str, methods: dict[str, dict], where: str) -> dict:
    chain = list(_ancestors(name, methods, where))
    settings: dict = {}
    for entry in reversed(chain):
        settings.update(methods[entry])
    settings.pop("base", None)
    if "title" not in methods[name]:
        settings.pop("title", None)
    return settings


def _ancestors(name: str, methods: dict[str, dict], where: str) -> Iterator[str]:
    seen = []
    while name is not None:
        if name in seen:
            raise UserError(f"{where}: methods inherit in a circle: {' → '.join([*seen, name])}")
        if name not in methods:
            raise unknown("base method", name, methods, f"{where}: {seen[-1]}.base")
        seen.append(name)
        yield name
        name = methods[name].get("base")
