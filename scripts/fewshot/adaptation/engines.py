"""The engines of fine-tuning: plain PyTorch for one process, DeepSpeed for nearly all else.

Both sum the gradients of as many passes as a step takes and then update, so that a batch means the
same however it is cut and whoever computes it. DeepSpeed shares optimiser states, gradients and
parameters among processes by ZeRO stage (Rajbhandari et al. 2020) or moves them to host memory; a
job that needs none of this starts no engine of its (transformers imports the library all the same).

AdamW updates each number by itself, so DeepSpeed may cut tensors wherever it likes. Adafactor
(Shazeer and Stern 2018) looks at rows, columns and sizes of whole tensors, which DeepSpeed lays
flat one behind the other: it stays with plain PyTorch, whose processes all hold its few states. So
do weights in 4 bits, which DeepSpeed would take for bytes, with what is trained beside them.
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


def needs_whole_tensors(settings: dict) -> bool:
    """Return whether a method's optimiser, or its weights in 4 bits, cannot be cut up."""
    return settings.get("optimizer") == "adafactor" or "quantise" in settings


def is_plain(settings: dict, dtype: str, placement: Placement, processes: ProcessGroup) -> bool:
    """Return whether PyTorch alone does what is asked: one process, float32, nothing offloaded; or
    whatever an optimiser of whole tensors may be asked for (see `engine_config`)."""
    alone = processes.size == 1 and placement.zero_stage == 0
    plain = alone and dtype == "float32" and placement.offload == "none"
    return plain or needs_whole_tensors(settings)


def start_engine(
    trainable: nn.Module, settings: dict, dtype: str, placement: Placement, processes: ProcessGroup
) -> "PlainEngine | DeepSpeedEngine":
    """Return the engine that trains the trainable parameters of `trainable`.

    Raises UserError where `engine_config` does.
    """
    config = engine_config(settings, dtype, placement, processes.size)
    parameters = list(trained_parameters(trainable).values())
    if is_plain(settings, dtype, placement, processes):
        return PlainEngine(trainable, parameters, settings, processes)
    # DeepSpeed reserves all of this buffer, however little is trained.
    config["zero_optimization"]["reduce_bucket_size"] = min(
        BUCKET, sum(map(element_count, parameters))
    )
    on_one_device = placement.offload == "none" and placement.zero_stage < 3
    optimizer = new_optimizer(parameters, settings, on_one_device)
    deepspeed = load_deepspeed(processes)
    with quiet():
        engine, *_ = deepspeed.initialize(model=trainable, optimizer=optimizer, config=config)
    return DeepSpeedEngine(engine, processes)


def new_optimizer(
    parameters: list[torch.Tensor], settings: dict, on_one_device: bool
) -> torch.optim.Optimizer:
    """Return the optimiser that a method's settings name (AdamW, if none) for some parameters.

    Adafactor is that of transformers, as T-Few has it, with the rate that the schedule gives:
    torch's caps it at 1/√step. Paged AdamW is bitsandbytes' on a GPU, whose states go to host
    memory while there is no room for them; on a CPU it is AdamW.
    """
    rates = {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    if settings.get("optimizer") == "adafactor":
        # Here: it imports transformers' Trainer and peft, a second that no other job needs.
        from transformers.optimization import Adafactor

        scaled = settings.get("scale_parameter", True)
        return Adafactor(parameters, scale_parameter=scaled, relative_step=False, **rates)
    rates |= {"betas": (0.9, 0.999), "eps": 1e-8}
    if settings.get("optimizer") == "paged-adamw" and parameters[0].is_cuda:
        from bitsandbytes.optim import PagedAdamW32bit

        return PagedAdamW32bit(parameters, **rates)
    return torch.optim.AdamW(
        parameters,
        # One pass over the states instead of a dozen.
        fused=on_one_device or None,
        **rates,
    )


def engine_config(settings: dict, dtype: str, placement: Placement, world_size: int) -> dict:
    """Return DeepSpeed's configuration for a method's settings.

    Raises UserError for an unknown dtype, for bfloat16 with stage 0 (the engine then shifts Adam's
    bias correction by a step: first updates are 0.74 of what they should be), for float16 without
    a GPU, for a batch that the processes cannot share evenly, and where whole tensors (see
    `needs_whole_tensors`) would be cut up or moved, or have gradients in float16, whose scale none
    would watch.
    """
    if dtype not in DTYPES:
        raise UserError(f"models.yaml: dtype = {dtype}; valid: {', '.join(DTYPES)}")
    if needs_whole_tensors(settings):
        _check_whole(settings, dtype, placement)
    elif dtype != "float32" and placement.zero_stage == 0:
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


def _check_whole(settings: dict, dtype: str, placement: Placement) -> None:
    named, looks, other = "optimizer: adafactor", "looks at", ", or optimizer: adamw"
    if "quantise" in settings:
        named, looks, other = f"quantise: {settings['quantise']}", "packs", ""
    if placement.zero_stage or placement.offload != "none":
        raise UserError(
            f"methods.yaml: {named} {looks} whole tensors, and {placement} would cut them up; "
            f"valid: zero_stage 0 without offload (resources of the rule){other}"
        )
    if dtype == "float16":
        raise UserError(
            f"methods.yaml: {named} does not scale gradients, as float16 needs it; valid: dtype "
            f"float32 or bfloat16 in models.yaml{other}"
        )


class PlainEngine:
    """All states on the device of each process.

    Several processes sum their gradients and make the same update. Weights in half precision are
    updated in float32, and rounded for the next pass.
    """

    sharded = False

    def __init__(
        self,
        trainable: nn.Module,
        parameters: list[nn.Parameter],
        settings: dict,
        processes: ProcessGroup,
    ):
        self.trainable, self._clip, self._world = trainable, settings["gradient_clip"], processes
        self._weights = parameters
        updated = [
            weight if weight.dtype == torch.float32 else weight.detach().float()
            for weight in parameters
        ]
        self._optimizer = new_optimizer(updated, settings, on_one_device=True)

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
        for weight, updated in zip(self._weights, group["params"], strict=True):
            if updated is not weight:
                updated.grad, weight.grad = weight.grad.float(), None
            self._world.sum(updated.grad)
        nn.utils.clip_grad_norm_(group["params"], self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._round()
        return True

    @torch.no_grad()
    def _round(self) -> None:
        """Give the model the weights that were updated in float32."""
        (group,) = self._optimizer.param_groups
        for weight, updated in zip(self._weights, group["params"], strict=True):
            if updated is not weight:
                weight.copy_(updated)

    def save(self, folder: Path) -> None:
        """Write weights and optimiser states, which all processes have alike, to `folder`."""
        if self._world.rank:
            return
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
        self._round()

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
