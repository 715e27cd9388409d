"""A real SLURM on this machine: one controller, accounting, and several nodes with pretended GPUs.

All daemons run as root on the loopback interface, with their files under one folder, and are ended
with it. SLURM strips its own variables from the jobs that Snakemake starts, so that the
configuration is found through links in /etc/slurm, which are removed again.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
ACCOUNT = "lab"
GPU = "a100"
GPUS = 4
"""GPUs of each GPU node."""
CPUS, MEMORY = 16, 64000
"""Pretended cores and megabytes of each node."""
NODES = {"cpu1": 17003, "gpu1": 17001, "gpu2": 17002}
"""Node → the port of its daemon."""
CONTROLLER, DATABASE, MARIADB = 16817, 16819, 16833
PATIENCE = 60.0
"""Seconds that a daemon has to answer or to end."""

SLURM_CONF = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
CredType=cred/munge
MpiDefault=none
ReturnToService=2
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
JobRequeue=1
MinJobAge=600
SlurmctldTimeout=30
SlurmdTimeout=15
KillWait=5
InactiveLimit=0
Waittime=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={database}
AccountingStoragePass={folder}/run/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
{nodes}
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=1:00:00 DefMemPerCPU=100 State=UP
PartitionName=gpu Nodes=gpu[1-2] MaxTime=1-00:00:00 DefMemPerCPU=100 State=UP PriorityTier=1
PartitionName=urgent Nodes=gpu[1-2] MaxTime=1:00:00 DefMemPerCPU=100 State=UP PriorityTier=9
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
    "RealMemory={memory}{gpus}"
)
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={database}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
MARIADB_OPTIONS = (
    "--no-defaults",
    "--user=root",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-use-native-aio=0",
)


def lacking() -> str:
    """Return in one line what this machine lacks for a SLURM of its own; empty: nothing."""
    if os.name != "posix" or os.geteuid() != 0:
        return "SLURM's daemons are started as root here, and this is another user"
    programs = [name for name in PACKAGES if shutil.which(name, path=_path()) is None]
    if programs:
        packages = " ".join(dict.fromkeys(PACKAGES.values()))
        return (
            f"missing: {', '.join(programs)}; on Debian: "
            f"apt-get install --no-install-recommends {packages}"
        )
    found = [path for path in (ETC / name for name in ("slurm.conf", "gres.conf")) if _real(path)]
    if found:
        return f"{found[0]} is there already: this machine has a SLURM of its own"
    return ""


def _path() -> str:
    return f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def _real(path: Path) -> bool:
    return path.exists() and not path.is_symlink()


@dataclass
class Cluster:
    """A SLURM with its files under `folder`; start it with `with Cluster(folder) as cluster`."""

    folder: Path
    started: list[tuple[str, subprocess.Popen]] = field(default_factory=list)

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
        key = self.folder / "run/munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._daemon(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}",
            f"--socket={self.folder}/run/munge.socket", f"--pid-file={self.folder}/run/munged.pid",
            f"--log-file={self.folder}/log/munged.log", f"--seed-file={self.folder}/run/munge.seed",
        )  # fmt: skip
        until(lambda: (self.folder / "run/munge.socket").exists(), "munged")
        self._start_database()
        self.controller()
        until(lambda: try_run("scontrol", "ping"), "slurmctld")
        for node in NODES:
            self.node(node)
        until(lambda: self.states() == dict.fromkeys(NODES, "idle"), "slurmd")

    def _start_database(self) -> None:
        data = self.folder / "mariadb"
        run("mariadb-install-db", *MARIADB_OPTIONS[:1], "--user=root", f"--datadir={data}",
            "--auth-root-authentication-method=normal", "--skip-test-db")  # fmt: skip
        socket_ = self.folder / "run/mariadb.socket"
        self._daemon("mariadbd", "mariadbd", *MARIADB_OPTIONS, f"--datadir={data}",
                     f"--socket={socket_}", f"--port={MARIADB}",
                     f"--pid-file={self.folder}/run/mariadbd.pid")  # fmt: skip
        client = ("mariadb", "--no-defaults", f"--socket={socket_}", "--user=root", "-e")
        until(lambda: try_run(*client, "select 1"), "mariadbd")
        run(*client, "create user slurm@'127.0.0.1' identified by 'slurm'; "
            "grant all on *.* to slurm@'127.0.0.1'")  # fmt: skip
        self._daemon("slurmdbd", "slurmdbd", "-D")
        until(lambda: try_run("sacctmgr", "-n", "show", "cluster"), "slurmdbd")
        for words in (
            "cluster toy",
            f"account {ACCOUNT} cluster=toy description=lab organization=lab",
            f"user root cluster=toy account={ACCOUNT}",
        ):
            run("sacctmgr", "-i", "add", *words.split())

    def _configure(self) -> None:
        host = socket.gethostname()
        values = {"host": host, "folder": self.folder, "controller": CONTROLLER,
                  "database": DATABASE, "mariadb": MARIADB}  # fmt: skip
        nodes = [
            NODE.format(name=name, host=host, port=port, cpus=CPUS, memory=MEMORY,
                        gpus=f" Gres=gpu:{GPU}:{GPUS}" if name.startswith("gpu") else "")
            for name, port in NODES.items()
        ]  # fmt: skip
        # Links, since a plain file as device would leave CUDA_VISIBLE_DEVICES unset.
        for number in range(GPUS):
            device = self.folder / f"dev/nvidia{number}"
            if not device.is_symlink():
                device.symlink_to("/dev/null")
        files = {
            "slurm.conf": SLURM_CONF.format(**values, nodes="\n".join(nodes)),
            "slurmdbd.conf": SLURMDBD_CONF.format(**values),
            "gres.conf": f"NodeName=gpu[1-2] Name=gpu Type={GPU} "
            f"File={self.folder}/dev/nvidia[0-{GPUS - 1}]\n",
            "cgroup.conf": "",
        }
        ETC.mkdir(exist_ok=True)
        for name, text in files.items():
            path = self.folder / name
            path.write_text(text)
            path.chmod(0o600)
            with contextlib.suppress(FileNotFoundError):
                (ETC / name).unlink()
            (ETC / name).symlink_to(path)

    def _daemon(self, title: str, *command: str) -> None:
        with open(self.folder / f"log/{title}.out", "a") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PATH": _path()},
            )  # fmt: skip
        self.started.append((title, process))

    def controller(self) -> None:
        """Start the controller (again)."""
        self._daemon("slurmctld", "slurmctld", "-D")

    def node(self, name: str) -> None:
        """Start the daemon of a node (again)."""
        self._daemon(f"slurmd-{name}", "slurmd", "-D", "-N", name)

    def kill(self, title: str) -> None:
        """Kill a daemon as a power cut would; of a node its jobs' processes too."""
        for name, process in self.started:
            if name == title:
                process.kill()
                process.wait()
        self.started = [each for each in self.started if each[0] != title]
        if title.startswith("slurmd-"):
            _kill_node(title.removeprefix("slurmd-"), self.folder)

    def stop(self) -> None:
        """End all jobs, then all daemons, in the reverse order of their start."""
        if any(name == "slurmctld" for name, _ in self.started):
            subprocess.run(["scancel", "--user=root"], capture_output=True, timeout=PATIENCE)
            with contextlib.suppress(TimeoutError):
                until(lambda: not output("squeue", "-h"), "the end of all jobs")
        for _, process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE / 3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.started = []
        for name in ("slurm.conf", "slurmdbd.conf", "gres.conf", "cgroup.conf"):
            link = ETC / name
            if link.is_symlink() and link.readlink().is_relative_to(self.folder):
                link.unlink()

    def states(self) -> dict[str, str]:
        """Return the state of every node."""
        lines = output("sinfo", "-h", "-N", "-o", "%N|%T").splitlines()
        return dict(line.split("|") for line in lines)


def _kill_node(name: str, folder: Path) -> None:
    """Kill the step daemons of a node and everything that they started."""
    steps = subprocess.run(["pgrep", "-f", rf"slurmstepd: \["], capture_output=True, text=True)
    for pid in map(int, steps.stdout.split()):
        command = Path(f"/proc/{pid}/cmdline")
        with contextlib.suppress(OSError):
            if f"{folder}/spool/{name}" in os.readlink(f"/proc/{pid}/cwd") or name in command.read_text():
                _kill_tree(pid)


def _kill_tree(pid: int) -> None:
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in map(int, children.stdout.split()):
        _kill_tree(child)


def run(*command: str) -> str:
    """Run a command and return its output; raises CalledProcessError with both streams printed."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": _path()})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def output(*command: str) -> str:
    """Return what a command of SLURM prints."""
    return run(*command)


def try_run(*command: str) -> bool:
    """Return whether a command ends well."""
    return subprocess.run(command, capture_output=True, env={**os.environ, "PATH": _path()}).returncode == 0


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait until a condition holds; raises TimeoutError naming `what` is waited for."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s for {what}")
        time.sleep(0.1)
