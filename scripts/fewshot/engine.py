"""The DeepSpeed engine of fine-tuning.

Optimiser states, gradients and parameters are sharded over the processes by ZeRO stage (Rajbhandari
et al. 2020); with one process the engine gives the same numbers as plain PyTorch.
"""

import contextlib

import torch
from torch import nn

from .errors import UserError
from .world import World
from .zero import load_deepspeed, quiet

STAGES = (0, 1, 2, 3)
DTYPES = ("float32", "bfloat16", "float16")


def engine_config(settings: dict, dtype: str, zero_stage: int, world_size: int) -> dict:
    """Return DeepSpeed's configuration for a method's settings.

    Raises UserError for an unknown stage or dtype, for bfloat16 with stage 0 (the engine then
    shifts Adam's bias correction by a step: first updates are 0.74 of what they should be), and
    for a batch that the processes cannot share evenly.
    """
    if zero_stage not in STAGES:
        raise UserError(f"config/models.yaml: zero_stage = {zero_stage}; valid: 0, 1, 2, 3")
    if dtype not in DTYPES:
        raise UserError(f"config/models.yaml: dtype = {dtype}; valid: {', '.join(DTYPES)}")
    if dtype == "bfloat16" and zero_stage == 0:
        raise UserError(
            "config/models.yaml: fine-tuning in bfloat16 with zero_stage: 0 gives wrong updates; "
            "valid: zero_stage 1, 2 or 3, or dtype float32"
        )
    batch = settings["batch_size"]
    if batch % world_size:
        raise UserError(
            f"config/methods.yaml: batch_size = {batch} cannot be shared by {world_size} "
            f"processes; valid: multiples of {world_size}"
        )
    return {
        "train_batch_size": batch,
        "train_micro_batch_size_per_gpu": batch // world_size,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings["gradient_clip"],
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "zero_optimization": {"stage": zero_stage},
        # The optimiser is PyTorch's own: DeepSpeed's would be compiled at the first run.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1 << 30,
    }


def start_engine(model: nn.Module, settings: dict, dtype: str, zero_stage: int, world: World):
    """Return the engine that trains the trainable parameters of `model` with AdamW.

    The rate is set by the caller before each step (`set_rate`).
    """
    config = engine_config(settings, dtype, zero_stage, world.size)
    deepspeed = load_deepspeed(world)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings["learning_rate"],
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=settings["weight_decay"],
    )
    with quiet():
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return engine


def set_rate(engine, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = rate


@contextlib.contextmanager
def gathered(model: nn.Module, zero_stage: int):
    """Give the context whole parameters, which stage 3 keeps in shards."""
    if zero_stage < 3:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([p for p in model.parameters() if p.requires_grad]):
        yield
