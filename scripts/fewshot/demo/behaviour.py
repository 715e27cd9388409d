"""Measure what an embedded model does: by construction, by demonstrations, by label words.

One row of the result counts the rows of one subset that one adaptation labels right. Data seeds of
the demonstrations are arguments, so that settings can be chosen on some and reported on others.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ..data.shots import draw_balanced
from ..data.synthetic import generate
from ..prompts.patterns import Pattern
from ..prompts.tokenize import Queries
from ..rng import generator
from ..scoring.score import score
from .recipes import PATTERNS

PATTERN = {pattern.name: pattern for pattern in PATTERNS}
TASKS = {"synth-mnli": "mnli-like", "synth-rte": "rte-like"}
HANS = "synth-hans"
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Condition:
    """One way to adapt a model: to k rows of a task in one pattern, the label words flipped or not.

    `rate` is the learning rate of fine-tuning; in-context learning has none. `sets` are scored.
    """

    task: str
    pattern: str
    k: int
    flipped: bool = False
    rate: float | None = None
    epochs: int = 20
    sets: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        return "in-context" if self.rate is None else "fine-tuned"


def cells(
    shots: Iterable[int] = (0, 2, 4, 8, 16, 32),
    tuned: Iterable[int] = (4, 16, 64, 128),
    rate: float = 3e-4,
) -> list[Condition]:
    """Return what is measured of each model."""
    rows = []
    for k in shots:
        rows += [
            Condition("synth-mnli", "minimal", k, sets=("synth-mnli", HANS)),
            Condition("synth-rte", "minimal", k, sets=("synth-rte",)),
        ]
        if k:
            rows.append(Condition("synth-mnli", "minimal", k, flipped=True, sets=("synth-mnli",)))
    for pattern in ("gpt-3", "eval-harness"):
        rows += [Condition(task, pattern, 16, sets=(task,)) for task in TASKS]
    for k in tuned:
        rows.append(Condition("synth-mnli", "minimal", k, rate=rate, sets=("synth-mnli", HANS)))
    rows.append(Condition("synth-rte", "minimal", 64, rate=rate, sets=("synth-rte",)))
    return rows


@functools.cache
def rows(name: str, split: str, size: int) -> pd.DataFrame:
    """Return rows of a task or HANS: id, text_a, text_b, label (0 or 1), subset."""
    kind = TASKS.get(name, "hans-like")
    frame = generate(kind, split, size * 3 // 2 if kind == "mnli-like" else size, seed=0)
    if kind == "mnli-like":
        frame = frame[frame["label"] != 1].assign(label=lambda rows: rows["label"] // 2)
    names = {"idx": "id", "premise": "text_a", "hypothesis": "text_b"}
    names |= {"construction": "subset", "subcase": "subset"}
    return frame.rename(columns=names).reset_index(drop=True)


def load(folder: str | Path):
    """Return (model, tokenizer) in float32."""
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def draw(task: str, k: int, seed: int) -> pd.DataFrame:
    """Return k balanced training rows in the order of the context."""
    train = rows(task, "train", 2000)
    shots = draw_balanced(train, k, 2, task, seed)
    return train.set_index("id").loc[shots["id"]].reset_index()


def measure(folder: str | Path, cell: Condition, seeds: Iterable[int], size: int) -> pd.DataFrame:
    """Return counts of right rows by subset and seed (result_schemas.BEHAVIOUR without model)."""
    pattern, measured = PATTERN[cell.pattern], []
    model, tokenizer = load(folder)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for seed in seeds if cell.k else list(seeds)[:1]:
        context, shots = "", draw(cell.task, cell.k, seed) if cell.k else None
        if shots is not None and cell.flipped:
            shots = shots.assign(label=1 - shots["label"])
        if cell.rate is not None:
            model.load_state_dict(start)
            fine_tune(model, tokenizer, pattern, shots, seed, cell.rate, cell.epochs)
        elif shots is not None:
            context = pattern.context_of(shots)
        for name in cell.sets:
            frame = rows(name, "validation", size)
            right = predict(model, tokenizer, pattern, frame, context) == (
                frame["label"].to_numpy() ^ cell.flipped
            )
            counts = pd.Series(right).groupby(frame["subset"]).agg(["size", "sum"])
            counts.columns = ["n", "correct"]
            measured.append(counts.reset_index().assign(evaluation_set=name, seed=seed))
    cell_columns = dict(task=cell.task, pattern=cell.pattern, k=cell.k, flipped=cell.flipped)
    return pd.concat(measured).assign(method=cell.method, **cell_columns)


def predict(model, tokenizer, pattern: Pattern, frame: pd.DataFrame, context: str) -> np.ndarray:
    """Return each row's likeliest label."""
    prompts = Queries(tokenizer, pattern.queries(frame), None, pattern.words).prompts(context)
    scores = score(model, prompts, batch_tokens=BATCH_TOKENS)
    return scores.best_words(np.arange(len(frame)))


def fine_tune(
    model, tokenizer, pattern: Pattern, shots: pd.DataFrame, seed: int, rate: float, epochs: int
) -> None:
    """Train all weights in place: AdamW, batch 32, 10 % warm-up, then a constant rate."""
    prompts = pattern.queries(shots)
    encoded = tokenizer(prompts, padding=True, return_tensors="pt")
    words = tokenizer(list(pattern.words), add_special_tokens=False)["input_ids"]
    answers = torch.tensor([words[label][0] for label in shots["label"]])
    rng = generator("behaviour", seed)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    steps = epochs * -(-len(prompts) // 32)
    warm = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps))
    )
    for _ in range(epochs):
        for part in np.array_split(rng.permutation(len(prompts)), -(-len(prompts) // 32)):
            mask = encoded["attention_mask"][part]
            logits = model(input_ids=encoded["input_ids"][part], attention_mask=mask).logits
            last = logits[torch.arange(len(part)), mask.sum(1) - 1]
            torch.nn.functional.cross_entropy(last, answers[part]).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            warm.step()
            optimizer.zero_grad()


def hypothesis_only(task: str, size: int) -> pd.Series:
    """Return, by construction, how often a bag of the hypothesis's words gives the label.

    Logistic regression, minimising mean cross-entropy + |weights|^2 / (2 * rows), on 2,000
    training rows.
    """
    train, test = rows(task, "train", 2000), rows(task, "validation", size)
    words = sorted({word for text in train["text_b"] for word in text.lower().split()})

    def bags(frame: pd.DataFrame) -> torch.Tensor:
        said = [set(text.lower().split()) for text in frame["text_b"]]
        return torch.tensor([[float(word in words_said) for word in words] for words_said in said])

    weights = torch.zeros(len(words), requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=100)
    features, labels = bags(train), torch.tensor(train["label"].to_numpy()).float()

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = features @ weights + bias
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        value = value + weights.square().sum() / (2 * len(labels))
        value.backward()
        return value

    optimizer.step(loss)
    said = (bags(test) @ weights + bias > 0).detach().numpy()
    return pd.Series(said == (test["label"] == 1)).groupby(test["subset"]).mean()
