"""Read and check the YAML registries and the study; every mistake is one line.

Closed JSON schemas (`config/schema/`) find wrong keys and types, `plan.py` finds names that no
registry defines.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from .errors import UserError, unknown
from .mistakes import VALIDATOR, mistake

REGISTRIES = ("models", "tasks", "methods", "patterns", "figures")


def load_registries(folder: str | Path) -> dict[str, dict]:
    """Read the registries under `folder` and return them checked, defaults filled in."""
    registries = {}
    for name in REGISTRIES:
        path = path_of(name, folder)
        registries[name] = check(read_yaml(path), name, str(path))
    registries["methods"] = _inherit(registries["methods"], str(path_of("methods", folder)))
    return registries


def path_of(name: str, folder: str | Path) -> Path:
    """Return the file of a registry under `folder`."""
    path = Path(folder, f"{name}.yaml")
    if name == "figures" and not path.exists():  # An imported study brings none.
        return Path("config", "figures.yaml")
    return path


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


@cache
def read_schema(name: str) -> dict:
    """Return the JSON schema of one configuration file."""
    folder = Path(__file__).parents[2] / "config" / "schema"
    return yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))


def check(content: dict, schema_name: str, where: str) -> dict:
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
