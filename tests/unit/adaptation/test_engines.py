"""DeepSpeed's configuration, and what it refuses."""

import pytest
from fewshot.adaptation.engines import engine_config
from fewshot.errors import UserError
from fewshot.runtime.placement import Placement, read_placement
from job_files import TRAINING

SETTINGS = {**TRAINING, "weight_decay": 0.1, "gradient_clip": 1e9, "keep_weights": True}


def test_the_engine_configuration():
    config = engine_config(SETTINGS, "bfloat16", Placement(2), 2)
    assert config["train_batch_size"] == 4 and config["train_micro_batch_size_per_gpu"] == 2
    assert config["zero_optimization"] == {"stage": 2} and config["bf16"] == {"enabled": True}
    assert config["fp16"] == {"enabled": False} and config["gradient_clipping"] == 1e9


@pytest.mark.parametrize(
    ("dtype", "stage", "size", "message"),
    [
        ("bfloat16", 0, 1, "bfloat16 with zero_stage 0 gives wrong updates; valid: zero_stage 1"),
        ("float16", 1, 1, "float16 needs a GPU; valid here: float32, bfloat16"),
        ("int8", 0, 1, "dtype = int8; valid: float32"),
        ("float32", 0, 3, "batch_size = 4 cannot be shared by 3 processes"),
    ],
)
def test_the_engine_refuses_what_it_cannot_do(dtype, stage, size, message):
    with pytest.raises(UserError, match=message):
        engine_config(SETTINGS, dtype, Placement(stage), size)


def test_offloads_and_the_stages_they_need():
    config = engine_config(SETTINGS, "float32", Placement(3, "parameters"), 1)
    assert config["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu", "pin_memory": False},
        "offload_param": {"device": "cpu", "pin_memory": False},
    }
    assert read_placement({}) == Placement()
    wanted = {"zero_stage": 2, "offload": "optimizer", "micro_tokens": 512, "checkpointing": 1}
    assert read_placement(wanted) == Placement(2, "optimizer", 512, True)
    for resources, message in [
        ({"zero_stage": 4}, "zero_stage: unknown ZeRO stage '4'; valid: 0, 1, 2, 3"),
        ({"offload": "disk"}, "offload: unknown value 'disk'; valid: none, optimizer, parameters"),
        ({"zero_stage": 1, "offload": "optimizer"}, "offload = optimizer needs zero_stage 2 or"),
    ]:
        with pytest.raises(UserError, match=message):
            read_placement(resources)
