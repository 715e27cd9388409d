"""Run Snakemake and show one line for each finished step; warnings and errors are shown in full.

    python .ci/progress.py snakemake --quiet host reason

A line such as `[12/48] fine_tune synth-mnli opt-mini tiny-lora minimal k=16 seeds=0-4` replaces
what Snakemake says of a job in three places. Lines that this file does not know are passed on. The
exit status is Snakemake's.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

CHATTER = re.compile(
    r"\[\w{3} \w{3} [\d ]\d [\d:]{8} \d{4}\]$|Select jobs to execute|Execute \d+ jobs|Using shell: "
    r"|Provided (cores|resources): |Rules claiming more threads |Conda environments: "
    r"|Using workflow specific profile |Assuming unrestricted shared filesystem usage"
    r"|Shell command: None$"
)
"""What begins a line that nobody needs who only follows a run."""
JOB = re.compile(r"(?:local)?rule (\w+):$")
FINISHED = re.compile(r"Finished jobid: (\d+) ")
COUNT = re.compile(r"(\d+) of (\d+) steps ")
SHARED = ("study", "protocol", "draw")
"""Wildcards that are the same for all jobs of a study, or nearly so."""


def describe(rule: str, wildcards: str) -> str:
    """Return a job in one line: names as they are, numbers with what they count.

    `wildcards` are those of Snakemake's text: `task=synth-mnli, k=16, first=0, last=4`.
    """
    values = dict(pair.split("=", 1) for pair in wildcards.split(", ") if pair)
    if "first" in values and "last" in values:
        values["seeds"] = f"{values.pop('first')}-{values.pop('last')}"
    words = [
        f"{name}={value}" if value[0].isdigit() else value
        for name, value in values.items()
        if name not in SHARED
    ]
    return " ".join([rule, *words])


def shorten(lines: Iterable[str]) -> Iterator[str]:
    """Yield what is to be shown of Snakemake's `lines`, which may end with a line break."""
    jobs: dict[str, str] = {}
    finished = rule = jobid = ""
    table = False
    for line in (text.rstrip("\n") for text in lines):
        if rule and line.startswith("    "):
            name, _, value = line.strip().partition(": ")
            if name == "jobid":
                jobid, jobs[value] = value, rule
            elif name == "wildcards":
                jobs[jobid] = describe(rule, value)
            continue
        rule = ""
        if table:
            table = bool(line)
        elif line == "Job stats:":
            table = True
        elif match := JOB.match(line):
            rule = match[1]
        elif match := FINISHED.match(line):
            finished = jobs.pop(match[1], f"job {match[1]}")
        elif match := COUNT.match(line):
            done, total = match.groups()
            yield f"[{done:>{len(total)}}/{total}] {finished}"
        elif line and not CHATTER.match(line):
            yield line


def main(command: list[str]) -> int:
    """Run `command`, print what is left of its stderr and return its exit status."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        # Ctrl-C reaches the command as well, which has last words of its own.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        for line in shorten(process.stderr):
            print(line, file=sys.stderr, flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
