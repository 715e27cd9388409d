"""How a script begins and ends: its log, and one line for what is a user's to mend."""

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError, refusals_told
from .interrupts import CtrlC
from .processes import MARK, read_ranks, read_shortages


class LogFile(logging.FileHandler):
    """A log that may be on a full disk: the one line on stderr has to do then."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


def log_to(path: str | Path) -> None:
    """Send logging and warnings to `path`, with times; nothing else writes progress.

    Of several processes of one job, all but the first write to files of their own beside it. What
    was there is overwritten, but not by processes that a launcher started for this very job: the
    first one shares its log, and when all start anew the others go on with theirs.
    """
    rank = read_ranks()[0]
    path = Path(f"{path}.rank{rank}" if rank else path)
    if MARK not in os.environ or (rank and not read_shortages()):
        path.write_text("", "utf-8")
    logging.basicConfig(
        # The process that starts others keeps its log open while the first of them writes there.
        handlers=[LogFile(path, mode="a", encoding="utf-8")],
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        force=True,
    )
    # It would tell of kernels to install that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    warnings.simplefilter("default")


LOGS = "results/logs/"
"""What the path of every log begins with, but for the prefix of a module."""


def enter_prefix(smk: object) -> None:
    """Go to the folder that the prefix of a module names, where the job's rule was used with one,
    and let paths be relative to it: those in params and in code have no prefix.

    Processes that a job starts are there already.
    """
    prefix = str(smk.log[0]).rpartition(LOGS)[0]
    if not prefix or Path(prefix).is_absolute():
        return

    def below(path: str) -> str:
        return path if os.path.isabs(path) else os.path.relpath(path, prefix)

    for files in ("input", "output", "log"):
        named = getattr(smk, files)
        setattr(smk, files, type(named)(toclone=named, custom_map=below))
    if MARK not in os.environ:
        os.chdir(prefix)


OFFLINE = {"HF_HUB_OFFLINE": "1", "DISABLE_SAFETENSORS_CONVERSION": "1"}
"""Without the second, weights without safetensors make transformers look for a conversion."""


def run(main: Callable[[object], None], smk: object, online: bool = False) -> None:
    """Run a script's `main` with its log; a UserError ends it with one line and status 1, and so
    does a file system that is full or may not be written to. Ctrl-C ends it with a line in its log
    alone and status 130: in the terminal Snakemake says so.

    Unless it is `online`, Hugging Face's libraries are kept off the network, whatever the user's
    environment says. They look when they are imported, so a script imports them in `main`.
    """
    if not online:
        os.environ.update(OFFLINE)
    try:
        enter_prefix(smk)
        with refusals_told(smk.output):
            log_to(smk.log[0])
            main(smk)
    except UserError as error:
        if logging.getLogger().hasHandlers():
            logging.error("%s", error, exc_info=error.__cause__)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit:
        raise  # said why already
    except KeyboardInterrupt:
        logging.warning("stopped by Ctrl-C")
        sys.exit(CtrlC.STATUS)
    except BaseException:
        logging.exception("the job failed")
        raise
