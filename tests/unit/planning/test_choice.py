"""Which configuration is chosen on which machine, and what is said where none fits."""

import itertools
import re
from dataclasses import replace

import pytest
from fewshot.errors import UserError
from fewshot.models.architectures import entry_architecture
from fewshot.planning import rates
from fewshot.planning.choice import choose_placement, fits
from fewshot.planning.memory import GIB, Demand, estimate
from fewshot.planning.rates import step_cost
from fewshot.runtime.machine import Machine
from fewshot.runtime.placement import Placement
from mistakes import told
from model_configs import MODELS

BATCH = 32


def machine(gpu=80, per_node=8, nodes=1, host=1000, binding=True) -> Machine:
    return Machine(int(gpu * GIB), per_node, nodes, int(host * GIB), binding)


def demand(name: str, trainable=None, element=2, **changes) -> Demand:
    shape = entry_architecture(MODELS[name])
    count = shape.parameters if trainable is None else trainable
    demand = Demand(shape, element, trainable=count, rows=BATCH, batch_tokens=16384)
    return replace(demand, **changes)


def shown(name: str, **changes) -> Demand:
    return demand(name, trainable=0, rows=0, context=2048, **changes)


def first(wanted: Demand, where: Machine, batch=BATCH, checkpoints=True):
    return choose_placement(wanted, where, batch if wanted.rows else 0, checkpoints, "the job")


def test_what_fits_a_gpu_takes_one_and_nothing_else():
    found = first(demand("opt-125m", element=4), machine(24))
    assert found.placement == Placement(0, micro_tokens=16384) and found.gpus == 1
    assert first(demand("opt-1.3b"), machine(80)).placement.zero_stage == 1, "never 0 in bfloat16"
    lora = first(demand("opt-13b", trainable=6_553_600), machine(80))
    assert (lora.gpus, lora.placement.zero_stage, lora.placement.offload) == (1, 1, "none")


def test_smaller_passes_come_before_checkpointing_and_more_gpus():
    plans = [first(demand("opt-1.3b"), machine(gpu)) for gpu in (80, 40)]
    assert [plan.placement for plan in plans] == [
        Placement(1, micro_tokens=16384),
        Placement(1, micro_tokens=8192),
    ]
    assert [plan.gpus for plan in plans] == [1, 1]


@pytest.mark.parametrize("name", ["opt-6.7b", "opt-13b", "opt-30b", "gpt-neox-20b"])
@pytest.mark.parametrize("gpu", [24, 40, 80, 141])
def test_every_model_of_the_paper_has_a_plan_on_common_gpus(name, gpu):
    wanted, where = demand(name), machine(gpu, nodes=2)
    found = first(wanted, where)
    assert fits(found.expected, where) and BATCH % found.gpus == 0
    assert found.placement.zero_stage >= 1
    assert found.nodes == 1 or found.per_node == 8, "nodes are taken as a whole"


@pytest.mark.parametrize("name", ["opt-125m", "opt-2.7b", "opt-13b", "opt-30b"])
@pytest.mark.parametrize("element", [2, 4])
def test_the_cheapest_is_chosen_of_all_that_fit(name, element):
    """Enumerated anew, without the rules that leave out what cannot be of use."""
    wanted, where = demand(name, element=element), machine(80, host=2000)
    found = first(wanted, where)
    cost = step_cost(wanted, found.placement, found.per_node, found.nodes)
    for stage, gpus in itertools.product((0, 1, 2, 3), (1, 2, 4, 8)):
        if element == 2 and stage == 0:
            continue
        for offload in ("none", "optimizer", "parameters")[: max(1, stage)]:
            for tokens, again in itertools.product((16384, 4096, 512), (False, True)):
                place = Placement(stage, offload, tokens, again)
                if fits(estimate(wanted, place, gpus, 1), where):
                    assert cost <= step_cost(wanted, place, gpus, 1) * (1 + 1e-12)


def test_offload_where_there_is_no_other_gpu():
    found = first(demand("opt-6.7b"), machine(24, per_node=1))
    assert found.gpus == 1 and found.placement.offload == "optimizer"
    assert first(demand("opt-6.7b"), machine(12, per_node=1)).placement.offload == "parameters"
    more = first(demand("opt-6.7b"), machine(32, per_node=8))
    assert more.gpus > 1 and more.placement.offload == "none", "AdamW on the host costs more"


def test_processes_share_a_batch_evenly():
    for batch, gpus in ((32, 6), (12, 8), (6, 4)):
        found = first(replace(demand("opt-6.7b"), rows=batch), machine(40, per_node=gpus), batch)
        assert batch % found.gpus == 0


def test_in_context_takes_one_gpu_or_shards_over_the_fewest():
    whole = first(shown("opt-30b"), machine(80))
    assert (whole.gpus, whole.placement) == (1, Placement(0))
    shards = first(shown("opt-30b"), machine(24))
    assert shards.placement == Placement(3) and shards.gpus == 4
    fewer = Machine(int(24 * GIB), 2, 1, int(1000 * GIB))
    with pytest.raises(UserError, match="2 GPUs, ZeRO stage 3"):
        first(shown("opt-30b"), fewer)


def test_several_nodes_only_where_one_is_too_small():
    assert first(demand("opt-30b"), machine(80, nodes=4)).nodes == 1
    found = first(demand("opt-30b"), machine(80, per_node=4, nodes=2, host=300))
    assert (found.gpus, found.nodes, found.per_node) == (8, 2, 4)


def test_without_a_gpu_there_is_one_process():
    cpu = machine(0, per_node=0, host=64)
    assert first(demand("opt-1.3b", element=4, batch_tokens=1024), cpu).placement == Placement(
        0, micro_tokens=1024
    )
    half = first(demand("opt-1.3b", batch_tokens=1024), cpu)
    assert (half.gpus, half.nodes, half.placement.zero_stage) == (0, 1, 1)
    assert first(shown("opt-1.3b", batch_tokens=1024), cpu).placement == Placement(0)


def test_a_machine_that_only_plans_refuses_nothing():
    login = machine(0, per_node=0, host=8)
    with pytest.raises(UserError, match="fits nowhere"):
        first(demand("opt-13b"), login)
    assert first(demand("opt-13b"), replace(login, binding=False)).gpus == 0


def test_what_fits_nowhere_is_told_with_its_numbers():
    place, name = machine(16, 2, host=100), "model 'x' with method 'y'"
    text = told(choose_placement, demand("opt-30b"), place, BATCH, True, name)
    assert text.startswith(
        "model 'x' with method 'y' fits nowhere on 2 × 16 GB GPUs and 100 GB of "
    )
    assert "of 16.0 GB of each GPU and" in text and "of 100.0 GB of host memory per node" in text
    assert re.search(r"the least demanding plan \(\d GPUs?, ZeRO stage \d, offload of ", text)


def test_adafactors_tensors_stay_whole():
    """Also in half precision, on any number of GPUs, and where they then fit nowhere."""
    t_few = demand("opt-13b", trainable=2_457_600, second_moments=2_457_600)
    for place in (machine(80), machine(40, nodes=2), machine(0, per_node=0, host=200)):
        chosen = first(t_few, place).placement
        assert (chosen.zero_stage, chosen.offload) == (0, "none")
    small = first(replace(t_few, shape=demand("opt-125m").shape), machine(80))
    assert small.gpus == 1 and small.placement.zero_stage == 0
    text = told(choose_placement, t_few, machine(24), BATCH, True, "the job")
    assert "per node, since optimizer: adafactor keeps whole tensors on each GPU; name" in text


def test_checkpointing_only_where_layers_can_compute_again():
    """On a GPU that holds the weights and little else."""
    lora, small = demand("opt-13b", trainable=6_553_600), machine(29, per_node=1)
    assert first(lora, small).placement.checkpointing
    other = first(lora, small, checkpoints=False).placement
    assert not other.checkpointing and other.offload == "parameters"


def test_cost_by_hand():
    """One GPU: 6 operations a weight and token, launches, and AdamW's bytes through memory."""
    wanted = demand("opt-1.3b")
    n, tokens, layers = wanted.parameters, 32 * 128, 24
    compute = 6 * n * tokens / 150e12 * (1 + 256 / tokens) + 2 * layers * 1.5e-4
    update = 28 * n / 1.5e12
    place = Placement(1)
    assert step_cost(wanted, place, 1, 1) == pytest.approx(compute + update)
    again = replace(place, checkpointing=True)
    extra = 2 * n * tokens / 150e12 * (1 + 256 / tokens) + layers * 1.5e-4
    assert step_cost(wanted, again, 1, 1) - step_cost(wanted, place, 1, 1) == pytest.approx(extra)
    # Two GPUs: half the tokens each, and each sends half of twice two bytes a weight.
    tokens //= 2
    compute = 6 * n * tokens / 150e12 * (1 + 256 / tokens) + 2 * layers * 1.5e-4
    shared = compute + 2 * 2 * n / 2 / rates.LINK + update / 2
    assert step_cost(wanted, place, 2, 1) == pytest.approx(2 * shared)
    # Offload: the host's memory instead, and gradients down and weights up the bus.
    away = step_cost(wanted, Placement(2, "optimizer"), 1, 1)
    moved = rates.HOST_STEP * n + 2 * 2 * n / rates.BUS - update
    assert away - step_cost(wanted, Placement(2), 1, 1) == pytest.approx(moved)


def test_shards_cost_what_they_gather():
    wanted, gpus = demand("opt-6.7b"), 4
    whole, shards = (step_cost(wanted, Placement(stage), gpus, 1) for stage in (2, 3))
    # Weights for forward and backward, and gradients, against gradients and weights once.
    more = (2 + 1 - 2) * 2 * wanted.parameters * (1 - 1 / gpus) / rates.LINK
    assert shards - whole == pytest.approx(gpus * more)
    assert step_cost(wanted, Placement(3), 4, 2) > step_cost(wanted, Placement(3), 8, 1)


def test_the_network_is_that_of_all_gpus_of_a_node():
    """Nodes of 1 to 16 GPUs: 10e9 bytes a second for each, and no more than within a node."""
    wanted = demand("opt-6.7b")

    def slower(per_node: int, nodes: int) -> float:
        alone = step_cost(wanted, Placement(3), per_node * nodes, 1)
        return step_cost(wanted, Placement(3), per_node, nodes) - alone

    # Weights for forward and backward, and gradients.
    sent = 8 * (2 + 1) * 2 * wanted.parameters * (1 - 1 / 8)
    for per_node, nodes in ((1, 8), (2, 4), (4, 2)):
        rate = 1 / (1e10 * per_node) - 1 / rates.LINK
        assert slower(per_node, nodes) == pytest.approx(sent * rate)
    assert slower(16, 2) == 0, "ten GPUs have the bandwidth of the link"
