"""Run Snakemake once, as a user does, and say what that took: `planning_worker JOB RESULT`."""

import os
import resource
import subprocess
import sys
import time

from . import apart


def measure(job: dict) -> dict:
    """Return wall and CPU seconds, the peak of memory in 10^6 bytes, and the exit code.

    `job` has folder, arguments, output (the file that the text goes to) and, if it is to be
    profiled, profile (the file for pstats). This process is small: what it holds would be the least
    that its child is said to have held.
    """
    profiler = ["-m", "cProfile", "-o", job["profile"]] if job.get("profile") else []
    # The project's own modules come from its folder, not from where the benchmark is run.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with open(job["output"], "w") as text:
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *profiler, "-m", "snakemake", *job["arguments"]],
            cwd=job["folder"],
            env=env,
            stdout=text,
            stderr=subprocess.STDOUT,
        )
        seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * unit / 1e6,
        "code": done.returncode,
    }


if __name__ == "__main__":
    apart.serve(measure)
