"""The engines of fine-tuning: plain PyTorch for one process, DeepSpeed for everything else.

Both sum the gradients of as many passes as a step takes and then update with AdamW, so that a batch
means the same however it is cut and whoever computes it. DeepSpeed shares optimiser states,
gradients and parameters among processes by ZeRO stage (Rajbhandari et al. 2020) or moves them to
host memory; a job that needs none of this starts no engine of its (transformers imports the library
all the same).
"""

from pathlib import Path

import torch
from torch import nn

from ..errors import UserError
from ..models.deepspeed_zero import let_go, load_deepspeed, quiet
from ..models.parts import element_count, trained_parameters
from ..runtime.placement import BUCKET, Placement
from ..runtime.processes import ProcessGroup
from .weights import store_weights

DTYPES = ("float32", "bfloat16", "float16")


def is_plain(dtype: str, placement: Placement, processes: ProcessGroup) -> bool:
    """Return whether PyTorch alone does what is asked: one process, float32, nothing offloaded."""
    alone = processes.size == 1 and placement.zero_stage == 0
    return alone and dtype == "float32" and placement.offload == "none"


def start_engine(
    trainable: nn.Module, settings: dict, dtype: str, placement: Placement, processes: ProcessGroup
) -> "PlainEngine | DeepSpeedEngine":
    """Return the engine that trains the trainable parameters of `trainable` with AdamW.

    Raises UserError where `engine_config` does.
    """
    config = engine_config(settings, dtype, placement, processes.size)
    parameters = list(trained_parameters(trainable).values())
    # DeepSpeed reserves all of this buffer, however little is trained.
    config["zero_optimization"]["reduce_bucket_size"] = min(
        BUCKET, sum(map(element_count, parameters))
    )
    on_one_device = placement.offload == "none" and placement.zero_stage < 3
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings["learning_rate"],
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=settings["weight_decay"],
        # One pass over the states instead of a dozen.
        fused=on_one_device or None,
    )
    if is_plain(dtype, placement, processes):
        return PlainEngine(trainable, optimizer, settings["gradient_clip"])
    deepspeed = load_deepspeed(processes)
    with quiet():
        engine, *_ = deepspeed.initialize(model=trainable, optimizer=optimizer, config=config)
    return DeepSpeedEngine(engine, processes)


def engine_config(settings: dict, dtype: str, placement: Placement, world_size: int) -> dict:
    """Return DeepSpeed's configuration for a method's settings.

    Raises UserError for an unknown dtype, for bfloat16 with stage 0 (the engine then shifts Adam's
    bias correction by a step: first updates are 0.74 of what they should be), for float16 without
    a GPU, and for a batch that the processes cannot share evenly.
    """
    if dtype not in DTYPES:
        raise UserError(f"models.yaml: dtype = {dtype}; valid: {', '.join(DTYPES)}")
    if dtype != "float32" and placement.zero_stage == 0:
        raise UserError(
            f"fine-tuning in {dtype} with zero_stage 0 gives wrong updates; valid: zero_stage 1, 2 "
            "or 3 (a resource of the rule), or dtype float32 in models.yaml"
        )
    if dtype == "float16" and not torch.cuda.is_available():
        raise UserError(
            "models.yaml: fine-tuning in float16 needs a GPU; valid here: float32, bfloat16"
        )
    batch = settings["batch_size"]
    if batch % world_size:
        raise UserError(
            f"methods.yaml: batch_size = {batch} cannot be shared by {world_size} "
            f"processes; valid: multiples of {world_size}"
        )
    zero: dict[str, object] = {"stage": placement.zero_stage}
    if placement.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if placement.offload == "parameters":
        zero["offload_param"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_batch_size": batch,
        "train_micro_batch_size_per_gpu": batch // world_size,
        "gradient_accumulation_steps": 1,
        # A step takes as many backward passes as it takes.
        "managed_gradient_accumulation": False,
        "gradient_clipping": settings["gradient_clip"],
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "zero_optimization": zero,
        # The optimiser is PyTorch's own: DeepSpeed's would be compiled at the first run.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 30,
    }


class PlainEngine:
    """One process with all states on its device."""

    sharded = False

    def __init__(self, trainable: nn.Module, optimizer: torch.optim.Optimizer, clip: float):
        self.trainable, self._optimizer, self._clip = trainable, optimizer, clip

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the trainable model's output."""
        return self.trainable(*inputs)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a piece of the batch's mean loss."""
        loss.backward()

    def step(self, rate: float) -> bool:
        """Update by the gradients since the last step; return whether there was an update."""
        (group,) = self._optimizer.param_groups
        group["lr"] = rate
        nn.utils.clip_grad_norm_(group["params"], self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return True

    def save(self, folder: Path) -> None:
        """Write weights and optimiser states to `folder`."""
        weights = [weight.detach() for weight in self._optimizer.param_groups[0]["params"]]
        state = {"weights": weights, "optimizer": self._optimizer.state_dict()}
        store_weights(state, folder / "plain.pt")

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Return to what was saved in `folder`."""
        state = torch.load(folder / "plain.pt", map_location="cpu", weights_only=True)
        (group,) = self._optimizer.param_groups
        for parameter, saved in zip(group["params"], state["weights"], strict=True):
            parameter.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])

    def close(self) -> None:
        """Let go of gradients and optimiser states."""
        self._optimizer.zero_grad()
        self._optimizer.state.clear()


class DeepSpeedEngine:
    """Any number of processes, any stage, half precision, offload."""

    TAG = "deepspeed"

    def __init__(self, engine, processes: ProcessGroup):
        self._engine, self._world = engine, processes
        self.trainable = engine.module
        self.sharded = engine.zero_optimization_stage() == 3

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the trainable model's output; all processes must call alike."""
        return self._engine(*inputs)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a piece of the batch's mean loss, of which the processes hold parts.

        DeepSpeed takes the mean over the processes where a sum is meant.
        """
        self._engine.backward(loss * self._world.size, scale_wrt_gas=False)

    def step(self, rate: float) -> bool:
        """Update by the gradients since the last step; return whether there was an update.

        In float16 there is none where gradients overflow; their scale is then lowered.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        return self._engine.was_step_applied()

    def save(self, folder: Path) -> None:
        """Write each process's part of weights and optimiser states to `folder`."""
        with quiet():
            self._engine.save_checkpoint(
                str(folder), tag=self.TAG, save_latest=False, exclude_frozen_parameters=True
            )

    def load(self, folder: Path) -> None:
        """Return to what was saved in `folder` by as many processes."""
        with quiet():
            path, _ = self._engine.load_checkpoint(
                str(folder), tag=self.TAG, load_module_strict=False
            )
        if path is None:
            raise OSError(f"{folder}: DeepSpeed finds no checkpoint there")

    def close(self) -> None:
        """Let go of all tensors, which DeepSpeed's globals and cycles would keep alive."""
        let_go(self._engine)
