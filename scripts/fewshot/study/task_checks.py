"""The checks of a study's tasks: sources and splits, raw labels, out-of-domain sets.

Each raises UserError with one line that names the task and the key.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, unknown
from .cells import PROTOCOLS

if TYPE_CHECKING:
    from .study import Study
from collections.abc import Mapping

from ..data.bias_probe import LABELS as LABELS_OF_PROBE
from ..data.bias_probe import PROBES, check_size
from ..data.entries import as_list, label_key
from ..data.synthetic import LABELS

# The name under which curves hold the rows that are trained on.
RESERVED = "train"
PARTS_OF_PROBE = ("group", "subset", "cluster")


def check_tasks(study: "Study") -> None:
    """Check every task of the registry, used or not."""
    for name, task in study.tasks.items():
        where = f"{study.file('tasks', name)}: task '{name}'"
        if name == RESERVED:
            raise UserError(
                f"{where}: this name is reserved for the rows trained on; choose another"
            )
        _check_source(study, task, where)
        _check_labels(task, where)
        _check_counts(task, where)
    # What follows looks at pairs of tasks, each of which must be sound by itself.
    for name in study.tasks:
        where = f"{study.file('tasks', name)}: task '{name}'"
        for protocol in PROTOCOLS:
            _check_out_of_domain(study, name, protocol, where)
            _check_leaks(study, name, protocol, where)
        _check_probes(study, name, where)


def _check_source(study: "Study", task: dict, where: str) -> None:
    source = task["source"]
    if isinstance(source, str):
        if source not in study.tasks:
            raise unknown("source task", source, study.tasks, where)
        if isinstance(study.tasks[source]["source"], str):
            raise UserError(f"{where}: source '{source}' itself shares another task's source")
        source = study.tasks[source]["source"]
    kinds = ("files", "url", "local", "sizes")
    splits = next(source[kind] for kind in kinds if kind in source)
    for split in task["splits"].values():
        if split not in splits:
            raise unknown("raw split", split, splits, f"{where}: splits")
    if source.get("synthetic") in PROBES:
        for split, size in splits.items():
            check_size(source["synthetic"], split, size, f"{where}: sizes")


def _check_labels(task: dict, where: str) -> None:
    """Check that no raw value has two meanings; 0 and "0" are one value."""
    meanings: dict[str, str] = {}
    for label, values in [*task["labels"].items(), (None, task["drop"])]:
        meaning = f"label '{label}'" if label is not None else "drop"
        for value in values if isinstance(values, list) else [values]:
            key = label_key(value)
            first = meanings.setdefault(key, meaning)
            if first != meaning:
                raise UserError(
                    f"{where}: raw label '{key}' is given two meanings: {first} and {meaning}"
                )


def _check_counts(task: dict, where: str) -> None:
    """Check what is said of splits and counts of rows: that there are such splits and labels."""
    for key, splits in (("subsample", task.get("subsample", {}).get("splits", ())),
                        ("expected", task.get("expected", {}))):  # fmt: skip
        for split in splits:
            if split not in task["splits"]:
                raise unknown("split", split, task["splits"], f"{where}: {key}")
    labels = list(task["labels"])
    for split, counts in task.get("expected", {}).items():
        if not isinstance(counts, int) and list(counts) != labels:
            raise UserError(
                f"{where}: expected: {split}: labels {', '.join(counts)}; valid: all labels in "
                f"their order, {', '.join(labels)}"
            )
    if task["metric"] != "accuracy" and len(labels) != 2:
        raise UserError(
            f"{where}: metric: '{task['metric']}' is for two labels and there are {len(labels)}; "
            "valid: accuracy"
        )


def _check_probes(study: "Study", name: str, where: str) -> None:
    """Check that a task's probes are such, and that the task can say that a pair is neutral."""
    task, taken = study.tasks[name], {name}
    for protocol in PROTOCOLS:
        taken |= {other for other, _ in study.out_of_domain(name, protocol)}
    where = f"{where}: probes"
    for probe, merge in study.probes(name):
        if probe not in study.tasks:
            raise unknown("task", probe, study.tasks, where)
        other = study.tasks[probe]
        if probe in taken:
            raise UserError(f"{where}: '{probe}' is scored already; valid: other tasks, each once")
        taken.add(probe)
        if sorted(other["labels"]) != sorted(LABELS_OF_PROBE) or len(other["text"]) != 2:
            raise UserError(
                f"{where}: '{probe}' is no probe; valid: tasks of two texts with the labels "
                f"{', '.join(LABELS_OF_PROBE)}"
            )
        if absent := [key for key in PARTS_OF_PROBE if not other["subsets"].get(key)]:
            raise UserError(
                f"{where}: '{probe}' has no subsets.{absent[0]}; valid: a column each for "
                "group (the social group), subset (the attribute) and cluster"
            )
        if "subsample" in other:
            raise UserError(
                f"{where}: '{probe}' has subsample, which would leave pairs without some of their "
                "words; valid: fewer rows in its source, or filter"
            )
        if len(task["text"]) != 2:
            raise UserError(f"{where}: the task has one text, and '{probe}' two")
        if len(task["labels"]) < len(LABELS_OF_PROBE):
            raise UserError(
                f"{where}: '{probe}' asks whether a pair is neutral, which is no label of the task "
                f"({', '.join(task['labels'])}); valid: a task with three labels, as mnli-three-way"
            )
        _check_merge(list(task["labels"]), probe, list(other["labels"]), merge, where)


def _check_out_of_domain(study: "Study", name: str, protocol: str, where: str) -> None:
    where, task, seen = f"{where}: out_of_domain", study.tasks[name], {name}
    for evaluation, merge in study.out_of_domain(name, protocol):
        if evaluation not in study.tasks:
            raise unknown("task", evaluation, study.tasks, where)
        if evaluation in seen:
            what = "is the task itself" if evaluation == name else "is given twice"
            raise UserError(f"{where}: '{evaluation}' {what}; valid: other tasks, each once")
        seen.add(evaluation)
        other = study.tasks[evaluation]
        fields = len(other["text"])
        if fields != len(task["text"]):
            raise UserError(
                f"{where}: '{evaluation}' has {fields} text field{'s' * (fields > 1)} and the task "
                f"{len(task['text'])}; a pattern shows the same fields for both"
            )
        _check_merge(list(task["labels"]), evaluation, list(other["labels"]), merge, where)


def _check_merge(labels: list[str], name: str, others: list[str], merge: list[int], where: str):
    """Check that `merge` reaches every label of the set and that equal names stay together."""
    if len(merge) != len(labels) or set(merge) != set(range(len(others))):
        raise UserError(
            f"{where}: '{name}' has {len(others)} labels and the task "
            f"{len(labels)}; say with 'merge' which label of the set each label "
            "of the task counts as"
        )
    for label, to in zip(labels, merge, strict=True):
        if label in others and others[to] != label:
            raise UserError(
                f"{where}: its label '{label}' would count as '{others[to]}' of '{name}', which "
                f"has '{label}' itself; give 'merge', with {others.index(label)} for '{label}'"
            )


def _check_leaks(study: "Study", name: str, protocol: str, where: str) -> None:
    """Check that the rows which shots are drawn from are evaluated nowhere."""
    if "train" not in study.tasks[name]["splits"]:
        return
    shots = _raw_rows(study, name, "train")
    for evaluation in [name, *(other for other, _ in study.out_of_domain(name, protocol))]:
        if _raw_rows(study, evaluation, "validation") == shots:
            raise UserError(
                f"{where}: splits: train and the validation split of '{evaluation}' are the same "
                "rows; shots must not be evaluation rows"
            )


def _raw_rows(study: "Study", name: str, split: str) -> tuple:
    """Return what identifies the raw rows of a task's split, whatever they are called."""
    source = study.tasks[study.source_of(name)]["source"]
    raw = study.tasks[name]["splits"][split]
    if "url" in source:
        return tuple(part["address"] for part in as_list(source["url"][raw]))
    if "local" in source:
        return tuple(Path(path).expanduser().resolve() for path in as_list(source["local"][raw]))
    if "hub" in source:
        return source["hub"], *as_list(source["files"][raw])
    return source["synthetic"], source["seed"], raw


def check_train(study: "Study", name: str, where: str) -> None:
    """Check that a task has rows to draw shots from."""
    if "train" not in study.tasks[name]["splits"]:
        raise UserError(f"{where}: task '{name}' has no train split to draw shots from")


def check_draw(study: "Study", name: str, k: int, where: str, balanced: bool = True) -> None:
    """Check that k shots of a task can be drawn, `balanced` over its labels: that labels get as
    many each, and that k is no more than the training rows, as far as its entry tells them."""
    labels = len(study.tasks[name]["labels"])
    if balanced and k % labels:
        raise UserError(
            f"{where}: k = {k} cannot be balanced over the {labels} labels of task '{name}'; "
            f"valid: multiples of {labels}"
        )
    stated = stated_rows(study.tasks[name], study.tasks, "train") if k else None
    if not stated:
        return
    key, rows = stated
    by_label = isinstance(rows, Mapping)
    most = sum(rows.values()) if by_label else rows
    if balanced:
        most = labels * (min(rows.values()) if by_label else rows // labels)
    if k > most:
        told = ", ".join(f"{n} of '{label}'" for label, n in rows.items()) if by_label else rows
        raise UserError(
            f"{where}: k = {k} is more than the training rows of task '{name}' allow: {told} "
            f"({key} in {study.file('tasks', name)}); valid: "
            f"{f'multiples of {labels} ' if balanced else ''}up to {most}"
        )


def check_local_files(source: Mapping, where: str) -> None:
    """Check that the files of a local source are there."""
    for split, entry in source.get("local", {}).items():
        for path in as_list(entry):
            if not Path(path).expanduser().is_file():
                raise UserError(f"{where}: source file of '{split}' not found: {path}")


def stated_rows(
    entry: Mapping, tasks: Mapping[str, Mapping], split: str
) -> tuple[str, int | Mapping[str, int]] | None:
    """Return which key of a task's entry states the rows of a split, and the rows, in all or by
    label: `expected`, `subsample`, or `sizes` of a synthetic source, before any is filtered."""
    expected = entry.get("expected", {}).get(split)
    if expected is not None:
        return "expected", expected
    cut = entry.get("subsample", {})
    if split in cut.get("splits", ()):
        return "subsample", cut["rows"]
    source = entry["source"]
    source = tasks[source]["source"] if isinstance(source, str) else source
    rows = source.get("sizes", {}).get(entry["splits"].get(split))
    if rows is None:
        return None
    raw = LABELS.get(source["synthetic"])
    if raw is None or entry["label"] != "label":
        return "sizes", rows
    return "sizes", _synthetic_rows(entry, rows, len(raw))


def _synthetic_rows(entry: Mapping, size: int, number: int) -> dict[str, int]:
    """Return the rows by label of a synthetic split, whose raw labels take turns."""
    raw = {str(value): len(range(value, size, number)) for value in range(number)}
    groups = {
        label: values if isinstance(values, list) else [values]
        for label, values in entry["labels"].items()
    }
    return {
        label: sum(raw.get(value, 0) for value in set(map(str, values)))
        for label, values in groups.items()
    }
