"""Projects on the cluster: a small study, its site, and what Snakemake and SLURM say of a run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from project import Project
from srun import pretend
from testbed import ACCOUNT, GPU, output, until

METHODS = {
    "long-ft": {"base": "tiny-pattern-ft", "title": "Fine-tuning", "epochs": 250,
                "curve_epochs": [50, 100, 150, 200, 250]},
    "long-lora": {"base": "tiny-lora", "title": "LoRA", "epochs": 400,
                  "curve_epochs": [100, 200, 300, 400]},
    "broken": {"base": "tiny-lora", "title": "Broken", "epochs": 9, "learning_rate": 1.0e30,
               "curve_epochs": "each"},
}  # fmt: skip
RUNS = "results/runs/fair/synth-mnli/opt-mini"
ONE_NODE, TWO_NODES, BROKEN = (
    f"{RUNS}/{method}/minimal/k4/seeds8-9" for method in ("long-lora", "long-ft", "broken")
)
QUICK = Path(__file__).parent / "quick"
PATIENCE = 1200.0
"""Seconds that a study on the cluster may take."""
SITE = {
    "account": ACCOUNT,
    "cpu_partition": "cpu",
    "gpu_partition": "gpu",
    "gpu_type": GPU,
    "gpus_per_node": 1,
    "nodes": 2,
    "cpu_max_hours": 1,
    "gpu_max_hours": 24,
}
TIGHT = {"gpu_memory_gb": 1.0142, "host_memory_gb": 5.010}
"""In 2^30 bytes: with these the memory plan puts the training of all weights of opt-mini on two
nodes, and everything else on one (a test asserts that it does)."""


def place(project: Project, facts: dict) -> None:
    """Write the project's site."""
    path = project.folder / "profiles/slurm/site.yaml"
    path.write_text(yaml.safe_dump({**SITE, **facts}))


def shrink(project: Project, *others: str) -> None:
    """Make the paper's study one of seconds, so that `snakemake --profile slurm` runs it.

    `others` are methods besides "long-ft" and "long-lora".
    """

    def edit(content):
        content.clear()
        content.update(
            study="paper",
            models=["opt-mini"],
            tasks=["synth-mnli"],
            seeds="8-9",
            grid=[
                {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 4]},
                {"methods": ["long-ft", "long-lora", *others], "patterns": ["minimal"], "k": [4]},
            ],
            batch_tokens={"cpu": 512, "gpu": 512},
            main={"k": 4},
            figures=["id-ood-scatter", "accuracy-by-k"],
            tables=["headline", "coverage"],
        )

    def sizes(content):
        content["synth-mnli"]["source"]["sizes"] = {"train": 120, "validation": 60}
        content["synth-hans"]["source"]["sizes"] = {"validation": 60}

    project.edit("config/paper.yaml", edit)
    project.edit("config/tasks.yaml", sizes)
    project.edit("config/methods.yaml", lambda content: content.update(METHODS))


def run_here(project: Project) -> None:
    """Run the study on this machine, with the placements that the cluster's site leads to."""
    machine = {**TIGHT, **{name: SITE[name] for name in ("gpus_per_node", "nodes")}}
    project.edit("config/paper.yaml", lambda content: content.update(machine=machine))
    env = environment()
    path = f"{pretend(project.folder / 'bin')}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["snakemake", "--cores", "2", "--configfile", "config/paper.yaml"],
        cwd=project.folder, env={**env, "PATH": path, "SLURM_JOB_ID": "0"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    project.edit("config/paper.yaml", lambda content: content.pop("machine"))


def environment() -> dict[str, str]:
    """Return what a user has after `source .venv/bin/activate`, and questions asked more often."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(QUICK), "OMP_NUM_THREADS": "1"}


@dataclass
class Run:
    """A call of Snakemake in a project; what it prints is in `log`."""

    process: subprocess.Popen
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def wait(self) -> int:
        """Return the exit status."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End Snakemake without a chance to tidy up."""
        self.process.kill()
        self.process.wait()


def heed_ctrl_c() -> None:
    """Undo what a shell does to programs in the background, which pass it on: ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(project: Project, *arguments: str) -> Iterator[Run]:
    """Start `snakemake` with these arguments, as typed in the project's root."""
    log = project.folder / "snakemake.out"
    with open(log, "w") as out:
        process = subprocess.Popen(
            ["snakemake", *arguments], cwd=project.folder, env=environment(), stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=heed_ctrl_c,
        )  # fmt: skip
    run = Run(process, log)
    try:
        yield run
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                run.kill()


def snakemake(project: Project, *arguments: str) -> Run:
    """Run `snakemake` to its end."""
    with started(project, *arguments) as run:
        run.wait()
    return run


def job_of(rule: str, *words: str) -> str:
    """Return the number of the one job in the queue of a rule with these words in its name."""
    jobs = [line.split("|") for line in output("squeue", "-h", "-o", "%A|%k").splitlines()]
    jobs = [(number, name) for number, name in jobs if name.startswith(f"rule_{rule}")]
    found = [number for number, name in jobs if all(f"_{word}_" in name for word in words)]
    assert len(found) <= 1, jobs
    return found[0] if found else ""


def waiting(number: str) -> bool:
    """Return whether a job is in the queue, again."""
    return output("squeue", "-h", "-j", number, "-o", "%T").strip() == "PENDING"


def in_training(project: Project, method: str, *words: str) -> Callable[[], bool]:
    """Return the condition that a method's job trains its second seed and has logged `words`."""

    def holds() -> bool:
        for log in project.folder.glob(f"results/logs/runs/**/{method}/**/seeds*.log"):
            text = log.read_text()
            first = "seed 8 done" in text or "1 of 2 seeds to do" in text
            if first and all(word in text for word in ("seed 9: ZeRO", *words)):
                return "seed 9 done" not in text
        return False

    return holds


def process_of(project: Project, rule: str) -> psutil.Process:
    """Return the process of a rule's script, on whichever of the nodes, which are this machine."""
    found = [
        each
        for each in psutil.process_iter(["cwd", "cmdline"])
        if each.info["cwd"] == str(project.folder)
        and any(word.endswith(f".{rule}.py") for word in each.info["cmdline"] or ())
    ]
    (process,) = [each for each in found if each.parent() not in found]
    return process


def megabytes(text: str) -> int:
    """Return memory as SLURM's records have it, in 2^20 bytes."""
    return int(float(text[:-1]) * {"M": 1, "G": 1024}[text[-1]])


@dataclass(frozen=True)
class Record:
    """What SLURM's accounting has of a job: its name is the rule with its wildcards."""

    number: str
    name: str
    state: str
    asked: dict[str, str]
    minutes: int
    partition: str
    nodes: str


def records(since: float) -> list[Record]:
    """Return all jobs submitted since then (seconds of the epoch), each of its starts by itself.

    All have ended, as the queue says, which Snakemake asks; their records may take a moment.
    """
    found: list[Record] = []

    def are_there() -> bool:
        found[:] = _records(since)
        return not any(job.state in ("PENDING", "RUNNING") for job in found)

    until(are_there, "the records of jobs that have ended", 120)
    return found


def _records(since: float) -> list[Record]:
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    names = "JobIDRaw,Comment,State,ReqTRES,TimelimitRaw,Partition,NodeList"
    lines = output("sacct", "-X", "-D", "-n", "-P", f"--starttime={start}", f"--format={names}")
    found = []
    for line in lines.splitlines():
        number, name, state, asked, minutes, partition, nodes = line.split("|")
        if name.startswith("rule_"):
            tres = dict(each.split("=") for each in asked.split(","))
            found.append(Record(number, name.removeprefix("rule_"), state.split()[0], tres,
                                int(minutes), partition, nodes))  # fmt: skip
    return found


def wait_for(condition: Callable[[], object], run: Run, what: str) -> None:
    """Wait until a condition holds while Snakemake runs; fails with its output if it ends."""

    def holds() -> bool:
        assert run.process.poll() is None, run.printed
        return bool(condition())

    until(holds, what, PATIENCE / 2)
