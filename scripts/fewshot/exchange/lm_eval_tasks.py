"""Write in-context cells as tasks of lm-evaluation-harness, with the stored shots.

The harness (lm_eval 0.4.13) shows a task's `samples` in their order with `sampler: first_n`; texts
are put together here, so that a template engine never sees them. Its prompts are then ours to the
letter, and so are, up to rounding, its log-probabilities.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from .. import storage
from ..data.shots import read_shots
from ..errors import UserError
from ..prompts.patterns import Pattern, restore_pattern

LOG = logging.getLogger(__name__)

VERSION = 1
"""Version of the tasks, which the harness prints beside their results."""


def task_name(cell: dict, seed: int, name: str) -> str:
    """Return the harness's name of one cell's seed on evaluation set `name`."""
    pattern = cell["pattern"]["name"]
    return f"{cell['protocol']}_{cell['task']}_{pattern}_k{cell['k']}_seed{seed}_{name}"


def write_tasks(folder: str | Path, cells: Sequence[dict]) -> list[str]:
    """Write a YAML file for each cell, seed and evaluation set, and their rows; return the names.

    Each cell has protocol, task, k, pattern (a bound one), seeds, evaluation (set, merge and path
    of each), train (path) and shots (seed → path). Paths in the tasks are relative to `folder`,
    where lm_eval is to be started. Raises UserError for rows without texts, or for a pattern whose
    demonstrations are not query, label word and separator.
    """
    folder = Path(folder)
    names = []
    for cell in cells:
        pattern = restore_pattern(cell["pattern"])
        if pattern.words_alone:
            LOG.warning("pattern '%s': the harness reads words and prompt together, this study "
                        "apart; log-probabilities may differ", pattern.name)  # fmt: skip
        paths = {int(seed): path for seed, path in cell["shots"].items()}
        shots = read_shots(cell["train"], paths) if paths else {}
        for each in cell["evaluation"]:
            rows = folder / f"rows/{cell['task']}_{pattern.name}_{each['set']}.jsonl"
            if not rows.exists():
                _write_rows(rows, pattern, storage.read_rows(each["path"]), each["merge"])
            for seed in cell["seeds"]:
                names.append(task_name(cell, seed, each["set"]))
                task = _task(cell, seed, each["set"], shots.get(seed), rows.relative_to(folder))
                text = yaml.safe_dump(task, sort_keys=False, allow_unicode=True)
                with storage.atomic(folder / f"{names[-1]}.yaml") as partial:
                    partial.write_text(text, encoding="utf-8")
    LOG.info("%d tasks in %s", len(names), folder)
    return names


def _task(cell: dict, seed: int, name: str, shots: pd.DataFrame | None, rows: Path) -> dict:
    """Return the harness's configuration of one task."""
    pattern = restore_pattern(cell["pattern"])
    identity = {key: cell[key] for key in ("protocol", "task", "k")}
    identity |= {"pattern": pattern.name, "seed": seed, "evaluation_set": name}
    shown = {"num_fewshot": 0}
    if shots is not None:
        samples = _samples(pattern, shots)
        shown = {
            "num_fewshot": len(samples),
            "fewshot_config": {"sampler": "first_n", "samples": samples},
        }
    return {
        "task": task_name(cell, seed, name),
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": rows.as_posix()}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_target": "target",
        "doc_to_choice": list(pattern.words),
        # Words carry their own blanks.
        "target_delimiter": "",
        "fewshot_delimiter": pattern.separator,
        **shown,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": VERSION, "fairshot": identity},
    }


def _samples(pattern: Pattern, shots: pd.DataFrame) -> list[dict]:
    """Return a draw as the harness's fixed samples; raises UserError where they read otherwise."""
    samples, shown = [], ""
    for label, a, b in zip(shots["label"], shots["text_a"], shots["text_b"], strict=True):
        end = pattern.words[label] + pattern.separator
        # A demonstration may read otherwise than a query before its label word.
        samples.append({"query": pattern.demonstration(label, a, b).removesuffix(end)})
        samples[-1]["target"] = int(label)
        shown += samples[-1]["query"] + end
    if shown != pattern.context_of(shots):
        raise UserError(
            f"patterns.yaml: pattern '{pattern.name}': its demonstrations do not end in "
            "label word and separator, as lm-evaluation-harness writes them"
        )
    return samples


def _write_rows(path: Path, pattern: Pattern, rows: pd.DataFrame, merge: Sequence[int]) -> None:
    """Write evaluation rows: id, texts, the query, and the label words that are right."""
    right = {label: [i for i, to in enumerate(merge) if to == label] for label in set(merge)}
    one = all(len(words) == 1 for words in right.values())
    with storage.atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for number, label, a, b in zip(
            rows["id"], rows["label"], rows["text_a"], rows["text_b"], strict=True
        ):
            words = right[int(label)]
            doc = {"id": int(number), "text_a": a, "text_b": b, "query": pattern.query(a, b)}
            doc["target"] = words[0] if one else words
            file.write(json.dumps(doc, ensure_ascii=False) + "\n")
