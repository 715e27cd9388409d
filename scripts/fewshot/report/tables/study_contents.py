"""What a study is made of, as tables: data, models, settings of methods, prompts."""

import pandas as pd

from ...analysis.evidence import Evidence
from ...analysis.summary import at_level
from ...analysis.titles import (
    is_baseline,
    is_trained,
    label_title,
    language_models,
    ordered,
    set_title,
    titles,
    way_of,
)
from ...formatting import BLANK, percent
from ..table_text import Table

NEWLINE, SPACE = "↵", "␣"
"""How a line break and a blank at either end of a text are printed."""
SETTINGS = {
    "family": "What is trained",
    "head": "Head",
    "classifier": "Classifier",
    "loss": "Loss",
    "epochs": "Epochs",
    "steps": "Steps",
    "batch_size": "Batch size",
    "optimizer": "Optimiser",
    "learning_rate": "Learning rate",
    "schedule": "Schedule",
    "warmup": "Warm-up",
    "weight_decay": "Weight decay",
    "gradient_clip": "Gradient clip",
    "train_patterns": "Patterns in training",
    "dora": "DoRA",
    "shown": "Shots in a context",
    "cached": "Shots cached",
}
"""Settings that most trained methods have, in the order of the table; others follow."""
HIDDEN = {"keep_weights"}
"""Settings that change no number."""


def data(evidence: Evidence, catalog: dict) -> Table:
    """List the evaluation sets of each task with rows by gold label and the majority baseline.

    Counted in the metrics, that is, over the rows that were scored.
    """
    metrics = evidence.metrics[evidence.metrics["status"] == "ok"]
    overall = at_level(metrics[metrics["selection"] == "last"])
    labels = at_level(metrics[metrics["selection"] == "last"], "label")
    keys = ["task", "evaluation_set"]
    sizes = labels.groupby([*keys, "label"])["n"].max()
    rows = overall.groupby([*keys, "domain"], as_index=False, sort=False)
    numbers = rows.agg(rows=("n", "max"), majority=("majority", "max"))
    numbers = ordered(numbers, catalog, ["task", "domain", "evaluation_set"])
    counts = [sizes[row.task, row.evaluation_set].to_dict() for row in numbers.itertuples()]
    numbers["labels"] = [
        "; ".join(f"{label_title(catalog, name, label)}: {n}" for label, n in sorted(found.items()))
        for name, found in zip(numbers["evaluation_set"], counts, strict=True)
    ]
    text = [
        {
            "Trained on": set_title(catalog, row["task"]),
            "Scored on": set_title(catalog, row["evaluation_set"]),
            "Domain": row["domain"],
            "Training rows": _rows_of(catalog, row) if row["domain"] == "in" else BLANK,
            "Rows": f"{row['rows']:,}",
            "Gold labels": row["labels"],
            "Majority": percent(row["majority"]),
            "Source": catalog["tasks"][row["evaluation_set"]].get("source", BLANK),
        }
        for row in numbers.to_dict("records")
    ]
    shown = pd.DataFrame(text)
    if len(shown) and (shown["Training rows"] == BLANK).all():
        shown = shown.drop(columns="Training rows")
    return Table(numbers, shown)


def _rows_of(catalog: dict, row: dict) -> str:
    """Return how many rows shots are drawn from, where the registry knows."""
    rows = catalog["tasks"][row["task"]].get("train_rows")
    return f"{rows:,}" if rows else BLANK


def models(evidence: Evidence, catalog: dict) -> Table:
    """List the models with family, parameters, window, precision and where they come from.

    With the licence too where the registry has that of one, and with how they are prompted where
    one has its chat template.
    """
    facts = ["family", "parameters", "window", "dtype", "source"]
    if any("licence" in entry for entry in catalog["models"].values()):
        facts.append("licence")
    numbers = pd.DataFrame(
        {"model": name, **{key: catalog["models"][name].get(key) for key in facts}}
        for name in language_models(catalog)
    )
    text = [
        {
            "Model": titles(catalog, "models")[row["model"]],
            "Family": row["family"],
            "Parameters": _count(row["parameters"]),
            "Window": BLANK if pd.isna(row["window"]) else f"{row['window']:,.0f}",
            "Precision": row["dtype"] or BLANK,
            "Source": row["source"] or BLANK,
        }
        for row in numbers.to_dict("records")
    ]
    shown = pd.DataFrame(text)
    if "licence" in facts:
        shown["Licence"] = list(numbers["licence"].fillna(BLANK))
    if any("chat" in entry for entry in catalog["models"].values()):
        numbers["prompts"] = [_prompts(catalog["models"][name]) for name in numbers["model"]]
        shown["Prompts"] = numbers["prompts"]
    return Table(numbers, shown)


def _prompts(entry: dict) -> str:
    """Return whether a model is prompted by chat, and how."""
    chat = entry.get("chat")
    if chat is None:
        return "plain text"
    where = {"turns": "chat, a turn each", "one-turn": "chat, one turn"}[chat["demonstrations"]]
    return f"{where}; system: {visible(chat['system'])}" if "system" in chat else where


def _count(parameters: int) -> str:
    """Return a number of parameters in thousands, millions or billions: '125 M', '1.32 B'."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= size:
            return f"{parameters / size:.3g} {unit}"
    return str(parameters)


def hyperparameters(evidence: Evidence, catalog: dict) -> Table:
    """List the settings of the methods that train, of those that do not show all shots in one
    context, and of baselines, a column each, as the jobs got them."""
    shown = {name: _settings(catalog, name) for name in catalog["methods"]}
    shown = {
        name: settings
        for name, settings in shown.items()
        if is_trained(catalog, name) or is_baseline(catalog, name) or way_of(catalog, name)
    }
    keys = dict.fromkeys([*SETTINGS, *(key for settings in shown.values() for key in settings)])
    numbers = pd.DataFrame(
        [
            {"setting": key, "method": name, "value": _setting(settings[key])}
            for key in keys
            for name, settings in shown.items()
            if key in settings and key not in HIDDEN
        ],
        columns=["setting", "method", "value"],
    )
    names = titles(catalog, "methods")
    text = []
    for key, part in numbers.groupby("setting", sort=False):
        by_method = dict(zip(part["method"], part["value"], strict=True))
        row = {"Setting": SETTINGS.get(key, key.replace("_", " ").capitalize())}
        text.append(row | {names[name]: by_method.get(name, BLANK) for name in shown})
    note = "" if text else "All methods show all shots in one context, which has no settings."
    return Table(numbers, pd.DataFrame(text), note, words=True)


def _settings(catalog: dict, name: str) -> dict:
    entry = catalog["methods"][name]
    return {"family": entry["family"], "head": entry["head"], **entry.get("settings", {})}


def _setting(value: object) -> str:
    """Return a setting as text; those that differ by family of models name it."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_setting(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def prompts(evidence: Evidence, catalog: dict) -> Table:
    """Print each pattern as the models see it: demonstration, query and label words."""
    numbers = pd.DataFrame(
        [
            {"task": task, "pattern": pattern, **bound}
            for pattern, entry in catalog["patterns"].items()
            for task, bound in entry.get("prompts", {}).items()
        ],
        columns=["task", "pattern", "demonstration", "query", "words"],
    )
    numbers = ordered(numbers, catalog, ["task", "pattern"])
    text = [
        {
            "section": f"{set_title(catalog, row['task'])} ({', '.join(_labels(row, catalog))})",
            "Pattern": titles(catalog, "patterns")[row["pattern"]],
            "Demonstration": visible(row["demonstration"]),
            "Query": visible(row["query"]),
            "Label words": ", ".join(map(visible, row["words"])),
        }
        for row in numbers.to_dict("records")
    ]
    note = (
        f"{{text_a}}, {{text_b}} and {{label}} stand for a row's texts and its label word; "
        f"{NEWLINE} is a line break, {SPACE} a blank at either end. Label words are in the order "
        "of the labels. In context a prompt is the demonstrations, one after the other, and the "
        "query; fine-tuned models see the query alone."
    )
    if any("scores_texts" in entry for entry in catalog["patterns"].values()):
        note += (
            " Where the label word stands in front of the text, labels are ranked by the "
            "probability of the text behind each (channel scoring); the text begins with its first "
            "field."
        )
    if any("chat" in entry for entry in catalog["models"].values()):
        note += (
            " Models prompted by chat have it in their own chat template: the query is the user's "
            "turn, and the label word, without its blank, begins the assistant's."
        )
    return Table(numbers, pd.DataFrame(text), note if text else "")


def _labels(row: dict, catalog: dict) -> list[str]:
    return [label_title(catalog, row["task"], i) for i in range(len(row["words"]))]


def visible(text: str) -> str:
    """Return a text whose line breaks, and blanks at either end, can be seen."""
    core = text.strip(" ")
    left = len(text) - len(text.lstrip(" ")) if core else 0
    right = len(text) - len(core) - left
    return SPACE * left + core.replace("\n", NEWLINE) + SPACE * right
