"""The memory plan's estimates by hand, and beside those of DeepSpeed."""

from dataclasses import replace

import pytest
from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs
from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs
from fewshot.models.architectures import architecture_of
from fewshot.planning import memory
from fewshot.planning.memory import (
    CONTEXT,
    GIB,
    LIBRARIES,
    SLACK,
    Demand,
    context_bytes,
    estimate,
    holding,
    on_host,
    passing,
    scoring,
    stepping,
    tokens_at_once,
    training_bytes,
)
from fewshot.runtime.placement import OFFLOADS, Placement

SHAPE = architecture_of(
    {
        "model_type": "opt",
        **{"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
        **{"ffn_dim": 256, "vocab_size": 500},
    },
    window=128,
)
N = SHAPE.parameters
FULL = Demand(SHAPE, 2, trainable=N, rows=32, row=100, batch_tokens=4096)
SINGLE = replace(FULL, element=4)


def test_answers_of_several_tokens_hold_their_logits():
    placement = Placement(micro_tokens=400)
    several = replace(FULL, answers=3)
    more = 32 * 2 * SHAPE.vocabulary * (2 * 2 + 3 * 4)
    assert passing(several, placement, 1) - passing(FULL, placement, 1) == more
    assert tokens_at_once(FULL, Placement(micro_tokens=50), 1) == 100
    every = replace(FULL, readings=2)
    assert tokens_at_once(every, Placement(micro_tokens=50), 1) == 200, "one row with both words"


@pytest.mark.parametrize("size", [2048, 4096])
@pytest.mark.parametrize(("gpus", "nodes"), [(1, 1), (4, 1), (8, 2)])
def test_model_states_beside_deepspeeds_own_estimate(size, gpus, nodes):
    """Both count bytes per GPU in half precision. DeepSpeed's holds gradients in float32 beside
    those of the backward pass, 4 bytes for each parameter of a share, which its engine has for a
    moment only (`stepping`); with offload ours has those of one layer on their way to the host."""
    shape = architecture_of(
        {
            "model_type": "opt",
            **{"hidden_size": size, "num_hidden_layers": 24, "num_attention_heads": 32},
            **{"ffn_dim": 4 * size, "vocab_size": 50272},
        },
        window=2048,
    )
    count, layer, processes = shape.parameters, shape.largest_layer, gpus * nodes
    demand = Demand(shape, 2, trainable=count, rows=32)
    moment = 4 * count / processes

    _, theirs = estimate_zero2_model_states_mem_needs(count, gpus, nodes, False)
    assert holding(demand, Placement(2), processes) == pytest.approx(theirs - moment, abs=2)
    _, theirs = estimate_zero2_model_states_mem_needs(count, gpus, nodes, True)
    assert holding(demand, Placement(2, "optimizer"), processes) == theirs + 2 * layer
    for offload, flags in (("none", (False, False)), ("optimizer", (True, False)),
                           ("parameters", (True, True))):  # fmt: skip
        _, theirs, _ = estimate_zero3_model_states_mem_needs(count, layer, gpus, nodes, *flags)
        ours = holding(demand, Placement(3, offload), processes)
        assert ours > theirs - moment - 4 * layer, "no less: more than one layer is gathered"


@pytest.mark.parametrize(
    ("stage", "element", "processes", "expected"),
    [
        # Weights, gradients, two moments.
        (0, 4, 1, 4 * N + 4 * N + 8 * N),
        # Half precision: master weights too; DeepSpeed's 16 bytes a parameter.
        (1, 2, 1, 16 * N),
        (1, 2, 4, 2 * N + 2 * N + 12 * N / 4),
        (2, 2, 4, 2 * N + 2 * N / 4 + 12 * N / 4),
        # In float32 master weights are a copy of the weights.
        (1, 4, 4, 4 * N + 4 * N + 12 * N / 4),
        (2, 4, 4, 4 * N + 4 * N / 4 + 12 * N / 4),
        # All weights of so small a model are gathered; the buffer is there for good.
        (3, 2, 4, 2 * N + 2 * N / 4 + 2 * N / 4 + 12 * N / 4 + 2 * N),
        (3, 4, 4, 4 * N + 4 * N / 4 + 4 * N / 4 + 12 * N / 4 + 4 * N),
    ],
)
def test_model_states_of_a_stage(stage, element, processes, expected):
    demand = replace(FULL, element=element)
    assert holding(demand, Placement(stage), processes) == expected


@pytest.mark.parametrize(("element", "processes"), [(4, 1), (4, 2), (2, 4)])
def test_adafactor_keeps_fewer_numbers_of_whole_tensors(element, processes):
    """Each process has all states; in half precision weights in float32 too."""
    demand = replace(FULL, element=element, second_moments=700)
    masters = 4 * N if element == 2 else 0
    assert holding(demand, Placement(), processes) == 2 * element * N + 4 * 700 + masters
    step = 3 * 4 * SHAPE.largest_layer + masters
    assert stepping(demand, Placement(), processes) == step
    alone = replace(demand, rows=32 // processes)
    assert passing(demand, Placement(), processes) == passing(alone, Placement(), 1)


def test_large_models_are_gathered_in_parts():
    large = replace(FULL, shape=replace(SHAPE, parameters=10**11), trainable=0)
    assert holding(large, Placement(3), 8) == 2 * memory.LIVE + 2 * 10**11 / 8


def test_frozen_weights_count_once():
    lora = replace(FULL, trainable=1000, added=1000)
    assert holding(lora, Placement(1), 1) == 2 * (N + 1000) + 14 * 1000
    assert on_host(lora, Placement(1), 1) == 2 * (N + 1000)
    assert holding(replace(FULL, trainable=0), Placement(0), 1) == 2 * N


def test_offload_moves_states_to_the_host():
    at_home, away = Placement(2), Placement(2, "optimizer")
    assert holding(FULL, away, 4) == 2 * N + 2 * SHAPE.largest_layer
    assert stepping(FULL, away, 4) == 0
    assert on_host(FULL, at_home, 4) == 2 * 2 * N
    # Master weights, two moments, gradients, two intermediate values in float32; gradients and
    # weights in two bytes.
    assert on_host(FULL, away, 4) - on_host(FULL, at_home, 4) == 28 * N / 4
    parameters = Placement(3, "parameters")
    assert on_host(FULL, parameters, 4) == 28 * N / 4 + 2 * N / 4
    assert holding(FULL, parameters, 4) < holding(FULL, Placement(3, "optimizer"), 4)


def test_the_step_holds_gradients_in_float32():
    assert stepping(SINGLE, Placement(0), 1) == 0, "AdamW's kernel is fused"
    large = replace(SINGLE, shape=replace(SHAPE, parameters=10**10), trainable=10**10)
    # Flat gradients of the share, in their own precision and in float32.
    assert stepping(large, Placement(1), 4) == 4 * 10**10 / 4
    assert stepping(replace(large, element=2), Placement(2), 4) == (2 + 4) * 10**10 / 4
    # Stage 3 goes by groups of 1e9 parameters.
    assert stepping(replace(large, element=2), Placement(3), 4) == 3 * 4 * 10**9
    assert stepping(SINGLE, Placement(1), 1000) == 8 * SHAPE.largest_layer, "the norm's"


def test_gradients_are_copied_to_be_reduced():
    alone, two = (passing(SINGLE, Placement(0), n) for n in (1, 2))
    half = training_bytes(SHAPE, 4, 1600, 16, 100, False)
    assert two == half + 4 * N and alone == training_bytes(SHAPE, 4, 3200, 32, 100, False)
    assert passing(SINGLE, Placement(1), 2) == half + 4 * N


def test_tokens_at_once():
    assert tokens_at_once(FULL, Placement(1), 1) == 3200, "32 rows of 100 tokens"
    assert tokens_at_once(FULL, Placement(1), 5) == 700, "the first process has seven"
    assert tokens_at_once(FULL, Placement(1, micro_tokens=512), 1) == 512
    assert tokens_at_once(FULL, Placement(1, micro_tokens=64), 1) == 100, "a row is never cut"
    assert tokens_at_once(replace(FULL, batch_tokens=1000), Placement(1), 1) == 1000


def test_a_pass_grows_with_tokens_and_checkpointing_saves_layers():
    def of(**place):
        return passing(SINGLE, Placement(0, **place), 1)

    assert of(micro_tokens=512) < of(micro_tokens=1024) < of()
    kept = training_bytes(SHAPE, 4, 3200, 32, 100, False)
    again = training_bytes(SHAPE, 4, 3200, 32, 100, True)
    layer = 3200 * (4 * (2 + 1 + 3 + 1 + 1 + 4) + 2) * 64
    inputs = 3200 * 4 * 64
    assert kept - again == 3 * layer - (3 * inputs + layer) and of() == kept
    assert of(checkpointing=True) == again
    assert passing(replace(FULL, backward=False), Placement(1), 1) < passing(FULL, Placement(1), 1)
    assert passing(replace(FULL, rows=0), Placement(0), 1) == 0


def test_a_context_is_held_once():
    """Keys and values of 3 layers, 64 wide, in two bytes each."""
    assert context_bytes(SHAPE, 2, 1000) == 2 * 3 * 64 * 1000 * 2
    bare, shown = (scoring(Demand(SHAPE, 2, batch_tokens=4096, context=n)) for n in (0, 1000))
    assert shown - bare == 768_000


def test_the_whole_estimate():
    place = Placement(2)
    found = estimate(FULL, place, per_node=2, nodes=2)
    phases = (passing(FULL, place, 4), stepping(FULL, place, 4), scoring(FULL))
    assert found.allocated == int(holding(FULL, place, 4) + max(phases))
    assert found.gpu == int(SLACK * found.allocated + CONTEXT)
    assert found.host == int(2 * (LIBRARIES["gpu"] + SLACK * 4 * N))
    whole = estimate(FULL, Placement(3), 2, 2)
    assert whole.host == int(2 * LIBRARIES["gpu"] + 2 * N), "one process reads the weights"


def test_without_a_gpu_all_of_it_is_host_memory():
    found = estimate(SINGLE, Placement(0), per_node=0, nodes=1)
    assert found.allocated == found.gpu == 0
    held = 16 * N + 8 * N  # base weights and those of the best epoch are kept
    expected = LIBRARIES["cpu"] + SLACK * (held + passing(SINGLE, Placement(0), 1))
    assert found.host == int(expected)


@pytest.mark.parametrize("offload", OFFLOADS)
def test_more_gpus_never_take_more_of_each(offload):
    large = replace(FULL, shape=replace(SHAPE, parameters=10**10), trainable=10**10)
    found = [estimate(large, Placement(3, offload), n, 1).gpu for n in (1, 2, 4, 8)]
    assert found == sorted(found, reverse=True)
    by_stage = [estimate(large, Placement(s), 8, 1).gpu for s in (1, 2, 3)]
    assert by_stage == sorted(by_stage, reverse=True)
    assert by_stage[0] > 40 * GIB
