"""Optimisers and schedules of transformers, alone beside the loop; and what they are refused."""

import importlib
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from fewshot.adaptation import engines, setup, training
from fewshot.adaptation.engines import PlainEngine, engine_config, is_plain
from fewshot.adaptation.learning_rate import rate
from fewshot.adaptation.trainable_model import adapted
from fewshot.errors import UserError
from fewshot.models.parts import trained_parameters
from fewshot.rng import generator
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from job_files import PATTERN
from safetensors.torch import load_file
from seed_runs import SETTINGS, K, StopAfter, a_job, outcome, reading, set_up
from tiny import ALL_KINDS, TARGETS, tiny_model, tiny_tokenizer
from torch import nn
from transformers import get_scheduler
from transformers.optimization import Adafactor

ADAFACTOR = {"optimizer": "adafactor", "gradient_clip": 1.0, "warmup": 0.25, "epochs": 4}
STEPS = 4 * 3


def train(kind, job, folder):
    """Return the losses of epochs, the trained weights by name and the result."""
    torch.set_num_threads(1)
    made = setup.set_up(reading(job, tiny_tokenizer(kind)), lambda: tiny_model(kind))
    result = training.train_seed(made, 0, folder)
    path = folder / "weights.safetensors"
    result.files["seed0.safetensors"](path)
    curve = result.curves[result.curves["evaluation_set"] == "train"]
    return -curve["mean_logprob"].to_numpy(), load_file(path), result


def plain(kind, job):
    """Train with transformers' own optimiser and rates, row by row, whole models called."""
    settings, rows = job.settings, [*job.shots[0].itertuples()]
    method = importlib.import_module(f"fewshot.methods.{settings['family']}")
    student = adapted(tiny_model(kind), method, settings, 2)
    method.draw(student.model, generator("initial", job.cell["model"], 0))
    trained = trained_parameters(student)
    optimizer = Adafactor(
        trained.values(), lr=settings["learning_rate"], relative_step=False, warmup_init=False,
        scale_parameter=settings.get("scale_parameter", True), weight_decay=0.1,
    )  # fmt: skip
    rates, tokenizer, curve, step = (
        rates_of(settings["schedule"], 3, STEPS),
        tiny_tokenizer(kind),
        [],
        0,
    )
    words = tokenizer.convert_tokens_to_ids(["ĠYes", "ĠNo"])
    student.train()
    for epoch in range(1, settings["epochs"] + 1):
        order, total = generator("batches", "task", 0, epoch).permutation(K), 0.0
        for batch in (order[i : i + 4] for i in range(0, K, 4)):
            losses = []
            for row in (rows[i] for i in batch):
                ids = tokenizer(PATTERN.query(row.text_a, row.text_b), return_tensors="pt")
                logits = student.model(input_ids=ids["input_ids"]).logits[0, -1]
                losses.append(-logits.log_softmax(dim=-1)[words[row.label]])
            optimizer.param_groups[0]["lr"] = settings["learning_rate"] * rates[step]
            optimizer.zero_grad()
            torch.stack(losses).mean().backward()
            nn.utils.clip_grad_norm_(trained.values(), settings["gradient_clip"])
            optimizer.step()
            total, step = total + sum(each.item() for each in losses), step + 1
        curve.append(total / K)
    return np.array(curve), {name: each.detach() for name, each in trained.items()}


def rates_of(schedule: str, warmup: int, total: int) -> list[float]:
    """Return the shares of the rate by transformers, but in the warm-up, which is a step ahead:
    theirs begins with a step that changes nothing."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name = {"constant": "constant_with_warmup"}.get(schedule, schedule)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total)
    shares = []
    for _ in range(total):
        shares.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return [*shares[1 : warmup + 1], *shares[warmup:]]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("warmup", "total"), [(0, 7), (60, 1000), (3, 12)])
def test_rates_are_those_of_transformers(schedule, warmup, total):
    settings = {"learning_rate": 0.5, "warmup": warmup / total, "schedule": schedule}
    found = [rate(step, total, settings) for step in range(total)]
    np.testing.assert_allclose(found, 0.5 * np.array(rates_of(schedule, warmup, total)), rtol=1e-12)
    assert min(found) > 0 and len(found) == total


def test_all_of_training_may_be_warm_up():
    rates = [rate(step, 4, {"learning_rate": 1.0, "warmup": 1.0, "schedule": "linear"})
             for step in range(4)]  # fmt: skip
    assert rates == [0.25, 0.5, 0.75, 1.0]


CASES = [
    ("full", "gpt_neox", "cosine", True),
    ("lora", "llama", "constant", False),
    *(("ia3", kind, "linear", True) for kind in ALL_KINDS),
]


@pytest.mark.parametrize(("family", "kind", "schedule", "scaled"), CASES)
def test_adafactor_is_that_of_transformers(family, kind, schedule, scaled, tmp_path):
    settings = {**ADAFACTOR, "family": family, "schedule": schedule, "targets": TARGETS[kind]}
    settings |= {"learning_rate": 0.05 if family == "ia3" else 0.02}
    job = a_job(**settings, **({} if scaled else {"scale_parameter": False}))
    losses, weights, _ = train(kind, job, tmp_path)
    expected, trained = plain(kind, job)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-5)
    assert weights.keys() == trained.keys() and losses[-1] < losses[0]
    for name, each in weights.items():
        # Softmax does not depend on the keys' biases, whose gradient is rounding.
        if not name.endswith(("k_proj.bias", "query_key_value.bias")):
            torch.testing.assert_close(each, trained[name], rtol=0, atol=2e-5)


def test_the_vectors_of_fused_projections_are_vectors():
    """Adafactor has one number for each of their factors, and not for rows and columns."""
    job = a_job(family="ia3", **ADAFACTOR)
    method = importlib.import_module("fewshot.methods.ia3")
    trained = trained_parameters(adapted(tiny_model("gpt_neox"), method, job.settings, 2))
    assert {each.ndim for each in trained.values()} == {1}


def test_settings_that_are_left_out_are_those_of_before(tmp_path):
    """AdamW at a constant rate: the same bytes."""
    named = {"optimizer": "adamw", "schedule": "constant"}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = train("opt", a_job(), tmp_path / "one")
    second = train("opt", a_job(**named), tmp_path / "two")
    assert (first[0] == second[0]).all()
    assert all(torch.equal(each, second[1][name]) for name, each in first[1].items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_interrupted_seed_ends_in_the_same_bytes(dtype, tmp_path):
    """With patterns that are drawn, and a last epoch that ends early."""
    other = replace(PATTERN, name="other", parts=(("the ", "text_b"), (" ", "text_a")))
    settings = {**ADAFACTOR, "epochs": 3, "steps": 8, "schedule": "linear"}
    settings["train_patterns"] = [asdict(PATTERN), asdict(other)]
    job = a_job(dtype=dtype, family="ia3", **settings)
    expected = outcome(training.train_seed(set_up("opt", job), 0, tmp_path / "whole"))
    made = set_up("opt", job)
    for looks in (2, 5):
        with pytest.raises(training.Interrupted):
            training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(looks))
    result = training.train_seed(made, 0, tmp_path / "parts")
    assert result.facts["resumed_after_steps"] and result.facts["steps"] == 8
    assert outcome(result) == expected


def test_pieces_and_half_precision_train_alike(tmp_path):
    settings = {"family": "ia3", **ADAFACTOR, "learning_rate": 0.05}
    whole, _, _ = train("llama", a_job(**settings), tmp_path)
    pieces = a_job(Placement(micro_tokens=16, checkpointing=True), **settings)
    np.testing.assert_allclose(train("llama", pieces, tmp_path)[0], whole, rtol=0, atol=1e-5)
    half = a_job(dtype="bfloat16", **settings)
    curves = training.train_seed(set_up("llama", half, 0.0), 0, tmp_path / "half").curves
    found = -curves[curves["evaluation_set"] == "train"]["mean_logprob"]
    np.testing.assert_allclose(found, whole, rtol=0.02, atol=0.02)


class TwoAlike(ProcessGroup):
    """Two processes of which the other has the same gradients."""

    def sum(self, numbers):
        return numbers.mul_(2)


def test_processes_add_up_their_gradients_and_update_in_float32(tmp_path):
    settings = {**SETTINGS, "optimizer": "adafactor", "weight_decay": 0.0, "learning_rate": 0.01}
    weight = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.bfloat16))
    module = nn.ParameterList([weight])
    engine = PlainEngine(module, [weight], settings, TwoAlike(1, 2))
    alone = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = Adafactor([alone], lr=0.001, relative_step=False)
    for _ in range(40):  # Steps too small for bfloat16 alone add up.
        engine.backward((weight.float() * torch.tensor([0.25, -0.5])).sum())
        engine.step(0.001)
        alone.grad = torch.tensor([0.5, -1.0])
        optimizer.step()
    assert torch.equal(weight, alone.to(torch.bfloat16)) and weight[0] < 1.0
    engine.save(tmp_path)
    assert not [*tmp_path.iterdir()], "the first process writes what all have"


@pytest.mark.parametrize(
    ("placement", "dtype", "message"),
    [
        (Placement(1), "float32", "adafactor looks at whole tensors, .*; valid: zero_stage 0"),
        (Placement(3), "bfloat16", "adafactor looks at whole tensors"),
        (Placement(2, "optimizer"), "float32", "optimizer offloaded would cut them up"),
        (Placement(), "float16", "adafactor does not scale gradients, as float16 needs it"),
    ],
)
def test_whole_tensors_are_neither_cut_nor_scaled(placement, dtype, message):
    with pytest.raises(UserError, match=message):
        engine_config({**SETTINGS, "optimizer": "adafactor"}, dtype, placement, 1)


def test_whole_tensors_need_no_stage_for_half_precision():
    settings = {**SETTINGS, "optimizer": "adafactor"}
    assert engine_config(settings, "bfloat16", Placement(), 2)
    assert is_plain(settings, "bfloat16", Placement(), ProcessGroup(0, 2))
    assert not is_plain(SETTINGS, "float32", Placement(), ProcessGroup(0, 2))


def test_where_memory_runs_out_whole_tensors_stay(monkeypatch):
    job = replace(a_job(optimizer="adafactor"), placement=Placement(micro_tokens=16))
    made = set_up("opt", job)
    with pytest.raises(UserError, match="nothing is left to share, move or cut"):
        setup.placed(made, torch.device("cuda"), 16, 4)
    assert engines.needs_whole_tensors(job.settings)
