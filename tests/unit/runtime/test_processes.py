"""Which process of how many this is, and what it does of shared work."""

import pytest
from fewshot.errors import UserError
from fewshot.runtime.processes import ProcessGroup, read_process_group
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("env", "processes"),
    [
        ({}, ProcessGroup()),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, ProcessGroup(3, 8, 1)),
        (
            {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1"},
            ProcessGroup(1, 2, 1),
        ),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, ProcessGroup()),
        ({"WORLD_SIZE": "1", "SLURM_STEP_NUM_TASKS": "4"}, ProcessGroup()),
    ],
)
def test_the_world_is_read_from_the_launcher_or_slurm(env, processes):
    assert read_process_group(env) == processes


def test_a_half_described_world_is_an_error():
    with pytest.raises(UserError, match="RANK = ''; valid: a number"):
        read_process_group({"WORLD_SIZE": "2"})


@given(st.lists(st.integers(1, 99), max_size=40), st.integers(1, 8))
def test_every_piece_of_work_is_done_once_and_loads_are_even(costs, size):
    portions = ProcessGroup(0, size).portions(costs)
    assert len(portions) == size
    assert sorted(place for portion in portions for place in portion) == list(range(len(costs)))
    loads = [sum(costs[place] for place in portion) for portion in portions]
    # The dearest first, each to whoever has least: none is ahead by more than one piece.
    assert max(loads) - min(loads) <= max(costs, default=0)
    assert ProcessGroup(size - 1, size).portions(costs) == portions
