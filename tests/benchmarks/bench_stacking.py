"""Measure what training seeds together saves: `make bench-stacking`.

One cell is trained on ten draws of synthetic rows (minimal pattern, 17 tokens each) or, with
`--folds`, on the folds of these, without an evaluation worth mention, in three ways:

    fairshot       this project's loop, as many seeds or folds at once as it puts together
    seed by seed   the same loop, one after the other
    peft           plain PyTorch and peft, one after the other: AdamW, clipping, warm-up, whole
                   batches, padded to the longest row

Rows, order, initial values and rates are the same, so that losses must be too; their largest
difference from fairshot's is a column. Models are the embedded ones, published shapes with random
weights, and OPT-125M's layers with a width of 8 (opt-narrow): nothing but the overhead of a step,
as where a GPU waits for its next kernel. peft's (IA)³ is measured where it scales the same as this
project's: not for Pythia, whose fused projection it scales as a whole.

Each system has a process of its own and a short training to warm up. Seconds are of the median
training of all, by how many there are, from the start of the first to the end of the last.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import peft
import pyarrow as pa
import torch
from fewshot.adaptation import setup as setup_module
from fewshot.adaptation import training
from fewshot.adaptation.batches import epoch_order
from fewshot.adaptation.held_out import fold_jobs
from fewshot.adaptation.learning_rate import rate
from fewshot.adaptation.setup import Member, Setup, rows_of_draw
from fewshot.adaptation.stack_cuts import cut_stacks
from fewshot.data import synthetic
from fewshot.data.shots import draw_balanced
from fewshot.models.parts import trained_parameters
from fewshot.prompts.set_queries import SetQueries
from fewshot.runtime.placement import Placement
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, OPTConfig

from . import cases, clocks, harness, shapes
from .harness import OURS, Column, Target

TASK, PATTERN = "synth-mnli", "minimal"
EMBEDDED = ("opt-micro", "opt-mini", "pythia-mini")
NARROW = "opt-narrow"
METHODS = ("lora", "ia3")
PLAIN, PEFT = "seed by seed", "peft"
SYSTEMS = (OURS, PLAIN, PEFT)
SCORED = 8

NUMBER, COUNT = pa.float64(), pa.int32()
COLUMNS = {
    **harness.COMMON,
    "method": Column(pa.string(), "method of config/methods.yaml", "method"),
    "batch_size": Column(COUNT, "rows of a seed's step", "rows"),
    "micro_tokens": Column(COUNT, "tokens of a pass, at most", "tokens"),
    "together": Column(COUNT, "most seeds, or folds of them, at once", "together"),
    "seed_s": Column(NUMBER, "seconds of one's training", "s/training", "{:.3f}", -1),
    "loss_diff": Column(NUMBER, "an epoch's loss from fairshot's, at most", "loss diff", "{:.1e}"),
    "steps": Column(COUNT, "steps of a seed", "steps"),
    "seeds": Column(COUNT, "seeds that were trained"),
    "folds": Column(COUNT, "folds of each, which were trained in its place (0: none)"),
    "passes": Column(COUNT, "trainings that were timed"),
}
TARGETS = [
    Target({"device": "cuda", "batch_size": 16, "system": PLAIN}, "seed_s_ratio", least=4.0),
    Target({"device": "cpu", "batch_size": 4, "system": PLAIN}, "seed_s_ratio", least=1.0),
    Target({"dtype": "float32"}, "loss_diff", most=1e-4),
]
"""On a CPU sixteen rows are computation already, whatever the model: nothing is promised there."""


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    valid = [*EMBEDDED, NARROW, *shapes.SHAPES]
    models = ["opt-mini", "pythia-mini", NARROW, "opt-125m"]
    made = harness.parser("stacking", __doc__, models, valid=valid)
    add = made.add_argument
    harness.choose(made, "methods", list(METHODS), list(METHODS))
    add("--rows", nargs="+", type=int, default=[16, 4], metavar="N", help="of a step: 16 and 4")
    add("--tokens", type=int, default=16384, help="of a pass, at most (default: 16384)")
    add("--seeds", type=int, default=10, help="default: 10")
    add("--folds", type=int, default=0, metavar="N", help="train on these of each draw")
    add("--k", type=int, default=16, help="rows of a draw (default: 16)")
    add("--epochs", type=int, default=20, help="default: 20")
    harness.timing(made, 120.0)
    return harness.parse(made, argv)


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table, and return the exit code."""
    asked = parse(argv)
    table = harness.Table(asked.out, COLUMNS, ["model", "method", "batch_size"])
    names = ("repeats", "seconds", "clock", "seeds", "folds", "k", "epochs", "tokens")
    shared = harness.options(asked, *names)
    for model in asked.models:
        for method in asked.methods:
            for rows in asked.rows:
                about = {"model": model, "method": method, "batch_size": rows, "dtype": "float32"}
                ours = None
                for system in SYSTEMS:
                    if system == PEFT and method == "ia3" and _family(model) != "opt":
                        continue
                    found = harness.run("bench_stacking", {**shared, **about, "system": system})
                    ours = ours or found
                    table.add(asked, {**about, "system": system, **summarise(found, ours, asked)})
    return table.finish(TARGETS, asked.check)


def summarise(found: dict, ours: dict, asked: argparse.Namespace) -> dict:
    """Return the measured columns of a row."""
    difference = np.abs(np.array(found["losses"]) - np.array(ours["losses"])).max()
    return {
        "seed_s": statistics.median(found["spent"]) / len(found["losses"]),
        "loss_diff": float(difference),
        "micro_tokens": asked.tokens,
        "seeds": asked.seeds,
        "folds": asked.folds,
        "passes": len(found["spent"]),
        "together": found["together"],
        "steps": found["steps"],
    }


def measure(job: dict) -> dict:
    """Return the seconds of each training of all (`spent`), and their losses [members, epochs].

    `together` is the largest number of them that were trained at once.
    """
    torch.set_num_threads(job["threads"])
    every = members(set_up(job), job["folds"])
    stacks = cut_stacks(every) if job["system"] == OURS else [[member] for member in every]
    work = WORK[job["system"]]
    work([every[:2] if len(stacks[0]) > 1 else every[:1]], job["device"])
    spent, losses = clocks.passes(lambda: work(stacks, job["device"]), job)
    rows = max(len(member.setup.job.shots[member.seed]) for member in every)
    steps = job["epochs"] * -(-rows // job["batch_size"])
    return {"spent": spent, "losses": losses, "together": max(map(len, stacks)), "steps": steps}


def members(made: Setup, folds: int) -> list[Member]:
    """Return what is trained: the seeds, or so many folds of each."""
    if not folds:
        return [Member(made, seed) for seed in made.job.seeds]
    job = replace(made.job, settings={**made.job.settings, "cross_validation": folds})
    return [
        Member(setup_module.set_up_from(part, made.origin), seed, f"fold{number}")
        for seed in job.seeds
        for number, part in enumerate(fold_jobs(job, seed))
    ]


def set_up(job: dict) -> Setup:
    """Return the setup of the cell."""
    settings = cases.method_settings(job["method"])
    if "targets" in settings:
        settings["targets"] = settings["targets"][_family(job["model"])]
    settings |= {"batch_size": job["batch_size"], "epochs": job["epochs"], "curve_epochs": "last"}
    pattern, rows = cases.bound_pattern(TASK, PATTERN), _rows("train", 300)
    seeds = tuple(range(job["seeds"]))
    shots = {
        seed: rows.set_index("id", drop=False)
        .loc[draw_balanced(rows, job["k"], 2, TASK, seed)["id"]]
        .reset_index(drop=True)
        for seed in seeds
    }
    about = {"task": TASK, "model": job["model"], "dtype": "float32", "method": job["method"]}
    made = cases.adaptation_job(
        0, shots[0], _rows("validation", SCORED), Placement(micro_tokens=job["tokens"]),
        **about, settings=settings, pattern=pattern, batch_tokens=1024, threads=job["threads"],
    )  # fmt: skip
    # Of published shapes too: larger vocabularies have its ids.
    own = job["model"] if job["model"] in EMBEDDED else "opt-mini"
    queries = SetQueries(AutoTokenizer.from_pretrained(_folder(own)))
    status = dict.fromkeys(seeds, "ok")
    made = replace(made, seeds=seeds, shots=shots, status=status, queries=queries)
    return setup_module.set_up(made, lambda: _model(job["model"]))


def _family(model: str) -> str:
    return model.partition("-")[0]


def _folder(model: str) -> Path:
    return cases.ROOT / "config" / "embedded" / model


def _model(name: str) -> nn.Module:
    if name == NARROW:
        return _narrow()
    if name not in EMBEDDED:
        return shapes.build(name, "float32")
    return AutoModelForCausalLM.from_pretrained(_folder(name), dtype=torch.float32).eval()


def _narrow() -> nn.Module:
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=300, hidden_size=8, word_embed_proj_dim=8, ffn_dim=32, num_hidden_layers=12,
        num_attention_heads=2, max_position_embeddings=128, dropout=0.0,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def _rows(split: str, count: int) -> pd.DataFrame:
    """Return rows of two labels as the project prepares them."""
    made = synthetic.generate("mnli-like", split, 3 * count, 0)
    made = made[made["label"] != 1].head(count).reset_index(drop=True)
    texts = {"text_a": made["premise"], "text_b": made["hypothesis"]}
    return pd.DataFrame(
        {"id": made.index, **texts, "label": made["label"] // 2, "group": None, "subset": None}
    )


def loop_losses(stacks: list[list[Member]], device: str) -> list[list[float]]:
    """Return the mean loss of each epoch of all members, trained by this project's loop."""
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        for stack in stacks:
            for _, result in training.train_stack(stack, Path(folder)):
                curve = result.curves[result.curves["evaluation_set"] == "train"]
                losses.append((-curve.sort_values("epoch")["mean_logprob"]).tolist())
    return losses


def peft_losses(stacks: list[list[Member]], device: str) -> list[list[float]]:
    """Return the mean loss of each epoch of all members, trained by peft and PyTorch."""
    return [_by_peft(member, torch.device(device)) for stack in stacks for member in stack]


def _by_peft(member: Member, device: torch.device) -> list[float]:
    made, seed = member.setup, member.seed
    settings, rows = made.job.settings, rows_of_draw(made, seed)
    drawn = trained_parameters(made.origin.start(seed, made.job.placement, torch.device("cpu")))
    model = peft.get_peft_model(_model(made.job.cell["model"]), _config(settings)).to(device)
    if settings["family"] == "lora":
        own = trained_parameters(model).values()
        with torch.no_grad():
            for parameter, value in zip(own, drawn.values(), strict=True):
                parameter.copy_(value)
    weights = list(trained_parameters(model).values())
    optimizer = torch.optim.AdamW(weights, lr=settings["learning_rate"], weight_decay=0.0)
    batches, losses, step = -(-len(rows.labels) // settings["batch_size"]), [], 0
    model.train()
    for epoch in range(1, settings["epochs"] + 1):
        total = 0.0
        for batch in epoch_order(len(rows.labels), settings["batch_size"], TASK, seed, epoch):
            ids, places, tokens = (part.to(device) for part in rows.together(batch))
            logits = model(input_ids=ids, use_cache=False).logits[places[:, 0], places[:, 1]]
            loss = nn.functional.cross_entropy(logits, tokens)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, settings["gradient_clip"])
            (group,) = optimizer.param_groups
            group["lr"] = rate(step, batches * settings["epochs"], settings)
            optimizer.step()
            optimizer.zero_grad()
            total, step = total + float(loss.detach()) * len(batch), step + 1
        losses.append(total / len(rows.labels))
    return losses


def _config(settings: dict) -> peft.PeftConfig:
    if settings["family"] == "ia3":
        return peft.IA3Config(
            target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"]
        )
    return peft.LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["targets"],
    )


WORK: dict[str, Callable[[list[list[Member]], str], list[list[float]]]] = {
    OURS: loop_losses,
    PLAIN: loop_losses,
    PEFT: peft_losses,
}

if __name__ == "__main__":
    harness.start(main)
