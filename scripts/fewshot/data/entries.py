"""What entries of config/tasks.yaml mean: raw labels as they are compared, files of a split."""


def label_key(value: object) -> str | None:
    """Return how a raw label is compared: 0, 0.0 and "0" are the same, and so are a boolean and
    "true" or "false"; null and other values are no labels."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | str) else None


def as_list(entry: object) -> list:
    """Return the files of a split as a configuration names them: one, or a list of several."""
    return entry if isinstance(entry, list) else [entry]


def split_parts(entry: dict) -> list[dict]:
    """Return the files of a split as its manifest names them: one, or the parts of several."""
    return entry.get("parts", [entry])
