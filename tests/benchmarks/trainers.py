"""transformers' Trainer, as the predecessor sets it and with one setting better.

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

import pandas as pd
import torch
from fewshot.rng import generator
from torch import nn
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from . import systems
from .measuring import wait
from .trainings import Trained, Work, texts

PADDED = 256
"""Tokens to which llmft pads and cuts; rows here have no more, so that nothing is cut."""
EVALUATION_ROWS = 10
"""Rows of an evaluation batch: what llmft's scripts say."""
NOT_ASKED = -100
"""The label of positions that no answer is asked at."""


def trainer_padded(model: nn.Module, work: Work) -> Trained:
    """Train with every row padded to `PADDED` tokens."""
    return _train(model, work, PADDED)


def trainer_dynamic(model: nn.Module, work: Work) -> Trained:
    """Train with rows padded to the longest of their batch."""
    return _train(model, work, 0)


def _train(model: nn.Module, work: Work, length: int) -> Trained:
    words = _words(work)
    steps = work.settings["epochs"] * math.ceil(len(work.shots) / work.settings["batch_size"])
    last = _LastScores(work.settings["epochs"])
    trainer = _Measured(
        model=model,
        args=_arguments(work),
        data_collator=lambda rows: collate(rows, length),
        train_dataset=_dataset(work, work.shots, words),
        eval_dataset=_dataset(work, work.own, words),
        compute_loss_func=_loss,
        compute_metrics=last,
        preprocess_logits_for_metrics=lambda logits, labels: logits[labels != NOT_ASKED],
        optimizers=_optimizer(model, work.settings, steps),
        order=_Order(len(work.shots), work.task, work.seed),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    labels = torch.log_softmax(torch.from_numpy(last.logits).float(), dim=-1)[:, words]

    def scorer(rows: pd.DataFrame) -> Callable[[], object]:
        dataset = _dataset(work, rows, words)
        return lambda: trainer.predict(dataset)

    return Trained(
        losses=trainer.epoch_losses(),
        logprobs=labels.numpy(),
        steps=trainer.state.global_step,
        train_seconds=trainer.seconds["train"],
        score_seconds=trainer.seconds["score"],
        scored_rows=work.settings["epochs"] * len(work.own),
        scorer=scorer,
    )


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
    """The order of rows that this project's loop has in each epoch."""

    def __init__(self, rows: int, task: str, seed: int):
        self.rows, self.task, self.seed, self.epoch = rows, task, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        draw = generator("batches", self.task, self.seed, self.epoch + 1)
        return iter(draw.permutation(self.rows).tolist())


class _Measured(Trainer):
    """A Trainer with a given order of rows, which keeps losses and the seconds of its phases."""

    def __init__(self, *args, order: Sampler, **more):
        super().__init__(*args, **more)
        self.order, self.losses = order, []
        self.seconds = {"train": 0.0, "score": 0.0}
        self.add_callback(_Epochs(self.seconds, self.args.device.type))

    def _get_train_sampler(self, train_dataset=None) -> Sampler:
        return self.order

    def training_step(self, model, inputs, *args, **more) -> torch.Tensor:
        rows = len(inputs["labels"])
        loss = super().training_step(model, inputs, *args, **more)
        self.losses.append((loss, rows))
        return loss

    def evaluate(self, *args, **more) -> dict[str, float]:
        started = time.perf_counter()
        metrics = super().evaluate(*args, **more)
        self.seconds["score"] += time.perf_counter() - started
        return metrics

    def epoch_losses(self) -> list[float]:
        """Return the mean loss over the rows of each epoch."""
        steps = math.ceil(len(self.order) / self.args.per_device_train_batch_size)
        epochs = [self.losses[at : at + steps] for at in range(0, len(self.losses), steps)]
        return [
            sum(loss.item() * rows for loss, rows in epoch) / len(self.order) for epoch in epochs
        ]


class _Epochs(TrainerCallback):
    """Adds up the seconds of the epochs, without the evaluation that follows each."""

    def __init__(self, seconds: dict[str, float], device: str):
        self.seconds, self.device, self.started = seconds, device, 0.0

    def on_epoch_begin(self, *args, **more) -> None:
        wait(self.device)
        self.started = time.perf_counter()

    def on_epoch_end(self, *args, **more) -> None:
        wait(self.device)
        self.seconds["train"] += time.perf_counter() - self.started


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


def _loss(outputs, labels: torch.Tensor, num_items_in_batch=None) -> torch.Tensor:
    """Return the mean cross-entropy over the vocabulary at the positions that are asked."""
    asked = labels != NOT_ASKED
    total = functional.cross_entropy(outputs.logits[asked].float(), labels[asked], reduction="sum")
    return total / (asked.sum() if num_items_in_batch is None else num_items_in_batch)


def _optimizer(model: nn.Module, settings: dict, steps: int):
    """Return AdamW and its schedule: a linear rise over the warm-up, then constant."""
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=settings["learning_rate"],
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=settings["weight_decay"],
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


def _words(work: Work) -> list[int]:
    return systems.tokenize(_prompts(work, work.own.iloc[:1]))[1]


def _dataset(work: Work, rows: pd.DataFrame, words: list[int]) -> list[dict]:
    """Return the tokens of each row and the token of its gold label's word."""
    prompts, _ = systems.tokenize(_prompts(work, rows))
    pairs = zip(prompts, rows["label"].tolist(), strict=True)
    return [{"ids": ids, "target": words[label]} for ids, label in pairs]


def _prompts(work: Work, rows: pd.DataFrame) -> systems.Job:
    return systems.Job(work.tokenizer, work.pattern, "", texts(work, rows), batch=0)
