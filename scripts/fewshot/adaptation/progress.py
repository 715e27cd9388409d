"""How far the training of a seed has come: what a checkpoint holds beside the engine's states."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import pandas as pd
import torch

from ..runtime.world import World
from .weights import store


@dataclass
class Progress:
    """Where training stands, and what it has found.

    `done` steps of epoch `epoch` are done, `step` of all; `skipped` are those without update, as
    float16 overflowed. `scored` evaluation rows were read, `splits` of their batches halved.
    `counts` are the running epoch's sum of losses, correct rows, and rows whose top token is right;
    `curves` what is stored of the epochs before. `best` is (correct rows, epoch) of the best curve
    point in domain, `best_state` the trained parameters then, by name, in the first process (None:
    it is the last epoch). `resumed` are the steps after which training went on from a checkpoint,
    `seconds` those of the phases before the last of these.
    """

    epoch: int = 1
    done: int = 0
    step: int = 0
    skipped: int = 0
    splits: int = 0
    scored: int = 0
    counts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    best: tuple[int, int] = (-1, 0)
    last_loss: float | None = None
    resumed: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    curves: list[pd.DataFrame] = field(default_factory=list)
    best_state: dict[str, torch.Tensor] | None = None


FILES = {"curves", "best_state"}
"""What a checkpoint has files of its own for; the rest is JSON."""


def save(progress: Progress, how: dict[str, object], folder: Path, world: World) -> None:
    """Write progress and this process's random state to `folder`.

    `how` says how the seed is run (placement, device, …): another way rounds otherwise.
    """
    store(_random_state(), folder / f"random{world.rank}.pt")
    if world.rank:
        return
    names = {each.name for each in fields(progress)} - FILES
    plain = {name: getattr(progress, name) for name in sorted(names)}
    (folder / "progress.json").write_text(json.dumps({**plain, "how": how}), "utf-8")
    for number, frame in enumerate(progress.curves):
        frame.to_parquet(folder / f"curve{number:04d}.parquet")
    if progress.best_state is not None:
        store(progress.best_state, folder / "best.pt")


def read_how(folder: Path) -> dict[str, object]:
    """Return how the seed was run that left its progress in `folder`."""
    return json.loads((folder / "progress.json").read_text("utf-8"))["how"]


def load(folder: Path, world: World) -> Progress:
    """Return the progress stored in `folder` and set this process's random state to what it was."""
    content = json.loads((folder / "progress.json").read_text("utf-8"))
    del content["how"]
    for name in ("counts", "best", "resumed"):
        content[name] = tuple(content[name])
    curves = [pd.read_parquet(path) for path in sorted(folder.glob("curve*.parquet"))]
    best = folder / "best.pt"
    first = world.rank == 0 and best.exists()
    state = torch.load(best, weights_only=True) if first else None
    _set_random_state(torch.load(folder / f"random{world.rank}.pt", weights_only=True))
    return Progress(**content, curves=curves, best_state=state)


def _random_state() -> dict[str, torch.Tensor]:
    """Return the states of the generators that dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
