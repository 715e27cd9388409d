"""DeepSpeed's configuration, and what it refuses."""

import pytest
from fewshot.engine import engine_config
from fewshot.errors import UserError
from job_files import TRAINING

SETTINGS = {**TRAINING, "weight_decay": 0.1, "gradient_clip": 1e9, "keep_weights": True}


def test_the_engine_configuration():
    config = engine_config(SETTINGS, "bfloat16", 2, 2)
    assert config["train_batch_size"] == 4 and config["train_micro_batch_size_per_gpu"] == 2
    assert config["zero_optimization"] == {"stage": 2} and config["bf16"] == {"enabled": True}
    assert config["fp16"] == {"enabled": False} and config["gradient_clipping"] == 1e9


@pytest.mark.parametrize(
    ("dtype", "stage", "size", "message"),
    [
        ("bfloat16", 0, 1, "bfloat16 with zero_stage: 0 gives wrong updates; valid: zero_stage 1"),
        ("float32", 4, 1, "zero_stage = 4; valid: 0, 1, 2, 3"),
        ("int8", 0, 1, "dtype = int8; valid: float32"),
        ("float32", 0, 3, "batch_size = 4 cannot be shared by 3 processes"),
    ],
)
def test_the_engine_refuses_what_it_cannot_do(dtype, stage, size, message):
    with pytest.raises(UserError, match=message):
        engine_config(SETTINGS, dtype, stage, size)
