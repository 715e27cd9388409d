"""What a training system is asked to do and gives back; and transformers' Trainer as such systems.

    trainer-padded   as uds-lsv/llmft sets it: every row padded to 256 tokens
    trainer-dynamic  the same, rows padded to the longest of their batch

As in llmft's `OPTWithLMClassifier`, the readout meets all positions, loss and scores are taken from
the answer position, and the vocabulary's logits there go to the host. That is the lighter of two
usual ways: the loss that transformers' own classes compute takes a softmax at every position too.
Order of the batches, rate and clipping are this project's, so that losses can be compared.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from fewshot.prompts.patterns import Pattern
from fewshot.rng import generator
from torch import nn
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from . import cases
from .clocks import wait

PADDED = 256
"""Tokens to which llmft pads and cuts; rows here have no more, so that nothing is cut."""
EVALUATION_ROWS = 10
"""Rows of an evaluation batch: what llmft's scripts say."""
NOT_ASKED = -100
"""The label of positions that no answer is asked at."""
WARM_ROWS = 2


@dataclass(frozen=True)
class Work:
    """What a system is to do: train on `shots`, scoring `own` (both schemas.ROWS) every epoch.

    `settings` are those of a method in config/methods.yaml, `batch_tokens` the padded tokens of
    fairshot's scoring batches. With `dtype` "bfloat16" fairshot trains bfloat16 weights beside
    their float32 originals (ZeRO), the Trainer float32 weights under autocast.
    """

    pattern: Pattern
    task: str
    model: str
    seed: int
    shots: pd.DataFrame = field(repr=False)
    own: pd.DataFrame = field(repr=False)
    settings: dict
    dtype: str
    device: str
    threads: int
    batch_tokens: int
    tokenizer: object = None
    scratch: str = ""

    def short(self) -> "Work":
        """Return the work of a warm-up: one batch, one epoch, few rows to score."""
        return replace(
            self,
            shots=self.shots.iloc[: self.settings["batch_size"]],
            own=self.own.iloc[:WARM_ROWS],
            settings={**self.settings, "epochs": 1},
        )


@dataclass(frozen=True)
class Trained:
    """What a training run gave.

    losses: the mean loss of each epoch, of the passes before each step. logprobs [rows, labels]:
    the label words' log-probabilities of the work's own rows after the last epoch. The seconds are
    those of all epochs. `scorer(rows)` returns the function that scores further rows.
    """

    losses: list[float]
    logprobs: np.ndarray
    steps: int
    train_seconds: float
    score_seconds: float
    scored_rows: int
    scorer: Callable[[pd.DataFrame], Callable[[], object]] | None


def trainer_padded(model: nn.Module, work: Work) -> Trained:
    """Train with every row padded to `PADDED` tokens."""
    return _train(model, work, PADDED)


def trainer_dynamic(model: nn.Module, work: Work) -> Trained:
    """Train with rows padded to the longest of their batch."""
    return _train(model, work, 0)


def _train(model: nn.Module, work: Work, length: int) -> Trained:
    epochs = work.settings["epochs"]
    steps = math.ceil(len(work.shots) / work.settings["batch_size"])
    clock, loss, last = _Clock(work.device), _Loss(), _LastScores(epochs)
    trainer = _InOrder(
        model=model,
        args=_arguments(work),
        data_collator=lambda rows: collate(rows, length),
        train_dataset=_dataset(work, work.shots),
        eval_dataset=_dataset(work, work.own),
        compute_loss_func=loss,
        compute_metrics=last,
        preprocess_logits_for_metrics=lambda logits, labels: logits[labels != NOT_ASKED],
        optimizers=_optimizer(model, work.settings, epochs * steps),
        callbacks=[clock],
    )
    trainer.order = _Order(len(work.shots), work.task, work.seed)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    queries = cases.texts(work.pattern, work.own)
    _, words = cases.tokenize(work.tokenizer, work.pattern, queries[:1])
    logprobs = torch.log_softmax(torch.from_numpy(last.logits).float(), dim=-1)[:, words]

    def scorer(rows: pd.DataFrame) -> Callable[[], object]:
        dataset = _dataset(work, rows)
        return lambda: trainer.predict(dataset)

    return Trained(
        losses=[
            sum(mean.item() * rows for mean, rows in loss.means[at : at + steps]) / len(work.shots)
            for at in range(0, epochs * steps, steps)
        ],
        logprobs=logprobs.numpy(),
        steps=trainer.state.global_step,
        train_seconds=clock.train,
        score_seconds=clock.score,
        scored_rows=epochs * len(work.own),
        scorer=scorer,
    )


def _dataset(work: Work, rows: pd.DataFrame) -> list[dict]:
    """Return the tokens of each row and the token of its gold label's word."""
    prompts, words = cases.tokenize(work.tokenizer, work.pattern, cases.texts(work.pattern, rows))
    pairs = zip(prompts, rows["label"].tolist(), strict=True)
    return [{"ids": ids, "target": words[label]} for ids, label in pairs]


def collate(rows: list[dict], length: int) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask and labels [rows, tokens], padded on the right.

    There are `length` tokens, or as many as the longest row has if `length` is 0; labels are
    `NOT_ASKED` but at each row's last token. Raises ValueError for a row that is longer.
    """
    longest = max(len(row["ids"]) for row in rows)
    width = length or longest
    if longest > width:
        raise ValueError(f"a row of {longest} tokens does not fit into {width}")
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, NOT_ASKED)
    for i, row in enumerate(rows):
        tokens = len(row["ids"])
        ids[i, :tokens], mask[i, :tokens] = torch.tensor(row["ids"]), 1
        labels[i, tokens - 1] = row["target"]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class _Order(Sampler):
    """The order of rows that this project's loop has in each epoch (from 0)."""

    def __init__(self, rows: int, task: str, seed: int):
        self.rows, self.task, self.seed, self.epoch = rows, task, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        draw = generator("batches", self.task, self.seed, self.epoch + 1)
        return iter(draw.permutation(self.rows).tolist())


class _InOrder(Trainer):
    """A Trainer whose attribute `order` gives the order of rows."""

    def _get_train_sampler(self, train_dataset=None) -> Sampler:
        return self.order


class _Clock(TrainerCallback):
    """Adds up the seconds of the epochs, and those of the evaluation that follows each."""

    def __init__(self, device: str):
        self.device, self.at, self.train, self.score = device, 0.0, 0.0, 0.0

    def _lap(self) -> float:
        wait(self.device)
        before, self.at = self.at, time.perf_counter()
        return self.at - before

    def on_epoch_begin(self, *args, **more) -> None:
        self._lap()

    def on_epoch_end(self, *args, **more) -> None:
        self.train += self._lap()

    def on_evaluate(self, *args, **more) -> None:
        self.score += self._lap()


class _Loss:
    """The mean cross-entropy over the vocabulary at the positions that are asked.

    `means` keeps, of each training step, the loss and its rows.
    """

    def __init__(self):
        self.means: list[tuple[torch.Tensor, int]] = []

    def __call__(self, outputs, labels: torch.Tensor, num_items_in_batch=None) -> torch.Tensor:
        asked = labels != NOT_ASKED
        mean = functional.cross_entropy(outputs.logits[asked].float(), labels[asked])
        if mean.requires_grad:
            self.means.append((mean.detach(), len(labels)))
        return mean


class _LastScores:
    """Computes accuracy over the vocabulary, as llmft does, and keeps the last epoch's logits."""

    def __init__(self, epochs: int):
        self.left, self.logits = epochs, None

    def __call__(self, found) -> dict[str, float]:
        self.left -= 1
        # Kept once only, when nothing is trained any more: they would add to the peak of memory.
        if self.left == 0:
            self.logits = found.predictions
        gold = found.label_ids.max(axis=1)
        return {"accuracy": float((found.predictions.argmax(axis=1) == gold).mean())}


def _optimizer(model: nn.Module, settings: dict, steps: int):
    """Return AdamW and its schedule: a linear rise over the warm-up, then constant."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["learning_rate"], weight_decay=settings["weight_decay"]
    )
    warm = max(1, math.ceil(settings["warmup"] * steps - 1e-9))
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm))
    return optimizer, rate


def _arguments(work: Work) -> TrainingArguments:
    return TrainingArguments(
        output_dir=work.scratch,
        num_train_epochs=work.settings["epochs"],
        per_device_train_batch_size=work.settings["batch_size"],
        per_device_eval_batch_size=EVALUATION_ROWS,
        max_grad_norm=work.settings["gradient_clip"],
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        bf16=work.dtype == "bfloat16",
        use_cpu=work.device == "cpu",
        dataloader_pin_memory=work.device == "cuda",
    )
