"""Titles and order of what a study holds, the same in every table and figure.

A catalog is the plain mapping that the rules pass: models, methods, patterns and tasks by name in
their order, and `main` (k, selection of the checkpoint and margin). An arm is a method with its
pattern.
"""

import pandas as pd

ORDERED = {
    "task": "tasks",
    "model": "models",
    "method": "methods",
    "pattern": "patterns",
    "evaluation_set": "tasks",
    "reference_method": "methods",
}
SELECTIONS = {
    "last": "last epoch",
    "best-in-domain": "best in domain (reads the evaluation labels)",
    "held-out": "held out (best on the choice half)",
    "best-out-of-domain": "best out of domain (oracle)",
    "each": "each epoch",
}
CLAIMS = ("draws and rows", "rows", "draws", "none")
"""What an interval lets vary: draws and rows, for rows like these; rows alone, where nothing is
drawn; draws alone, for these rows. None: there is no interval."""

OWN_METRICS = {"matthews": ("mcc", "MCC × 100"), "f1": ("f1", "F1 (%)")}
"""Metrics that a task may have beside accuracy: the column of each score, and what it is called."""


def titles(catalog: dict, kind: str) -> dict[str, str]:
    """Return name -> title of "models", "methods", "patterns" or "tasks"; no title occurs twice."""
    titles = {name: entry["title"] for name, entry in catalog[kind].items()}
    values = list(titles.values())
    return {
        name: title if values.count(title) == 1 else f"{title} ({name})"
        for name, title in titles.items()
    }


def model_order(catalog: dict) -> list[str]:
    """Return the models by family (in the order of the registry), then by size."""
    families = list(dict.fromkeys(entry["family"] for entry in catalog["models"].values()))
    return sorted(
        catalog["models"],
        key=lambda name: (
            families.index(catalog["models"][name]["family"]),
            catalog["models"][name]["parameters"],
        ),
    )


def names(catalog: dict, column: str) -> list[str]:
    """Return the names of a column's values in the order of tables and figures."""
    return model_order(catalog) if column == "model" else list(catalog[ORDERED[column]])


def arm_title(catalog: dict, method: str, pattern: str) -> str:
    """Return the title of a method, with its pattern where the study has more than one."""
    title = titles(catalog, "methods")[method]
    if len(catalog["patterns"]) < 2 or pattern not in catalog["patterns"]:
        return title  # A baseline that reads no prompt has no pattern.
    return f"{title} · {titles(catalog, 'patterns')[pattern]}"


def arms(catalog: dict, frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (method, pattern) -> title of the arms in `frame`, in order."""
    present = dict.fromkeys(zip(frame["method"], frame["pattern"], strict=True))
    patterns = dict.fromkeys([*catalog["patterns"], *(pattern for _, pattern in present)])
    return {
        (method, pattern): arm_title(catalog, method, pattern)
        for method in catalog["methods"]
        for pattern in patterns
        if (method, pattern) in present
    }


def is_trained(catalog: dict, method: str) -> bool:
    """Return whether a method changes weights, so that checkpoints differ."""
    return catalog["methods"][method]["trained"]


def way_of(catalog: dict, method: str) -> str:
    """Return in which way a method in context uses the shots: "" where it shows all of them in one
    context, else its name."""
    return method if catalog["methods"][method].get("divided") else ""


def is_baseline(catalog: dict, method: str) -> bool:
    """Return whether a method is one that others are held against: neither trained nor shown."""
    return "baseline" in catalog["methods"][method]


def has_model(catalog: dict, method: str) -> bool:
    """Return whether a method reads a language model; some baselines do not."""
    return catalog["methods"][method].get("baseline") != "no model"


def language_models(catalog: dict) -> list[str]:
    """Return the models in the order of `model_order`, without what stands for none."""
    return [name for name in model_order(catalog) if catalog["models"][name]["parameters"]]


def is_imported(catalog: dict, method: str) -> bool:
    """Return whether a method's results were made elsewhere, perhaps with other draws."""
    return catalog["methods"][method]["family"] == "imported"


def has_our_draws(catalog: dict, method: str) -> bool:
    """Return whether a method's runs were made here, or all checked against the stored draws."""
    return not is_imported(catalog, method) or catalog["methods"][method]["stored_draws"]


def varied_tasks(catalog: dict) -> set[str]:
    """Return the tasks that differ from another of the study only in factors of the shots."""
    return {
        variant
        for same in catalog.get("variants", {}).values()
        for task, variants in same.items()
        for variant in variants
        if variant != task
    }


def ordered(frame: pd.DataFrame, catalog: dict, by: list[str]) -> pd.DataFrame:
    """Sort `frame` by columns: names in the catalog's order, other values ascending."""
    keys = pd.DataFrame(index=frame.index)
    for column in by:
        values = frame[column]
        if column in ORDERED or column == "selection":
            in_order = SELECTIONS if column == "selection" else names(catalog, column)
            rank = {name: i for i, name in enumerate(in_order)}
            values = values.map(lambda name, rank=rank: rank.get(name, len(rank)))
        keys[column] = values
    order = keys.reset_index(drop=True).sort_values(by, kind="stable").index if by else frame.index
    return frame.iloc[order].reset_index(drop=True) if len(frame) else frame


def set_title(catalog: dict, name: str) -> str:
    """Return the title of an evaluation set."""
    return titles(catalog, "tasks").get(name, name)


def label_title(catalog: dict, evaluation_set: str, label: int) -> str:
    """Return the name of a gold label of an evaluation set."""
    return catalog["tasks"][evaluation_set]["labels"][int(label)].replace("_", " ")
