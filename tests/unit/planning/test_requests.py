"""What jobs ask for: by the memory plan, the attempt, and the facts of a cluster."""

from dataclasses import replace

from estimates import CLUSTER
from fewshot.planning.job_time import UNCERTAINTY
from fewshot.planning.requests import PLACED, WITHOUT_MODEL, Requests
from fewshot.runtime import time_limits
from fewshot.runtime.machine import GIB
from fewshot.runtime.placement import read_placement
from fewshot.runtime.site import REQUEST, Site
from fewshot.study.cells import Cell
from slurm_commands import SITE

CELL = Cell("fair", "rte", "opt-13b", "pattern-ft", "minimal", 128)
SMALL = replace(CELL, model="opt-125m", method="in-context", k=0)


def site(**changes) -> Site:
    return Site(**{**SITE, "host_memory_gb": 480, "gpu_max_hours": "none", **changes})


def test_resources_are_those_of_the_memory_plan(plan):
    found, choice = Requests(plan).adaptation(CELL, 10), plan.choice(CELL)
    assert tuple(found) == PLACED == Requests(plan).names
    assert read_placement(found) == choice.placement
    assert (found["gpu"], found["nodes"]) == (choice.gpus, choice.nodes)
    assert found["mem_mb"] * 10**6 >= choice.expected.host > (found["mem_mb"] - 1) * 10**6
    allocated = choice.expected.allocated
    assert found["predicted_gpu_mb"] * 10**6 >= allocated > (found["predicted_gpu_mb"] - 1) * 10**6
    seconds = sum(plan.seconds(CELL, 10).values())
    assert found["runtime"] == time_limits.time_limit(seconds, UNCERTAINTY)
    assert all(isinstance(value, int | str) for value in found.values())


def test_a_retry_asks_for_more_in_the_same_place(plan):
    first, second, last = (Requests(plan).adaptation(CELL, 10, n) for n in (1, 2, 1000))
    assert read_placement(second) == read_placement(first), "what is finished can be continued"
    assert second["mem_mb"] > first["mem_mb"] and second["runtime"] == 2 * first["runtime"]
    assert second["mem_mb"] * 10**6 < 480 * GIB < 1000 * first["mem_mb"] * 10**6
    assert last["mem_mb"] == -(-480 * GIB // 10**6), "no more than a node has"


def test_a_time_limit_follows_the_work(plan):
    requests = Requests(plan)
    ten, five = (requests.adaptation(CELL, seeds)["runtime"] for seeds in (10, 5))
    assert five < ten, "half the seeds"
    assert requests.adaptation(SMALL, 1)["runtime"] == time_limits.LEAST


def test_a_cluster_gives_no_more_than_its_nodes_and_limits(plan):
    found = Requests(plan, site(gpu_max_hours=1, host_memory_gb=50)).adaptation(CELL, 10, 3)
    assert (found["mem_mb"], found["runtime"]) == (50 * 1024, 60)
    assert set(found) == {*PLACED, *REQUEST} and found["slurm_partition"] == "gpu"


def test_a_cell_is_measured_in_one_process_on_one_of_its_gpus(plan):
    whole = Requests(plan).adaptation(CELL, 1, 2)
    assert whole["gpu"] > 1 and read_placement(whole) != read_placement({})
    for requests in (Requests(plan), Requests(plan, site())):
        found = requests.latency(CELL, 2)
        assert tuple(found) == requests.names and (found["gpu"], found["nodes"]) == (1, 1)
        assert read_placement(found) == read_placement({})
        assert found["mem_mb"] == requests.adaptation(CELL, 1, 2)["mem_mb"]
    assert found == {**found, **site().request(1, 1)}, "as the site's jobs of one GPU"


def test_jobs_without_a_model_ask_for_more_with_every_attempt(plan):
    """As far as the site has it; the first asks for all, so a start tells of too small nodes."""
    here, there = Requests(plan), Requests(plan, site(host_memory_gb=3, cpu_max_hours=1))
    assert [here.memory(2000, n) for n in (1, 2, 3)] == [2000, 4000, 6000]
    assert [here.minutes(30, n) for n in (1, 2, 3)] == [30, 60, 90]
    assert [there.memory(2000, n) for n in (1, 2, 3)] == [2000, 3072, 3072]
    assert there.memory(8000, 1) == 8000
    assert [there.minutes(25, n) for n in (1, 2, 3)] == [25, 50, 60]


def test_what_a_study_asks_a_cluster_for_is_told_once_each(plan):
    requests = Requests(plan, site(qos="long"))
    without, *adapting = requests.shapes()
    assert without["slurm_partition"] == "cpu" and WITHOUT_MODEL.items() <= without.items()
    assert all(shape["slurm_account"] == "lab" and shape["qos"] == "long" for shape in adapting)
    asked = [requests.adaptation(job.cell, len(job.seeds)) for job in plan.study.jobs]
    assert len(adapting) == len({tuple(each.items()) for each in asked}) < len(asked)
    assert {(shape["gpu"], shape["nodes"]) for shape in adapting} == {(1, 1), (4, 1)}
    assert Requests(plan, site(account="none")).shapes()[0]["slurm_account"] is None


def test_the_longest_job_is_that_of_the_plan(plan):
    jobs = plan.study.jobs
    assert Requests(plan).longest() == max(plan.wall(job.cell, len(job.seeds)) for job in jobs)
    assert Requests(plan).most_minutes == float("inf") and CLUSTER["nodes"] == 2
    assert Requests(plan, site(gpu_max_hours=24)).most_minutes == 24 * 60
