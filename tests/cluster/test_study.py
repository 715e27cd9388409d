"""`snakemake --profile slurm`, typed exactly so: what SLURM was asked for, and what came out."""

import re
import time
from collections import Counter
from dataclasses import dataclass

import pytest
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.requests import Requests
from fewshot.runtime.site import read_site
from fewshot.storage import read_json
from fewshot.study.load import load_study
from fewshot.validation import read_yaml
from project import ROOT, Project
from runs import TIGHT, TWO_NODES, Record, megabytes, place, records, shrink, snakemake
from testbed import output


@dataclass(frozen=True)
class Finished:
    """A project that was run on the cluster, its jobs by name, and what it was to ask for."""

    project: Project
    jobs: dict[str, list[Record]]
    planned: str


@pytest.fixture(scope="module")
def finished(cluster, tmp_path_factory) -> Finished:
    project = Project.create(tmp_path_factory.mktemp("on-slurm") / "project")
    shrink(project)
    place(project, TIGHT)
    planned = snakemake(project, "--profile", "slurm", "-n").printed
    start = time.time()
    run = snakemake(project, "--profile", "slurm")
    assert run.process.returncode == 0, run.printed
    jobs: dict[str, list[Record]] = {}
    for record in records(start):
        jobs.setdefault(record.name, []).append(record)
    return Finished(project, jobs, planned)


def expected(printed: str) -> dict[str, dict[str, str]]:
    """Return the resources of every job that a dry run lists, by the name that SLURM has for it.

    In a group jobs run one after another: their time adds up, their memory does not.
    """
    found: dict[str, dict] = {}
    group, rules = "", {}
    for line in printed.splitlines():
        if head := re.search(r"Group job (\S+)", line):
            group = head[1]
        if rule := re.match(r"( *)(local)?rule (\w+):", line):
            name, inside, remote = rule[3], bool(rule[1]), not rule[2]
            wildcards = ""
        if given := re.match(r" +wildcards: (.+)", line):
            values = re.findall(r"\w+=([^,]+)", given[1])
            wildcards = "_wildcards_" + "_".join(values).replace("/", "_")
        if given := re.match(r" +resources: (.+)", line):
            own = dict(re.findall(r"(\w+)=(.+?)(?:, (?=\w+=)|$)", given[1]))
            if inside:
                rules.setdefault(group, set()).add(name)
                merged = found.setdefault(group, {**own, "runtime": "0", "mem_mb": "0"})
                merged["runtime"] = str(int(merged["runtime"]) + int(own["runtime"]))
                merged["mem_mb"] = str(max(int(merged["mem_mb"]), int(own["mem_mb"])))
            elif remote and name not in (
                "all",
                "download_data",
                "download_model",
                "download_weights",
            ):
                found[name + wildcards] = own
    named = {group: f"{group}_{'_'.join(sorted(names))}" for group, names in rules.items()}
    return {named.get(name, name): resources for name, resources in found.items()}


def test_every_job_asked_for_what_the_plan_says(finished):
    wanted = expected(finished.planned)
    assert {"tables_paper_make_table", "figures_paper_plot_figure"} < set(wanted)
    assert set(finished.jobs) == set(wanted)
    for name, resources in wanted.items():
        (job,) = finished.jobs[name]
        nodes = int(resources.get("nodes", 1))
        assert job.state == "COMPLETED", name
        assert job.partition == resources["slurm_partition"], name
        assert job.minutes == int(resources["runtime"]), name
        assert int(job.asked["node"]) == nodes, name
        assert megabytes(job.asked["mem"]) == nodes * int(resources["mem_mb"]), name
        assert job.asked.get("gres/gpu", "0") == resources.get("gpu", "0"), name


def test_adaptation_jobs_are_where_the_memory_plan_puts_them(finished, monkeypatch):
    """Training of all weights on two nodes; each job has a submission to itself."""
    monkeypatch.chdir(finished.project.folder)
    facts = read_site("profiles/slurm/site.yaml")
    study = load_study({**read_yaml("config/paper.yaml"), "machine": facts.machine})
    plan = MemoryPlan(study)
    requests = Requests(plan, facts)
    planned = [(job, requests.adaptation(job.cell, len(job.seeds))) for job in study.jobs]
    assert sorted(found["nodes"] for _, found in planned) == [1, 1, 1, 2]
    for job, found in planned:
        rule = "run_in_context" if study.uses_context(job.cell.method) else "fine_tune"
        rule = "fit_baseline" if study.is_baseline(job.cell.method) else rule
        values = (*vars(job.cell).values(), job.seeds[0], job.seeds[-1])
        (own,) = finished.jobs[f"{rule}_wildcards_{'_'.join(map(str, values))}"]
        count = str(found["nodes"])
        assert (own.asked["node"], own.asked["gres/gpu"], own.partition) == (count, count, "gpu")
        assert megabytes(own.asked["mem"]) == found["nodes"] * found["mem_mb"]
        assert own.minutes == found["runtime"]


def test_one_world_trained_on_both_nodes(finished):
    """One step of srun with a process on each node, which DeepSpeed's engine joined."""
    (job,) = [jobs[0] for name, jobs in finished.jobs.items() if "_long-ft_" in name]
    assert job.nodes == "gpu[1-2]"
    steps = output("sacct", "-n", "-P", "-j", job.number, "--format=JobID,NNodes,NTasks,NodeList")
    found = [line.split("|") for line in steps.splitlines()]
    assert [each[1:] for each in found if re.fullmatch(rf"{job.number}\.\d+", each[0])] == [
        ["2", "2", "gpu[1-2]"]
    ]
    manifest = read_json(finished.project.folder / TWO_NODES / "manifest.json")
    assert manifest["world_size"] == 2 and manifest["placement"]["zero_stage"] > 0
    log = (finished.project.folder / TWO_NODES.replace("runs", "logs/runs", 1)).with_suffix(".log")
    assert log.with_name(f"{log.name}.rank1").is_file()


def test_outputs_are_those_of_a_local_run_byte_for_byte(finished, local):
    """Timings aside: manifests, logs, and what is made of costs."""
    folders = ("data", "windows", "metrics", "outcomes", "runs", "shots", "statistics", "paper")
    compared = Counter()
    for folder in folders:
        paths = [p for p in sorted((local.folder / "results" / folder).rglob("*")) if p.is_file()]
        assert paths, folder
        for path in paths:
            if path.name in ("manifest.json", "report.html") or path.suffix == ".pdf":
                continue
            twin = finished.project.folder / path.relative_to(local.folder)
            assert twin.read_bytes() == path.read_bytes(), twin
            compared[folder] += 1
    assert compared["runs"] >= 10 and compared["paper"] >= 10, compared
    world = [read_json(each.folder / TWO_NODES / "manifest.json")["world_size"]
             for each in (local, finished.project)]  # fmt: skip
    assert world == [2, 2]


def test_started_again_it_does_nothing(finished):
    run = snakemake(finished.project, "--profile", "slurm")
    assert run.process.returncode == 0 and "Nothing to be done" in run.printed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cpu_partition": "cpux"}, "unknown partition 'cpux'; did you mean 'cpu'?"),
        ({"gpu_type": "h100"}, "gpu_type: partition gpu: unknown type of GPU 'h100'; did you mean"),
        ({"account": "labs"}, "account: unknown account 'labs'; did you mean 'lab'?"),
        ({"qos": "express"}, "allocation failure: Invalid qos specification"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_site_submits_nothing(cluster, tmp_path, changes, expected):
    project = Project.create(tmp_path / "project")
    shrink(project)
    place(project, {**TIGHT, **changes})
    start = time.time()
    run = snakemake(project, "--profile", "slurm")
    lines = [line for line in run.printed.splitlines() if line.startswith("error:")]
    assert run.process.returncode != 0 and len(lines) == 1 and expected in lines[0], run.printed
    assert records(start) == [] and not (project.folder / "results").exists()


def test_the_shipped_site_is_refused_with_a_line_for_each_entry(cluster, tmp_path):
    project = Project.create(tmp_path / "project")
    shrink(project)
    assert (project.folder / "profiles/slurm/site.yaml").read_bytes() == (
        ROOT / "profiles/slurm/site.yaml"
    ).read_bytes()
    dry = snakemake(project, "--profile", "slurm", "-n")
    assert dry.process.returncode == 0 and "planned with placeholders" in dry.printed
    run = snakemake(project, "--profile", "slurm")
    missing = re.findall(r"^error: profiles/slurm/site.yaml: '(\w+)' is missing", run.printed, re.M)
    assert run.process.returncode == 1 and len(missing) == 10
