"""DeepSpeed without compilation, ports or console noise, and ZeRO's shards for inference.

Training has its own engine (`engine.py`); what both need is here.
"""

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Callable

import torch
from torch import nn

from ..runtime.world import World

LOG = logging.getLogger(__name__)


def load_deepspeed(world: World):
    """Import DeepSpeed and connect the processes; a second call does nothing new."""
    os.environ.setdefault("LOCAL_RANK", str(world.local_rank))
    with quiet():
        import deepspeed
        import deepspeed.ops

        # Its shared-memory collectives would be compiled first, for more than a minute. An empty
        # table also saves looking for compilers.
        deepspeed.ops.__compatible_ops__ = {}
    _redirect_logger()
    if not torch.distributed.is_initialized():
        # A world of one meets in its own memory: no port, no other process.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store = torch.distributed.HashStore()
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    return deepspeed


@contextlib.contextmanager
def loading_in_shards(config: dict, world: World):
    """Let models that transformers reads in this context be cut up while they are read.

    `config` is DeepSpeed's, of stage 3. What it says of batches does not matter here, and is not
    understood before DeepSpeed knows how many processes there are.
    """
    ours = {name: each for name, each in config.items() if not name.startswith("train_")}
    ours["train_micro_batch_size_per_gpu"] = 1
    load_deepspeed(world)
    from transformers.integrations import HfDeepSpeedConfig

    with quiet():
        cut = HfDeepSpeedConfig(ours)  # transformers looks for a living one while it loads
        try:
            yield
        finally:
            del cut


def shard_model(load: Callable[[], nn.Module], dtype: str, world: World) -> nn.Module:
    """Return the model that `load` reads, its weights in shards over the processes of `world`.

    ZeRO stage 3 without an optimiser (ZeRO-Inference, Aminabadi et al. 2022): every module gathers
    its weights when it is called, so that all processes must call alike, and lets go of them. The
    weights are cut while the first process reads them; no other ever holds the whole model.
    """
    deepspeed = load_deepspeed(world)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "bf16": {"enabled": dtype == "bfloat16"},
        "fp16": {"enabled": dtype == "float16"},
        "zero_optimization": {"stage": 3},
        "steps_per_print": 1 << 30,
    }
    with loading_in_shards(config, world):
        model = load()
    with quiet():
        engine, *_ = deepspeed.initialize(model=model, config=config)
    held = sum(each.ds_tensor.numel() for each in model.parameters())
    total = sum(each.ds_numel for each in model.parameters())
    LOG.info("process %d of %d holds %d of %d parameters", world.rank, world.size, held, total)
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
    for each in module.parameters() if sharded else ():
        for tensor in (each, each.ds_tensor):
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
