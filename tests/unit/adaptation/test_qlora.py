"""QLoRA's training: in float32 beside weights in 4 bits, to the same bytes; what it refuses."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from fewshot.adaptation import engines, setup, training
from fewshot.adaptation.engines import engine_config, is_plain, new_optimizer
from fewshot.adaptation.trainable_model import adapted, parameter_facts
from fewshot.errors import UserError
from fewshot.methods import lora, qlora
from fewshot.models.four_bit import FourBitLinear
from fewshot.runtime.placement import Placement
from fewshot.runtime.processes import ProcessGroup
from seed_runs import StopAfter, a_job, outcome, reading, set_up
from tiny import TARGETS, tiny_model, tiny_tokenizer
from torch import nn

QLORA = {
    "family": "qlora", "quantise": "nf4", "optimizer": "paged-adamw", "dropout": 0.1,
    "learning_rate": 0.02, "targets": TARGETS["llama"],
}  # fmt: skip


def losses_of(job, folder) -> np.ndarray:
    curves = training.train_seed(set_up("llama", job, 0.0), 0, folder).curves
    return -curves[curves["evaluation_set"] == "train"]["mean_logprob"].to_numpy()


def test_it_is_lora_on_what_the_bits_stand_for(tmp_path):
    """The same losses as LoRA's, on a model whose weights were rounded beforehand."""
    job = a_job(**QLORA)
    rounded = tiny_model("llama")
    twin = copy.deepcopy(rounded)
    qlora.quantise(twin)
    for name, module in twin.named_modules():
        if isinstance(module, FourBitLinear):
            with torch.no_grad():
                rounded.get_submodule(name).weight.copy_(module.dequantised())
    plain = a_job(**{**QLORA, "family": "lora", "optimizer": "adamw"})
    del plain.settings["quantise"]
    made = setup.set_up(reading(plain, tiny_tokenizer("llama")), lambda: rounded)
    curves = training.train_seed(made, 0, tmp_path / "plain").curves
    expected = -curves[curves["evaluation_set"] == "train"]["mean_logprob"].to_numpy()
    np.testing.assert_allclose(losses_of(job, tmp_path / "bits"), expected, rtol=0, atol=1e-6)


def test_the_update_is_in_float32_beside_half_precision(tmp_path):
    half = a_job(dtype="bfloat16", **{**QLORA, "dropout": 0.0})
    made = set_up("llama", half, 0.0)
    student = made.origin.start(0, Placement(), torch.device("cpu"))
    kinds = {name: each.dtype for name, each in student.named_parameters() if each.requires_grad}
    assert set(kinds.values()) == {torch.float32} and len(kinds) == 2 * 4
    hidden = student.model.model.embed_tokens.weight
    assert hidden.dtype == student.model.lm_head.weight.dtype == torch.bfloat16
    exact = losses_of(a_job(**{**QLORA, "dropout": 0.0}), tmp_path / "exact")
    np.testing.assert_allclose(losses_of(half, tmp_path / "half"), exact, rtol=0.02, atol=0.02)


def test_seeds_share_the_bits_and_all_weights_are_counted():
    origin = set_up("llama", a_job(**QLORA)).origin
    first, second = (origin.start(seed, Placement(), torch.device("cpu")) for seed in (0, 1))
    pairs = zip(first.named_parameters(), second.named_parameters(), strict=True)
    for (name, one), (_, other) in pairs:
        assert (one is other) == ("lora_" not in name)
    facts = parameter_facts(first)
    plain = parameter_facts(
        adapted(tiny_model("llama"), lora, a_job(**QLORA, dora=False).settings, 2)
    )
    assert facts == plain, "as LoRA's"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_interrupted_seed_ends_in_the_same_bytes(dtype, tmp_path):
    job = a_job(dtype=dtype, **QLORA)
    expected = outcome(training.train_seed(set_up("llama", job), 0, tmp_path / "whole"))
    made = set_up("llama", job)
    for looks in (2, 5):
        with pytest.raises(training.Interrupted):
            training.train_seed(made, 0, tmp_path / "parts", stop=StopAfter(looks))
    result = training.train_seed(set_up("llama", job), 0, tmp_path / "parts")
    assert result.facts["resumed_after_steps"]
    assert outcome(result) == expected


def test_pieces_with_recomputed_activations_train_alike(tmp_path):
    whole = losses_of(a_job(**{**QLORA, "dropout": 0.0}), tmp_path / "whole")
    placement = Placement(micro_tokens=16, checkpointing=True)
    pieces = losses_of(a_job(placement, **{**QLORA, "dropout": 0.0}), tmp_path / "pieces")
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adamw", "paged-adamw", "adafactor"])
@pytest.mark.parametrize(
    ("placement", "dtype", "message"),
    [
        (Placement(1), "bfloat16", "quantise: nf4 packs whole tensors, and ZeRO stage 1, .*; "
                                   r"valid: zero_stage 0 without offload \(resources of the rul"),
        (Placement(3), "float32", "quantise: nf4 packs whole tensors, and ZeRO stage 3"),
        (Placement(2, "optimizer"), "float32", "optimizer offloaded would cut them up"),
        (Placement(), "float16", "quantise: nf4 does not scale gradients, as float16 needs it; "
                                 "valid: dtype float32 or bfloat16 in models.yaml$"),
    ],
)  # fmt: skip
def test_bits_are_neither_cut_up_nor_scaled(placement, dtype, message, optimizer):
    job = a_job(placement, **{**QLORA, "optimizer": optimizer})
    with pytest.raises(UserError, match=message):
        engine_config(job.settings, dtype, placement, 1)
    if placement.zero_stage == 3:
        with pytest.raises(UserError, match=message):
            set_up("llama", job)


def test_any_number_of_processes_and_half_precision_need_no_stage():
    settings = a_job(**QLORA).settings
    assert engine_config(settings, "bfloat16", Placement(), 2)
    assert is_plain(settings, "bfloat16", Placement(), ProcessGroup(0, 2))
    job = replace(a_job(**QLORA), placement=Placement(micro_tokens=16))
    with pytest.raises(UserError, match="nothing is left to share, move or cut"):
        setup.placed(set_up("llama", job), torch.device("cuda"), 16, 4)


def test_without_a_gpu_paged_adamw_is_adamw():
    weights = [nn.Parameter(torch.ones(3, 2))]
    settings = {"learning_rate": 1e-3, "weight_decay": 0.1}
    found = new_optimizer(weights, {**settings, "optimizer": "paged-adamw"}, True)
    expected = new_optimizer(weights, settings, True)
    assert type(found) is torch.optim.AdamW and found.defaults == expected.defaults


ON_A_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_A_GPU)])
@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_paged_adamw_updates_as_adamw_and_goes_on_from_its_states(device, tmp_path, monkeypatch):
    """On tensors large enough to have paged states, and on small ones; on a CPU, which pretends
    here to be a GPU, states are not paged, but computed and stored alike."""
    settings = {"learning_rate": 1e-2, "weight_decay": 0.1, "gradient_clip": 0.3}
    torch.manual_seed(0)
    start = [torch.randn(512, 256, device=device), torch.randn(7, device=device)]
    gradients = [[torch.randn_like(each) for each in start] for _ in range(4)]

    def engine_of(optimizer):
        module = nn.ParameterList([nn.Parameter(each.clone()) for each in start])
        named = {**settings, "optimizer": optimizer}
        return engines.PlainEngine(module, [*module], named, ProcessGroup())

    def go_on(engine, steps):
        for each in steps:
            for weight, gradient in zip(engine.trainable, each, strict=True):
                weight.grad = gradient.clone()
            engine.step(1e-2)
        return [each.detach().clone() for each in engine.trainable]

    expected = go_on(engine_of("adamw"), gradients)
    monkeypatch.setattr(nn.Parameter, "is_cuda", True)
    first = engine_of("paged-adamw")
    assert type(first._optimizer).__name__ == "PagedAdamW32bit"
    go_on(first, gradients[:2])
    first.save(tmp_path)
    found = go_on(first, gradients[2:])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    resumed = engine_of("paged-adamw")
    resumed.load(tmp_path)
    for one, other in zip(go_on(resumed, gradients[2:]), found, strict=True):
        assert torch.equal(one, other)
