"""What benchmarks give to the project's code: real rows, its own draws and patterns, jobs."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
from fewshot.adaptation.job import AdaptationJob
from fewshot.data.evaluation_sets import EvaluationSet
from fewshot.data.prepare import prepare_rows
from fewshot.data.readers import read_raw
from fewshot.data.shots import draw_balanced
from fewshot.errors import UserError
from fewshot.models.tokenizer import load_tokenizer
from fewshot.prompts.patterns import Pattern, bind_pattern
from fewshot.prompts.tokenize import Queries
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from fewshot.scoring.packing import length_of
from fewshot.scoring.reader import best_route
from fewshot.scoring.score import Scores, score
from fewshot.storage import read_table
from fewshot.study.registries import load_registries
from fewshot.validation import read_yaml

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("FAIRSHOT_TEST_DATA", ROOT.parent / "shared" / "data"))
WINDOW = 2048
SEEDS = 10
"""Data seeds that are tried for a draw that fits."""
PATTERN = "eval-harness"
FILES = {
    ("rte", "train"): "rte_train.jsonl",
    ("rte", "validation"): "rte_validation.jsonl",
    ("mnli", "train"): "mnli_train_sample.jsonl",
    ("mnli", "validation"): "mnli_validation_matched_sample.jsonl",
    ("hans", "validation"): "hans_sample.jsonl",
}
TOKENIZERS = {"opt": ("opt_tokenizer", "opt-125m"), "pythia": ("neox_tokenizer", "pythia-160m")}


@dataclass(frozen=True)
class Case:
    """Rows of one task behind one context.

    `texts` are queries, `labels` their gold labels, `lengths` the tokens of the whole prompts;
    `shared` counts the tokens that all prompts begin with. Where no seed's prompts fit, the status
    says so, and all is that of the shortest draw.
    """

    task: str
    k: int
    seed: int
    pattern: Pattern
    context: str
    texts: list[str]
    labels: list[int]
    lengths: list[int]
    shared: int

    @property
    def status(self) -> str:
        """Return "ok" if the model can read the longest prompt, else "does not fit"."""
        return "ok" if max(self.lengths) <= WINDOW else "does not fit"

    def take(self, rows: Sequence[int]) -> "Case":
        """Return the case with some of its rows, by position."""
        texts, labels, lengths = (
            [values[row] for row in rows] for values in (self.texts, self.labels, self.lengths)
        )
        return replace(self, texts=texts, labels=labels, lengths=lengths)


@cache
def rows_of(folder: Path, task: str, split: str) -> pd.DataFrame:
    """Return the prepared rows of a split; raises UserError, saying what to do, without them."""
    prepared, raw = folder / task / f"{split}.parquet", folder / FILES[task, split]
    if prepared.is_file():
        return read_table(prepared)
    if raw.is_file():
        return prepare_rows(read_raw(raw), _registries()["tasks"][task], task, split)
    raise UserError(
        f"{folder}: no rows of task '{task}' ({task}/{split}.parquet or {raw.name}); name their "
        "folder with --data, or prepare them with `snakemake data --configfile config/paper.yaml`"
    )


def default_folder(kind: str) -> Path:
    """Return where rows ("data") or tokenizers ("models") lie unless the user says."""
    return SHARED if (SHARED / "rte_train.jsonl").is_file() else ROOT / "results" / kind


def tokenizer(folder: Path, family: str):
    """Return the tokenizer of a family of models ("opt", "pythia"), which lies below `folder`.

    Raises UserError, saying what to do, where it does not.
    """
    for name in TOKENIZERS[family]:
        if (folder / name / "manifest.json").is_file():
            return load_tokenizer(folder / name / "manifest.json")
        if (folder / name).is_dir():
            with tempfile.TemporaryDirectory() as scratch:
                manifest = Path(scratch) / "manifest.json"
                manifest.write_text(json.dumps({"path": str((folder / name).resolve())}))
                return load_tokenizer(manifest)
    raise UserError(
        f"{folder}: no tokenizer of the {family} family ({' or '.join(TOKENIZERS[family])}); name "
        "the folder that holds theirs with --tokenizers"
    )


def make_case(folder: Path, tokenizer, task: str, k: int, pattern: str = PATTERN) -> Case:
    """Return the validation rows behind the first draw of k shots whose longest prompt fits."""
    bound, rows = bound_pattern(task, pattern), rows_of(folder, task, "validation")
    queries, labels = texts(bound, rows), rows["label"].astype(int).tolist()
    tried = []
    for seed in range(SEEDS if k else 1):
        shots = _shots(rows_of(folder, task, "train"), task, k, seed)
        columns = zip(shots["label"], shots["text_a"], shots["text_b"], strict=True)
        context = bound.context(list(columns))
        encoded = tokenizer([context + query for query in queries])["input_ids"]
        lengths, shared = [len(ids) for ids in encoded], common(encoded)
        tried.append(Case(task, k, seed, bound, context, queries, labels, lengths, shared))
        if tried[-1].status == "ok":
            return tried[-1]
    return min(tried, key=lambda case: max(case.lengths))


def draw_within(
    folder: Path, tokenizer, pattern: Pattern, task: str, k: int, longest: int
) -> tuple[int, pd.DataFrame]:
    """Return the first data seed whose k training rows have at most `longest` tokens each, and
    those rows in the order of the draw; raises UserError where no seed's do."""
    for seed in range(SEEDS):
        shots = _shots(rows_of(folder, task, "train"), task, k, seed)
        if max(query_lengths(tokenizer, pattern, shots)) <= longest:
            return seed, shots.reset_index(drop=True)
    raise UserError(f"task '{task}': in every draw of k = {k} a row has over {longest} tokens")


def spread_rows(
    folder: Path, tokenizer, pattern: Pattern, task: str, count: int, longest: int
) -> pd.DataFrame:
    """Return validation rows of a task, `count` at most, spread evenly over their lengths.

    Raises UserError where one of them, as a query, has more than `longest` tokens.
    """
    rows = rows_of(folder, task, "validation")
    lengths = query_lengths(tokenizer, pattern, rows)
    chosen = stratified(lengths, count)
    if max(lengths[row] for row in chosen) > longest:
        raise UserError(f"task '{task}': an evaluation row has over {longest} tokens")
    return rows.iloc[chosen].reset_index(drop=True)


def query_lengths(tokenizer, pattern: Pattern, rows: pd.DataFrame) -> list[int]:
    """Return the tokens of each row as a query without context."""
    return [len(ids) for ids in tokenizer(texts(pattern, rows))["input_ids"]]


def texts(pattern: Pattern, rows: pd.DataFrame) -> list[str]:
    """Return the rows as queries."""
    return [pattern.query(a, b) for a, b in zip(rows["text_a"], rows["text_b"], strict=True)]


def tokenize(
    tokenizer, pattern: Pattern, prompts: Sequence[str]
) -> tuple[list[list[int]], list[int]]:
    """Return the tokens of each prompt and the one token of each label word behind it."""
    encoded = tokenizer(list(prompts))["input_ids"]
    whole = tokenizer([prompts[0] + word for word in pattern.words])["input_ids"]
    if any(ids[:-1] != encoded[0] for ids in whole):
        raise ValueError(f"a label word of {pattern.words} is not one token")
    return encoded, [ids[-1] for ids in whole]


def method_settings(name: str) -> dict:
    """Return the settings of a method of config/methods.yaml, with what it inherits."""
    return dict(_registries()["methods"][name])


def common(rows: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens all rows share."""
    first, last = min(rows), max(rows)
    pairs = enumerate(zip(first, last, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))


def shared_tokens(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens of all prompts can be read once: each keeps one at least."""
    return min(common(prompts), min(map(len, prompts)) - 1)


def bound_pattern(task: str, name: str = PATTERN) -> Pattern:
    """Return a pattern of config/patterns.yaml with the words of a task."""
    registries = _registries()
    return bind_pattern(name, registries["patterns"][name], task, registries["tasks"][task])


def stratified(lengths: list[int], count: int) -> list[int]:
    """Return `count` positions, spread evenly over the positions sorted by length."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    count = min(count, len(order))
    return sorted(order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count))


def study_batch_tokens(device: str) -> int:
    """Return the padded tokens of a batch that a study has unless it says otherwise."""
    schema = read_yaml(ROOT / "config" / "schema" / "study.yaml")
    kinds = schema["properties"]["batch_tokens"]["properties"]
    return kinds["gpu" if device == "cuda" else "cpu"]["default"]


@dataclass(frozen=True)
class Scorer:
    """Prompts that are tokenized, and the function that scores them.

    `prefix` counts the tokens that all prompts share, `own[i]` those of sequence i beyond them;
    `run(model, batch_tokens)` returns the scores of the pattern's words behind each prompt.
    """

    prefix: int
    own: list[int]
    run: Callable[..., Scores]


def scorer(tokenizer, pattern: Pattern, context: str, queries: Sequence[str]) -> Scorer:
    """Tokenize the prompts `context + query`, each to be continued by the pattern's words."""
    prompts = Queries(tokenizer, queries, words=pattern.words).prompts(context)

    def run(model, batch_tokens: int) -> Scores:
        return score(model, prompts, batch_tokens=batch_tokens)

    _, pieces = best_route(prompts)
    return Scorer(len(prompts.prefix), [length_of(prompts, piece) for piece in pieces], run)


def adaptation_job(
    seed: int, shots: pd.DataFrame, own: pd.DataFrame, placement: Placement, **given
) -> AdaptationJob:
    """Return a job that trains on `shots` and scores `own`, as Snakemake's script would read it.

    `given` are task, model and dtype, the method's name and settings, pattern, batch_tokens (of
    either device) and threads.
    """
    pattern = given["pattern"]
    labels = tuple(map(str, range(len(pattern.words))))
    return AdaptationJob(
        cell={
            "protocol": "fair",
            **{name: given[name] for name in ("task", "model", "method")},
            "pattern": pattern.name,
            "k": len(shots),
        },
        base=given["task"],
        seeds=(seed,),
        status={seed: "ok"},
        labels=labels,
        pattern=pattern,
        settings=given["settings"],
        model={"dtype": given["dtype"], "parameters": 0, "window": WINDOW},
        model_manifest=Path(),
        evaluation=(
            EvaluationSet(given["task"], tuple(range(len(labels))), own, label_names=labels),
        ),
        shots={seed: shots},
        batch_tokens={"cpu": given["batch_tokens"], "gpu": given["batch_tokens"]},
        placement=placement,
        threads=given["threads"],
        processes=ProcessGroup(),
        checksums={},
        code="",
        output=None,
    )


def _shots(train: pd.DataFrame, task: str, k: int, seed: int) -> pd.DataFrame:
    if k == 0:
        return train.iloc[:0]
    labels = int(train["label"].max()) + 1
    drawn = draw_balanced(train, k, labels, task, seed)
    return train.set_index("id", drop=False).loc[drawn["id"]].astype({"label": int})


@cache
def _registries() -> dict[str, dict]:
    return load_registries(ROOT / "config")
