"""Measure a checkpoint: in-context learning and fine-tuning with plain transformers calls."""

import functools

import numpy as np
import pandas as pd
import scipy.stats
import torch
from fewshot.embedded import PATTERNS
from fewshot.sampling import draw_balanced, generator
from fewshot.synthetic import generate
from transformers import AutoModelForCausalLM, AutoTokenizer

PATTERN = {pattern.name: pattern for pattern in PATTERNS}
TASKS = {"synth-mnli": "mnli-like", "synth-rte": "rte-like"}


@functools.cache
def rows(kind: str, split: str, size: int) -> pd.DataFrame:
    """Return the rows of a binary task: id, text_a, text_b, label."""
    frame = generate(kind, split, size * 3 // 2 if kind == "mnli-like" else size, seed=0)
    if kind == "mnli-like":
        frame = frame[frame["label"] != 1].assign(label=lambda found: found["label"] // 2)
    names = {"idx": "id", "premise": "text_a", "hypothesis": "text_b"}
    return frame.rename(columns=names).reset_index(drop=True)


def load(folder):
    """Return (model, tokenizer) in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def label_logits(model, tokenizer, pattern, prompts, batch: int = 50) -> torch.Tensor:
    """Return (prompts, words) logits of the label words after each prompt."""
    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in pattern.words]
    found = []
    for start in range(0, len(prompts), batch):
        encoded = tokenizer(prompts[start : start + batch], padding=True, return_tensors="pt")
        last = encoded["attention_mask"].sum(1) - 1
        logits = model(
            input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]
        ).logits
        found.append(logits[torch.arange(len(last)), last][:, words])
    return torch.cat(found)


def accuracy(model, tokenizer, pattern, frame, context: str = "") -> float:
    """Return the share of rows whose own label word is the likeliest."""
    prompts = [context + pattern.query(*texts) for texts in frame[["text_a", "text_b"]].to_numpy()]
    with torch.no_grad():
        chosen = label_logits(model, tokenizer, pattern, prompts).argmax(1).numpy()
    return float((chosen == frame["label"].to_numpy()).mean())


def draw(task: str, k: int, seed: int) -> pd.DataFrame:
    """Return k balanced training rows in the order of the context."""
    train = rows(TASKS[task], "train", 2000)
    shots = draw_balanced(train, k, 2, task, seed)
    return train.set_index("id").loc[shots["id"]].reset_index()


def context_of(pattern, shots: pd.DataFrame) -> str:
    """Return the demonstrations as one text."""
    return pattern.context(list(shots[["label", "text_a", "text_b"]].itertuples(index=False)))


def fine_tune(model, tokenizer, pattern, shots, seed: int, rate: float, epochs: int = 40) -> None:
    """Train all weights in place: AdamW, batch 32, 10 % warm-up, then a constant rate."""
    prompts = [pattern.query(*texts) for texts in shots[["text_a", "text_b"]].to_numpy()]
    labels = torch.tensor(shots["label"].to_numpy())
    rng = generator("behaviour", seed)
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad], lr=rate
    )
    steps = epochs * -(-len(prompts) // 32)
    warm = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / (0.1 * steps))
    )
    for _ in range(epochs):
        order = rng.permutation(len(prompts))
        for start in range(0, len(order), 32):
            part = order[start : start + 32]
            logits = label_logits(model, tokenizer, pattern, [prompts[i] for i in part])
            torch.nn.functional.cross_entropy(logits, labels[part]).backward()
            optimizer.step()
            warm.step()
            optimizer.zero_grad()


def interval(values) -> tuple[float, float, float]:
    """Return mean and 95 % t interval, mean -+ t(.975, n - 1) * sd / sqrt(n)."""
    values = np.asarray(values, float)
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)
    return values.mean(), values.mean() - half, values.mean() + half
