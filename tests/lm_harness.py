"""Jobs as cells of lm-evaluation-harness, and the harness as a user types it."""

import os
import subprocess
import sys
from pathlib import Path


def cell_of(smk, k: int) -> dict:
    """Return the cell of a job as rule export_lm_eval passes it."""
    sets = zip(smk.params.evaluation, smk.input.evaluation, strict=True)
    return {
        "protocol": "fair",
        "task": smk.params.task,
        "k": k,
        "pattern": smk.params.pattern,
        "seeds": smk.params.seeds,
        "evaluation": [{**each, "path": path} for each, path in sets],
        "train": smk.input.train,
        "shots": dict(zip(map(str, smk.params.seeds), smk.input.shots, strict=False)),
    }


def harness(folder: Path, tasks: list[str], model: Path, batch: int = 8) -> None:
    """Run the harness as a user types it, in the folder of the tasks, on `batch` rows at once."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--include_path", "."]
    command += ["--model_args", f"pretrained={model},dtype=float32", "--device", "cpu"]
    command += ["--tasks", ",".join(tasks), "--batch_size", str(batch)]
    command += ["--log_samples", "--output_path", "../logs"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "cache")}
    # DeepSpeed, in a test before this one, may have said that this process is one of several.
    alone = {name: value for name, value in os.environ.items() if name != "LOCAL_RANK"}
    done = subprocess.run(
        command, cwd=folder, env={**alone, **offline}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
