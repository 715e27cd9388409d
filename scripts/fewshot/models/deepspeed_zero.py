"""DeepSpeed without compilation, ports or console noise, and the use of ZeRO-3's shards."""

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..runtime.processes import ProcessGroup


@contextmanager
def whole(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Give the block whole parameters."""
    cut = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not cut:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(cut):
        yield


@contextmanager
def callable_whole(model: nn.Module) -> Iterator[None]:
    """Let the model be called: each of its modules gathers its own weights only while it runs."""
    hooks = []
    for module in model.modules():
        held = [
            parameter
            for parameter in module.parameters(recurse=False)
            if hasattr(parameter, "ds_id")
        ]
        if held:
            hooks += _gather_in_calls(module, held)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _gather_in_calls(module: nn.Module, held: list[nn.Parameter]) -> list:
    gathering = []

    def begin(*_: object) -> None:
        gathering.append(whole(held))
        gathering[-1].__enter__()

    def end(*_: object) -> None:
        gathering.pop().__exit__(None, None, None)

    return [
        module.register_forward_pre_hook(begin),
        module.register_forward_hook(end, always_call=True),
    ]


@contextmanager
def fetching(*modules: nn.Module) -> Iterator[None]:
    """Let modules gather what they read of others' shards, as DoRA reads LoRA's, in this context.

    DeepSpeed does so by itself only while its engine is called, which scoring does not.
    """
    tables = [table._parameters for module in modules for table in module.modules()]
    tables = {id(table): table for table in tables if hasattr(table, "_in_forward")}.values()
    before = [table._in_forward for table in tables]
    try:
        for table in tables:
            table._in_forward = True
        yield
    finally:
        for table, value in zip(tables, before, strict=True):
            table._in_forward = value


LOG = logging.getLogger(__name__)


def load_deepspeed(processes: ProcessGroup):
    """Import DeepSpeed and connect the processes; a second call does nothing new."""
    os.environ.setdefault("LOCAL_RANK", str(processes.local_rank))
    with quiet():
        import deepspeed
        import deepspeed.ops

        # Its shared-memory collectives would be compiled first, for more than a minute. An empty
        # table also saves looking for compilers.
        deepspeed.ops.__compatible_ops__ = {}
    _redirect_logger()
    if not torch.distributed.is_initialized():
        # A processes of one meets in its own memory: no port, no other process.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    return deepspeed


@contextlib.contextmanager
def loading_in_shards(config: dict, processes: ProcessGroup):
    """Let models that transformers reads in this context be cut up while they are read.

    `config` is DeepSpeed's, of stage 3. What it says of batches does not matter here, and is not
    understood before DeepSpeed knows how many processes there are.
    """
    ours = {name: value for name, value in config.items() if not name.startswith("train_")}
    ours["train_micro_batch_size_per_gpu"] = 1
    load_deepspeed(processes)
    from transformers.integrations import HfDeepSpeedConfig

    with quiet():
        cut = HfDeepSpeedConfig(ours)  # transformers looks for a living one while it loads
        try:
            yield
        finally:
            del cut


def shard_model(load: Callable[[], nn.Module], dtype: str, processes: ProcessGroup) -> nn.Module:
    """Return the model that `load` reads, its weights in shards over the processes of `processes`.

    ZeRO stage 3 without an optimiser (ZeRO-Inference, Aminabadi et al. 2022): every module gathers
    its weights when it is called, so that all processes must call alike, and lets go of them. The
    weights are cut while the first process reads them; no other ever holds the whole model.
    """
    deepspeed = load_deepspeed(processes)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "zero_optimization": {"stage": 3},
        "steps_per_print": 1 << 30,
    }
    with loading_in_shards(config, processes):
        model = load()
    with quiet():
        engine, *_ = deepspeed.initialize(model=model, config=config)
    held = sum(parameter.ds_tensor.numel() for parameter in model.parameters())
    total = sum(parameter.ds_numel for parameter in model.parameters())
    LOG.info(
        "process %d of %d holds %d of %d parameters", processes.rank, processes.size, held, total
    )
    return engine.module.eval()


def let_go(engine) -> None:
    """Destroy an engine, and what DeepSpeed would still hold of it and, at stage 3, of its module.

    Every engine and every forward pass of stage 3 leave modules on a global stack, optimisers refer
    to themselves through hooks, and prefetching keeps parameters: five times the weights for each
    seed of a job. Shards are emptied, since not all that refers to them can be found.
    """
    from deepspeed.runtime.zero import parameter_offload

    optimizer, module = engine.optimizer, engine.module
    sharded = engine.zero_optimization_stage() == 3
    engine.destroy()
    parameter_offload.FWD_MODULE_STACK.clear()
    for part in module.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks):
            hooks.clear()
    for parameter in module.parameters() if sharded else ():
        for tensor in (parameter, parameter.ds_tensor):
            tensor.data = torch.empty(0, dtype=tensor.dtype)
    for holder in (optimizer, engine):
        vars(holder).clear()
    gc.collect()


def _redirect_logger() -> None:
    """Send DeepSpeed's messages to the job's log instead of the console."""
    logger = logging.getLogger("DeepSpeed")
    logger.handlers.clear()
    logger.propagate = True
    warnings.filterwarnings("ignore", message=r".*torch\.distributed\..* is deprecated")


@contextlib.contextmanager
def quiet():
    """Log what is printed to the console."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            yield
    finally:
        for line in filter(None, map(str.strip, text.getvalue().splitlines())):
            LOG.info("deepspeed: %s", line)
