"""A logger plugin of Snakemake: one line in words for each job that has ended.

    35/128 · fine-tune · MNLI · Pythia mini · LoRA · k=16 · 12 s · about 2 min left

Warnings and errors are shown in full, but for mistakes on the command line (`mistakes`) and for
jobs whose log says in one line why they failed; failed jobs are listed at the end. A dry run is
shown in full, and so is all with `--verbose`. Snakemake finds the package by its name where this
folder's parent is on the path of Python; `make setup` puts it there, and `profiles/default` then
asks for it. Its interface is that of the package `snakemake_interface_logger_plugins`.
"""

import logging
import re
import sys

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from .lines import Progress, files_text
from .mistakes import in_one_line

CHATTER = re.compile(
    r"host: |Building DAG of jobs|Select jobs to execute|Execute \d+ jobs|Using shell: "
    r"|(Conda environments|Singularity containers|Group jobs): |None$"
    r"|Assuming unrestricted shared filesystem usage"
)
"""What begins a line without an event that nobody needs who only follows a run."""
TOLD_OTHERWISE = (
    LogEvent.RUN_INFO, LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED,
    LogEvent.PROGRESS, LogEvent.SHELLCMD, LogEvent.GROUP_INFO, LogEvent.RESOURCES_INFO,
    LogEvent.WORKFLOW_STARTED, LogEvent.RULEGRAPH,
)  # fmt: skip
"""Events whose texts are not shown."""
SAID_ALREADY = re.compile(
    r"RuleException:\nCalledProcessError in file |Exiting because a job execution failed"
)
"""What begins an error that says no more than that a job failed, of which there is a line."""
LAST = "At least one job did not complete successfully"
"""What Snakemake says last where jobs failed: their list takes its place."""
ENDING = "Terminating processes on user request"
"""What Snakemake says first at Ctrl-C; the workflow has said so already, in one line."""


class LogHandler(LogHandlerBase):
    """Writes what a run does to stderr, in words."""

    def __post_init__(self) -> None:
        self.progress = Progress()
        self.files: list[str] = []
        self.remote = False
        self.ending = False
        self.closed = False
        self.in_list = False

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return False  # Snakemake's own follows --quiet.

    @property
    def has_formatter(self) -> bool:
        return False  # Snakemake's own shows the logs of failed jobs.

    @property
    def needs_rulegraph(self) -> bool:
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Show what is to be shown of a record. Snakemake calls this in one thread alone."""
        settings = self.common_settings
        if self.closed:
            return
        try:
            self.files = getattr(record, "files", self.files)
            line = "" if settings.verbose else in_one_line(record, self.files)
            told = settings.dryrun or settings.verbose
            full = self.in_full if told else self.in_words
            lines = [line] if line else full(record)
            stream = sys.stdout if settings.stdout else sys.stderr
            if lines:
                print(*lines, sep="\n", file=stream, flush=True)
        except BrokenPipeError:
            self.closed = True  # Nobody reads on, as behind `| head`.
        except Exception:
            # As every handler of `logging` does: a fault here must not silence what follows, as an
            # exception in Snakemake's thread would.
            self.handleError(record)

    def in_full(self, record: logging.LogRecord) -> list[str]:
        """Return Snakemake's own text; a blank line stands before jobs in a row."""
        before, self.in_list = self.in_list, _event(record) == LogEvent.JOB_INFO
        text = self.format(record)
        blank = [""] if self.in_list and not before else []
        return [*blank, text] if text not in ("", "None") else []

    def in_words(self, record: logging.LogRecord) -> list[str]:
        """Return the lines that tell of a record: none, one, or those of several jobs at once."""
        event = _event(record)
        if hasattr(record, "names"):
            self.progress.names = record.names
            return []
        if record.getMessage().startswith(ENDING):
            self.ending = True
        if self.ending:
            return []
        if event == LogEvent.RUN_INFO:
            return [self.progress.planned(record.stats)]
        if event == LogEvent.RESOURCES_INFO:
            self.remote |= hasattr(record, "nodes")
        elif event == LogEvent.JOB_INFO:
            self._started(record)
        elif event == LogEvent.JOB_FINISHED:
            self.progress.finished(record.job_id, record.created)
        elif event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            return self._failed(record)
        elif event == LogEvent.PROGRESS:
            return self.progress.counted(record.done, record.total, record.created)
        if event in TOLD_OTHERWISE or (event is None and CHATTER.match(record.getMessage())):
            return []
        if SAID_ALREADY.match(record.getMessage()):
            return []
        if LAST in record.getMessage() and self.progress.failures:
            return self.progress.failed_jobs()
        text = self.format(record)
        return [text] if text else []

    def _failed(self, record: logging.LogRecord) -> list[str]:
        """Note that jobs failed. A job whose log ends with a line that says why is told in one;
        others are told in full, with their logs."""
        jobs = getattr(record, "job_error_info", [vars(record)])
        lines = [
            self.progress.failed(job["jobid"], record.created, job.get("log") or ()) for job in jobs
        ]
        return lines if all(lines) else [self.format(record)]

    def _started(self, record: logging.LogRecord) -> None:
        # A target has no output: its inputs are what was asked for. What has no wildcards was asked
        # for by name as well.
        made = record.output or ([] if record.log else record.input)
        files = "" if record.wildcards else files_text(made)
        self.progress.started(
            record.jobid, record.rule_name, record.wildcards, files, record.created,
            submitted=self.remote and not record.local,
        )  # fmt: skip


def _event(record: logging.LogRecord) -> LogEvent | None:
    return getattr(record, "event", None)
