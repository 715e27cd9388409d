"""Stand-ins for SLURM's commands: each prints what a file holds, and notes how it was called."""

import json
import sys
from pathlib import Path

FOUND = "cpu|1:00:00|1|64000|(null)\ngpu|1-00:00:00|2|64000|gpu:a100:4(S:0-1),nvme:2\n"
SITE = {
    "account": "lab",
    "cpu_partition": "cpu",
    "gpu_partition": "gpu",
    "gpu_type": "a100",
    "gpu_memory_gb": 80,
    "gpus_per_node": 4,
    "nodes": 2,
    "host_memory_gb": 60,
    "cpu_max_hours": 1,
    "gpu_max_hours": 24,
}
"""The facts of a cluster that prints this."""
ANSWERS = {"sinfo": FOUND, "sacctmgr": "lab\nother\n", "sbatch": "", "squeue": "", "scancel": ""}
PROGRAM = """\
#!{python}
import json, sys
open('{folder}/calls', 'a').write(json.dumps(['{name}', *sys.argv[1:]]) + '\\n')
name = 'reasons' if '-R' in sys.argv else '{name}'
text = open(f'{folder}/{{name}}.out').read()
sys.exit(text[6:]) if text.startswith('error:') else print(text, end='')
"""


def stand_in(folder: Path) -> Path:
    """Write the programs, and what each prints (`error:` first: fails) to `NAME.out` beside them;
    `sinfo -R` prints `reasons.out`. Return the folder to have on PATH."""
    programs = folder / "bin"
    programs.mkdir()
    (folder / "reasons.out").write_text("")
    for name, text in ANSWERS.items():
        (folder / f"{name}.out").write_text(text)
        (programs / name).write_text(
            PROGRAM.format(python=sys.executable, folder=folder, name=name)
        )
        (programs / name).chmod(0o755)
    return programs


def calls(folder: Path, name: str) -> list[list[str]]:
    """Return the arguments of every call of a program."""
    log = folder / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    return [call[1:] for call in map(json.loads, lines) if call[0] == name]
