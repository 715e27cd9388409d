"""Locks: a folder for one process at a time, and a lock file whose holder shows it is alive."""

import fcntl
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError

LOG = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between two attempts to lock."""
REMIND = 60.0
"""Seconds between two lines in the log that say what is waited for."""


@contextmanager
def exclusive(root: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder, made if it is not there; the kernel frees that of a dead process.

    The log says now and then that another process is waited for. Raises filelock.Timeout where
    one is and must not be waited for, and UserError where the file system cannot lock.
    """
    # What a file system that cannot lock would get instead outlives a killed process.
    lock = FileLock(root / ".lock", fallback_to_soft=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _acquire(lock, wait)
    except Timeout:
        raise
    except OSError as error:
        raise UserError(f"{root}: cannot be locked ({error})") from None
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, wait: bool) -> None:
    seconds = 0.0
    while True:
        try:
            lock.acquire(timeout=seconds, poll_interval=POLL)
            return
        except Timeout:
            if not wait:
                raise
            LOG.info("waiting for another process, which holds %s", lock.lock_file)
            seconds = REMIND


def lock_on_machine(name: str, held: ExitStack) -> bool:
    """Lock a name among this user's processes on this machine until `held` is closed; return
    whether it was free.

    By flock(2): systemd-tmpfiles removes no file that is locked so, and the kernel opens the lock
    of a dead process. Raises UserError where the temporary folder cannot be written to.
    """
    file_name = f"fairshot-{os.getuid()}-{name}.lock".replace("/", "-")  # of parts of GPUs
    path = Path(tempfile.gettempdir(), file_name)
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        valid = "valid: a TMPDIR that this user may write to"
        raise UserError(f"{path}: {error.strerror}; {valid}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    held.callback(os.close, file)
    return True


@contextmanager
def alone_on_machine(name: str) -> Iterator[None]:
    """Let one process of this user at a time be here on this machine; the others wait."""
    with ExitStack() as held:
        told = False
        while not lock_on_machine(name, held):
            if not told:
                LOG.info("waiting for another process on this machine (%s)", name)
            told = True
            time.sleep(POLL)
        yield


BEAT = 20.0
"""Seconds between two heartbeats."""

SILENCE = 180.0
"""Seconds without a heartbeat after which a holder on another machine counts as dead."""


class Lock:
    """Hold `path` exclusively while the context is open.

    A stale lock is taken over, with a line in the log. Raises UserError where the holder lives; to
    tell, a lock of another machine is watched for up to `silence` seconds.
    """

    def __init__(self, path: Path, beat: float = BEAT, silence: float = SILENCE):
        self.path, self.beat, self.silence = Path(path), beat, silence
        self._stop = threading.Event()

    def __enter__(self) -> "Lock":
        while not self._acquire():
            owner = _read(self.path)
            if owner is None:
                continue
            if self._alive(owner):
                raise UserError(
                    f"{self.path}: held by process {owner.get('pid')} on {owner.get('host')} "
                    f"(SLURM job {owner.get('slurm_job')}), which is alive; wait for it or end it"
                )
            self._remove_stale(owner)
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._is_mine():
            self.path.unlink()
        os.close(self._handle)

    def check(self) -> None:
        """Raise UserError where another process has taken the lock over."""
        if not self._is_mine():
            raise UserError(f"{self.path}: lost to another process, which took this one for dead")

    def _acquire(self) -> bool:
        try:
            self._handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        os.write(self._handle, json.dumps(_myself()).encode())
        os.fsync(self._handle)
        return True

    def _is_mine(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._handle), self.path.stat())
        except FileNotFoundError:
            return False

    def _keep_alive(self) -> None:
        while not self._stop.wait(self.beat):
            # Through the handle: the path may have come to be another holder's.
            os.utime(self._handle)

    def _alive(self, owner: dict) -> bool:
        if owner.get("machine") == _machine():
            return _started(owner["pid"]) == owner["started"]
        # Clocks of machines differ: only a heartbeat seen to move, or not, counts.
        LOG.info("%s: watching the heartbeat of %s", self.path, owner.get("host"))
        age = time.time() - owner["heartbeat"]
        end = time.monotonic() + max(self.silence - age, 2.5 * self.beat)
        while time.monotonic() < end:
            time.sleep(min(1.0, self.beat / 4))
            now = _read(self.path)
            if now != owner:
                return now is not None
        return False

    def _remove_stale(self, owner: dict) -> None:
        LOG.warning(
            "%s: taking over from process %s on %s (SLURM job %s), which is gone",
            self.path, owner.get("pid"), owner.get("host"), owner.get("slurm_job"),
        )  # fmt: skip
        aside = self.path.with_name(f".{self.path.name}.{socket.gethostname()}.{os.getpid()}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        if _read(aside) != owner:
            # Somebody else took it over between the look and the rename: give it back.
            os.link(aside, self.path)
        aside.unlink()


def holder(path: Path, silence: float = 3600.0) -> str | None:
    """Return who holds the lock file at `path` and may be alive, or None where nobody is.

    Nothing is waited for, unlike in `Lock`: a holder on another machine counts as alive until its
    heartbeat is `silence` seconds old, more than clocks differ by.
    """
    owner = _read(path)
    if owner is None:
        return None
    if owner.get("machine") == _machine():
        alive = _started(owner["pid"]) == owner["started"]
    else:
        alive = time.time() - owner["heartbeat"] < silence
    return f"process {owner.get('pid')} on {owner.get('host')}" if alive else None


def _read(path: Path) -> dict | None:
    """Return the holder's entry with inode and heartbeat; None where the file is gone.

    The entry of a holder that died before writing it is empty.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text, status = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    try:
        entry = json.loads(text)
    except json.JSONDecodeError:
        entry = {}
    return {**entry, "inode": status.st_ino, "heartbeat": status.st_mtime}


def _myself() -> dict:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


def _machine() -> str:
    """Return a name under which process numbers are comparable: host, boot and PID namespace."""
    parts = [socket.gethostname()]
    for path, read in (
        ("/proc/sys/kernel/random/boot_id", lambda path: Path(path).read_text("utf-8").strip()),
        ("/proc/self/ns/pid", os.readlink),
    ):
        if os.path.lexists(path):
            parts.append(read(path))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """Return when process `pid` started (numbers are reused), None where it is dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    if not Path("/proc/self/stat").exists():
        return "unknown"
    try:
        # After the command, which may hold blanks: state, then 18 fields, then the start time.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]
