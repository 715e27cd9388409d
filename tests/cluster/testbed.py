"""A real SLURM on this machine: a controller, accounting, and three nodes with pretended GPUs.

All daemons run as root on the loopback interface, with their files in one folder, and end with the
tests. Jobs of Snakemake's executor know none of SLURM's variables, so that the configuration must
be found in /etc/slurm: links to that folder, which are removed again.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from slurm_files import NODE, SLURM_CONF, SLURMDBD_CONF

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
}
"""Program → the Debian package that has it."""
ETC = Path("/etc/slurm")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
ACCOUNT, GPU, GPUS = "lab", "a100", 4
"""What jobs are charged to; the type of the pretended GPUs, and their number on a GPU node."""
CPUS, MEMORY = 16, 64000
"""Pretended cores and megabytes of a node."""
NODES = {"cpu1": 17003, "gpu1": 17001, "gpu2": 17002}
"""Node → the port of its daemon."""
CONTROLLER, DATABASE, MARIADB = 16817, 16819, 16833
"""Ports."""
PATIENCE = 60.0
"""Seconds that a daemon has to answer or to end."""

FILES = ("slurm.conf", "slurmdbd.conf", "gres.conf", "cgroup.conf")


def lacking() -> str:
    """Return in one line what this machine lacks for a SLURM of its own; empty: nothing."""
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root, and this is another user"
    programs = [name for name in PACKAGES if shutil.which(name, path=PATH) is None]
    if programs:
        packages = " ".join(dict.fromkeys(PACKAGES.values()))
        return (
            f"these programs are missing: {', '.join(programs)}; on Debian: "
            f"apt-get install --no-install-recommends {packages}"
        )
    for path in (ETC / name for name in FILES):
        if path.exists() and not path.is_symlink():
            return f"{path} is there: this machine has a SLURM of its own, which is left alone"
    return ""


@dataclass
class Cluster:
    """A SLURM with its files in `folder`, started with `with Cluster(folder) as cluster`."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        for name in ("run", "log", "state", "dev", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._configure()
        self._start_munge()
        self._start_database()
        self._daemon("slurmctld", "-D")
        until(lambda: "UP" in tried("scontrol", "ping"), "slurmctld")
        for node in NODES:
            self.start_node(node)
        until(lambda: self.states() == dict.fromkeys(NODES, "idle"), "the nodes")

    def _configure(self) -> None:
        host = socket.gethostname()
        nodes = [
            NODE.format(name=name, host=host, port=port, cpus=CPUS, memory=MEMORY,
                        gpus=f" Gres=gpu:{GPU}:{GPUS}" if name.startswith("gpu") else "")
            for name, port in NODES.items()
        ]  # fmt: skip
        for number in range(GPUS):
            # Links to a device: with plain files CUDA_VISIBLE_DEVICES would not be set.
            (self.folder / f"dev/nvidia{number}").symlink_to("/dev/null")
        values = {"host": host, "folder": self.folder, "controller": CONTROLLER,
                  "database": DATABASE, "mariadb": MARIADB, "nodes": "\n".join(nodes)}  # fmt: skip
        texts = (
            SLURM_CONF.format(**values),
            SLURMDBD_CONF.format(**values),
            f"NodeName=gpu[1-2] Name=gpu Type={GPU} File={self.folder}/dev/nvidia[0-{GPUS - 1}]\n",
            "",
        )
        ETC.mkdir(exist_ok=True)
        for name, text in zip(FILES, texts, strict=True):
            path = self.folder / name
            path.write_text(text)
            path.chmod(0o600)  # slurmdbd insists
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(path)

    def _start_munge(self) -> None:
        run = self.folder / "run"
        key = run / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={run}/munge.socket", f"--pid-file={run}/munged.pid",
            f"--log-file={self.folder}/log/munged.log", f"--seed-file={run}/munge.seed",
        )  # fmt: skip
        until((run / "munge.socket").exists, "munged")

    def _start_database(self) -> None:
        data, run = self.folder / "mariadb", self.folder / "run"
        output("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}",
               "--auth-root-authentication-method=normal", "--skip-test-db")  # fmt: skip
        self._daemon(
            "mariadbd", "--no-defaults", "--user=root", "--bind-address=127.0.0.1",
            "--skip-name-resolve", "--skip-log-bin", "--innodb-buffer-pool-size=64M",
            "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0",
            "--innodb-use-native-aio=0", f"--datadir={data}", f"--socket={run}/mariadb.socket",
            f"--port={MARIADB}", f"--pid-file={run}/mariadbd.pid",
        )  # fmt: skip
        client = ("mariadb", "--no-defaults", f"--socket={run}/mariadb.socket", "-uroot", "-e")
        until(lambda: tried(*client, "select 1"), "mariadbd")
        output(*client, "create user slurm@'127.0.0.1' identified by 'slurm'; "
               "grant all on *.* to slurm@'127.0.0.1'")  # fmt: skip
        self._daemon("slurmdbd", "-D")
        until(lambda: tried("sacctmgr", "-n", "show", "user"), "slurmdbd")
        for words in (
            "cluster toy",
            f"account {ACCOUNT} cluster=toy description=lab organization=lab",
            f"user root cluster=toy account={ACCOUNT}",
        ):
            output("sacctmgr", "-i", "add", *words.split())

    def _daemon(self, *command: str, title: str = "") -> None:
        title = title or command[0]
        with open(self.folder / f"log/{title}.out", "a") as log:
            self.daemons[title] = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, env={**os.environ, "PATH": PATH},
            )  # fmt: skip

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self._daemon("slurmd", "-D", "-N", name, title=name)

    def cut_power(self, name: str) -> None:
        """Kill a node's daemon, and all processes of the jobs there, at once."""
        here = output("squeue", "-h", "-w", name, "-o", "%A").split()
        jobs = tuple(f"slurmstepd: [{job}." for job in here)
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                inside = f"SLURMD_NODENAME={name}\0".encode() in (process / "environ").read_bytes()
                if inside or title.startswith(jobs):
                    os.kill(int(process.name), signal.SIGKILL)

    def states(self) -> dict[str, str]:
        """Return the state of every node."""
        lines = output("sinfo", "-h", "-N", "-o", "%N|%T").splitlines()
        return dict(line.split("|") for line in lines)

    def stop(self) -> None:
        """End all jobs, then all daemons, in the reverse order of their start."""
        if "slurmctld" in self.daemons:
            tried("scancel", "--user=root")
            with suppress(TimeoutError):
                until(lambda: tried("squeue", "-h") in ("", "done"), "the end of all jobs")
        for process in reversed(self.daemons.values()):
            process.terminate()
            try:
                process.wait(PATIENCE / 3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons.clear()
        for link in (ETC / name for name in FILES):
            if link.is_symlink() and link.readlink().is_relative_to(self.folder):
                link.unlink()


def output(*command: str) -> str:
    """Run a command and return what it prints; raises RuntimeError with its words if it fails."""
    env = {**os.environ, "PATH": PATH}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def tried(*command: str) -> str:
    """Return what a command prints, or nothing where it fails; "done" where it prints nothing."""
    try:
        return output(*command) or "done"
    except (RuntimeError, subprocess.TimeoutExpired):
        return ""


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until a condition holds; raises TimeoutError that names `what` is waited for."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s for {what}")
        time.sleep(0.2)


if __name__ == "__main__":
    print(*dict.fromkeys(PACKAGES.values()))
