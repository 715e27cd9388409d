"""A Snakemake workflow with the jobs, files and edges of another one, and none of its code.

Its rules have one wildcard, the name of the job, and look their inputs up in a table. So what it
takes to plan is what Snakemake itself takes for a graph of this size.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from project import Planned

HEAD = """\
import json

EDGES = json.load(open("edges.json"))


rule all:
    input:
        EDGES["all"]["all"],
"""
RULE = """

rule {rule}:
    input:
        lambda wildcards: EDGES["{rule}"][wildcards.job],
    output:
        {outputs},
{more}    script:
        "job.py"
"""


def write_bare(folder: Path, jobs: Sequence[Planned]) -> list[Planned]:
    """Write the workflow into `folder` and return its jobs, in the same order.

    `jobs` are those of a dry run of the target `all`, in which nothing was made yet.
    """
    folder.mkdir(parents=True)
    names = {
        path: f"{job.rule}/{job.outputs[0]}/{number}"
        for job in jobs
        for number, path in enumerate(job.outputs)
    }
    twins = [
        replace(
            job,
            inputs=tuple(names.get(path, f"sources/{path}") for path in job.inputs),
            outputs=tuple(names[path] for path in job.outputs),
        )
        for job in jobs
    ]
    edges: dict[str, dict[str, tuple[str, ...]]] = {}
    for job, twin in zip(jobs, twins, strict=True):
        edges.setdefault(job.rule, {})[job.outputs[0] if job.outputs else "all"] = twin.inputs
    first = {job.rule: job for job in jobs if job.outputs}
    (folder / "edges.json").write_text(json.dumps(edges))
    (folder / "Snakefile").write_text(HEAD + "".join(map(_rule, first.values())))
    (folder / "job.py").write_text("")
    for path in {path for twin in twins for path in twin.inputs} - set(names.values()):
        touch(folder / path)
    return twins


def _rule(job: Planned) -> str:
    outputs = ", ".join(f'"{job.rule}/{{job}}/{i}"' for i in range(len(job.outputs)))
    more = ""
    for kind, has in (("log", job.log), ("benchmark", job.benchmark)):
        more += f'    {kind}:\n        "{kind}s/{job.rule}/{{job}}"\n' if has else ""
    return RULE.format(rule=job.rule, outputs=outputs, more=more)


def touch(path: Path) -> None:
    """Make a file, or a folder where the name has no ending, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix or path.name.isdigit():
        path.write_text(str(path))
    else:
        path.mkdir(exist_ok=True)
