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
from ..models.tokenizer import load_tokenizer
from ..prompts.chat import read_pattern
from ..prompts.patterns import ChannelPattern, Pattern

LOG = logging.getLogger(__name__)

VERSION = 1
"""Version of the tasks, which the harness prints beside their results."""


def task_name(cell: dict, seed: int, name: str) -> str:
    """Return the harness's name of one cell's seed on evaluation set `name`."""
    return f"{cell['protocol']}_{_prompts(cell)}_k{cell['k']}_seed{seed}_{name}"


def _prompts(cell: dict) -> str:
    """Return task and pattern as file names have them, with the model whose chat they are."""
    model = [cell["model"]] if "model" in cell else []
    return "_".join([cell["task"], *model, cell["pattern"]["name"]])


def cell_pattern(cell: dict) -> Pattern:
    """Return the pattern of a cell, in the chat template of its model if it has a `manifest`."""
    path = cell.get("manifest")
    return read_pattern(cell["pattern"], load_tokenizer(path) if path else None)


def write_tasks(folder: str | Path, cells: Sequence[dict]) -> list[str]:
    """Write a YAML file for each cell, seed and evaluation set, and their rows; return the names.

    Each cell has protocol, task, k, pattern (a bound one), seeds, evaluation (set, merge and path
    of each), train (path) and shots (seed → path); those of a model with `chat` its name and the
    path of its manifest too. Paths in the tasks are relative to `folder`, where lm_eval is to be
    started. Raises UserError for rows without texts, or for a pattern whose demonstrations are not
    query, label word and separator (as with channel scoring).
    """
    folder = Path(folder)
    names = []
    for cell in cells:
        pattern = cell_pattern(cell)
        if isinstance(pattern, ChannelPattern):
            raise UserError(
                f"patterns.yaml: pattern '{pattern.name}' scores texts behind label words "
                "(rank_by: channel), for which lm-evaluation-harness has no task; export a study "
                "without it"
            )
        if pattern.words_alone:
            LOG.warning("pattern '%s': the harness reads words and prompt together, this study "
                        "apart; log-probabilities may differ", pattern.name)  # fmt: skip
        paths = {int(seed): path for seed, path in cell["shots"].items()}
        shots = read_shots(cell["train"], paths) if paths else {}
        # Without demonstrations the query has to bring what stands in front of the first one.
        start = "" if shots else pattern.context(())
        for each in cell["evaluation"]:
            alone = "_alone" if start else ""
            rows = folder / f"rows/{_prompts(cell)}{alone}_{each['set']}.jsonl"
            if not rows.exists():
                _write_rows(rows, pattern, storage.read_rows(each["path"]), each["merge"], start)
            for seed in cell["seeds"]:
                names.append(task_name(cell, seed, each["set"]))
                place = rows.relative_to(folder)
                task = _task(cell, pattern, seed, each["set"], shots.get(seed), place)
                text = yaml.safe_dump(task, sort_keys=False, allow_unicode=True)
                with storage.atomic(folder / f"{names[-1]}.yaml") as partial:
                    partial.write_text(text, encoding="utf-8")
    LOG.info("%d tasks in %s", len(names), folder)
    return names


def _task(
    cell: dict, pattern: Pattern, seed: int, name: str, shots: pd.DataFrame | None, rows: Path
) -> dict:
    """Return the harness's configuration of one task."""
    identity = {key: cell[key] for key in ("protocol", "task", "model", "k") if key in cell}
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
        **_choices(pattern),
        "fewshot_delimiter": pattern.separator,
        **shown,
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in ("acc", *(["acc_norm"] if pattern.rank_by == "characters" else []))
        ],
        "metadata": {"version": VERSION, "fairshot": identity},
    }


def _choices(pattern: Pattern) -> dict:
    """Return the label words, and what the harness writes in front of each.

    Words carry their own blanks, but where their characters count: the harness counts a choice's.
    """
    words, blank = list(pattern.words), ""
    if pattern.rank_by == "characters":
        blank = words[0][: len(words[0]) - len(words[0].lstrip())]
        words = [word.removeprefix(blank) for word in words]
    return {"doc_to_choice": words, "target_delimiter": blank}


def _samples(pattern: Pattern, shots: pd.DataFrame) -> list[dict]:
    """Return a draw as the harness's fixed samples; raises UserError where they read otherwise."""
    samples, shown = [], ""
    start = pattern.context(())
    for label, a, b in zip(shots["label"], shots["text_a"], shots["text_b"], strict=True):
        end = pattern.words[label] + pattern.separator
        # A demonstration may read otherwise than a query before its label word.
        query = start + pattern.demonstration(label, a, b).removesuffix(end)
        start = ""
        samples.append({"query": query})
        samples[-1]["target"] = int(label)
        shown += samples[-1]["query"] + end
    if shown != pattern.context_of(shots):
        raise UserError(
            f"patterns.yaml: pattern '{pattern.name}': its demonstrations do not end in "
            "label word and separator, as lm-evaluation-harness writes them"
        )
    return samples


def _write_rows(
    path: Path, pattern: Pattern, rows: pd.DataFrame, merge: Sequence[int], start: str
) -> None:
    """Write evaluation rows: id, texts, the query behind `start`, and the right label words."""
    right = {label: [i for i, to in enumerate(merge) if to == label] for label in set(merge)}
    one = all(len(words) == 1 for words in right.values())
    with storage.atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
        for number, label, a, b in zip(
            rows["id"], rows["label"], rows["text_a"], rows["text_b"], strict=True
        ):
            words = right[int(label)]
            query = start + pattern.query(a, b)
            doc = {"id": int(number), "text_a": a, "text_b": b, "query": query}
            doc["target"] = words[0] if one else words
            file.write(json.dumps(doc, ensure_ascii=False) + "\n")
