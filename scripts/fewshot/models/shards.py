"""Use weights that ZeRO stage 3 keeps in shards where no engine gathers them.

Where nothing is sharded, these do nothing. All processes must take part alike.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def whole(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Give the block whole parameters."""
    cut = [each for each in parameters if hasattr(each, "ds_id")]
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
        own = [each for each in module.parameters(recurse=False) if hasattr(each, "ds_id")]
        if own:
            hooks += _gather_in_calls(module, own)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _gather_in_calls(module: nn.Module, own: list[nn.Parameter]) -> list:
    gathering = []

    def begin(*_: object) -> None:
        gathering.append(whole(own))
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
    tables = [each._parameters for module in modules for each in module.modules()]
    tables = {id(each): each for each in tables if hasattr(each, "_in_forward")}.values()
    before = [each._in_forward for each in tables]
    try:
        for each in tables:
            each._in_forward = True
        yield
    finally:
        for each, value in zip(tables, before, strict=True):
            each._in_forward = value
