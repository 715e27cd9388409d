"""The plan of jobs with weights in 4 bits: bytes, placements and seconds, told and measured."""

from dataclasses import replace

import pytest
import torch
from fewshot.methods import lora, qlora
from fewshot.models.architectures import architecture_of, guess
from fewshot.models.four_bit import FourBitLinear
from fewshot.planning import memory
from fewshot.planning.choice import choose_placement
from fewshot.planning.job_time import _quantised, demand_of
from fewshot.planning.memory import Demand, Quantised, holding, loading, passing, scoring, stepping
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.runtime.placement import Placement
from fewshot.study.families import training_passes
from fewshot.study.parameter_counts import linear_weights, lora_inputs
from mistakes import told
from model_configs import GROUPED, NEOX, OPT
from registries import CONFIG, load
from test_choice import machine
from test_memory_measured import Tracked
from transformers import AutoConfig, AutoModelForCausalLM

LLAMA = {**GROUPED, "model_type": "llama"}
CONFIGS = {"opt": OPT, "pythia": NEOX, "llama": LLAMA}
CLUSTER = {"gpu_memory_gb": 24, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 120}
GRID = [{"methods": ["lora-all", "qlora"], "patterns": ["minimal"], "k": [16]}]
MODELS = ["opt-125m", "opt-13b", "pythia-410m"]


@pytest.fixture(scope="module")
def plan() -> MemoryPlan:
    return MemoryPlan(load(CONFIG, models=MODELS, tasks=["rte"], grid=GRID, machine=CLUSTER))


def cell_of(plan, model, method):
    return next(c for c in plan.study.cells if (c.model, c.method) == (model, method))


def model_of(config, dtype=torch.float32):
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=dtype)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_take_as_many_bytes_as_are_held(kind, dtype):
    """Of the whole model, embeddings and norms in its own precision, LoRA's in float32."""
    model, shape = model_of(CONFIGS[kind], dtype), architecture_of(CONFIGS[kind], 128)
    targets = ["query_key_value"] if kind == "pythia" else ["q_proj", "v_proj"]
    settings = {"rank": 2, "alpha": 4, "dropout": 0.1, "targets": targets, "dora": False}
    qlora.adapt(model, settings)
    added = sum(each.numel() for each in model.parameters() if each.requires_grad)
    demand = Demand(shape, dtype.itemsize, added=added, quantised=Quantised(*linear_weights(shape)))
    held = sum(each.numel() * each.element_size() for each in model.parameters())
    layers = [module for module in model.modules() if isinstance(module, FourBitLinear)]
    # Small layers fill their last blocks of 64 and of 256.
    assert demand.weights == pytest.approx(held, abs=12 * len(layers))
    sizes = [layer.in_features * layer.out_features for layer in layers]
    assert demand.quantised.weights == sum(sizes) and demand.quantised.largest == max(sizes)


def test_states_by_hand(plan):
    """Of OPT-13B in bfloat16, without a stage, on one GPU and on two."""
    demand = replace(plan.demand(cell_of(plan, "opt-13b", "qlora")), element=2)
    shape, added = demand.shape, demand.added
    linear = 40 * (4 * 5120**2 + 2 * 5120 * 20480)
    assert (demand.quantised.weights, demand.quantised.largest) == (linear, 5120 * 20480)
    weights = linear * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 2 * (shape.parameters - linear)
    for processes in (1, 2):
        held = weights + 4 * added + (4 + 4 + 4) * added
        assert holding(demand, Placement(), processes) == pytest.approx(held)
        assert stepping(demand, Placement(), processes) == 0
    scored = replace(demand, quantised=None)
    assert scoring(demand) - scoring(scored) == 2 * 5120 * 20480, "one layer's weights in full"
    full = 2 * shape.parameters + memory.QUANTISING * 5120 * 20480
    assert loading(demand) == full and loading(scored) == 0
    on_cpu = memory.estimate(replace(demand, rows=1, batch_tokens=1, row=1), Placement(), 0, 1)
    assert on_cpu.host == int(memory.LIBRARIES["cpu"] + memory.SLACK * full), "it is read in full"


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_layer_keeps_beside_is_measured(dtype, dropout):
    """The bytes that LoRA's modules keep of their inputs, from the difference of two passes: some
    inputs are kept in any case, others in their own precision only where that is what is read."""
    config = {**LLAMA, "hidden_size": 128, "num_hidden_layers": 4}
    shape = architecture_of(config, 128)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    settings = {"rank": 2, "alpha": 4, "dropout": dropout, "targets": targets, "dora": False}
    ids, kept = torch.randint(5, 60, (4, 64)), []
    for family in (lora, qlora):
        model = model_of(config, dtype).train()
        family.adapt(model, {**settings, "dropout": 0.0} if family is lora else settings)
        with Tracked(*model.parameters(), *model.buffers()) as tracked:
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            kept.append(tracked.now)
            del hidden
    element, read = dtype.itemsize, ids.numel() * lora_inputs(shape, settings)
    quantised = _quantised(shape, settings, element, "cpu")
    expected = ids.numel() * 4 * quantised.beside
    rank = ids.numel() * 4 * 7 * 2 * 4
    assert expected - element * read <= kept[1] - kept[0] <= expected + rank
    assert quantised.beside * 4 * ids.numel() == read * (8 if dropout else 4 * (element < 4))


def test_what_a_layer_keeps_is_planned(plan):
    demand = plan.demand(cell_of(plan, "opt-13b", "qlora"))
    assert demand.quantised.beside == 5 * (5 * 5120 + 20480)
    less = replace(demand, quantised=replace(demand.quantised, beside=0))
    for again, layers in ((False, 40), (True, 1)):
        place = Placement(micro_tokens=2048, checkpointing=again)
        more = passing(demand, place, 1) - passing(less, place, 1)
        assert more == 2048 * layers * demand.quantised.beside


def test_a_plan_stays_whole_and_needs_less(plan):
    """13 billion weights train on one GPU of 24 GB, without ZeRO stages."""
    chosen = {m: plan.choice(cell_of(plan, "opt-13b", m)) for m in ("lora-all", "qlora")}
    assert chosen["lora-all"].placement.zero_stage == 3 or chosen["lora-all"].gpus > 1
    assert (chosen["qlora"].placement.zero_stage, chosen["qlora"].placement.offload) == (0, "none")
    assert chosen["qlora"].expected.gpu < 24 * memory.GIB
    demand = plan.demand(cell_of(plan, "opt-13b", "qlora"))
    text = told(choose_placement, demand, machine(8), 16, True, "the job")
    assert "per node, since quantise keeps whole tensors on each GPU; name" in text


def test_shapes_that_are_guessed_count_no_bits(plan):
    study, cell = plan.study, cell_of(plan, "opt-13b", "qlora")
    demand = demand_of(study, guess(13_000_000_000), cell, "gpu")
    assert demand.quantised.weights == demand.quantised.largest == 0
    assert demand.quantised.beside > 0 and demand.whole


def test_its_operations_are_loras_but_it_is_not_folded(plan):
    shape = plan.shape("opt-125m")
    found = {
        name: training_passes(shape, plan.study.method_settings(name, "opt-125m"))
        for name in ("lora-all", "qlora")
    }
    added = plan.demand(cell_of(plan, "opt-125m", "qlora")).added
    assert found["qlora"] == {**found["lora-all"], "predicting": added}


def test_loading_takes_longer(plan):
    seconds = {m: plan.seconds(cell_of(plan, "opt-13b", m), 1) for m in ("lora-all", "qlora")}
    assert seconds["qlora"]["load"] > 12.5 + 25
    here = MemoryPlan(load(CONFIG, models=["opt-125m"], tasks=["rte"], grid=GRID,
                           machine={"gpus_per_node": 0, "host_memory_gb": 60}))  # fmt: skip
    one, two = (here.seconds(cell_of(here, "opt-125m", m), 1) for m in ("lora-all", "qlora"))
    quantising = 3e-8 * 12 * (4 * 768**2 + 2 * 768 * 3072)
    assert two["load"] - one["load"] == pytest.approx(quantising, abs=0.1)
