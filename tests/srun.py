"""A stand-in for srun that starts the processes of a step on this machine, as SLURM would."""

import sys
from pathlib import Path

SCRIPT = """#!{python}
import os, subprocess, sys
options, command = [], sys.argv[1:]
while command[0].startswith("--"):
    options.append(command.pop(0))
given = dict(each.split("=") for each in options if "=" in each)
count, each = int(given["--ntasks"]), int(given["--ntasks-per-node"])
open("{folder}/options", "w").write(" ".join(options) + os.environ.get("SLURM_STEP_NUM_TASKS", ""))
parts = []
for rank in range(count):
    own = dict(SLURM_PROCID=rank, SLURM_STEP_NUM_TASKS=count, SLURM_LOCALID=rank % each)
    env = dict(os.environ, **{{name: str(value) for name, value in own.items()}})
    parts.append(subprocess.Popen(command, env=env))
sys.exit(max(part.wait() for part in parts))
"""


def pretend(folder: Path) -> Path:
    """Write the stand-in to `folder`, for PATH, and return it.

    What it was asked for is kept in the file `options` there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "srun").write_text(SCRIPT.format(python=sys.executable, folder=folder))
    (folder / "srun").chmod(0o755)
    return folder
