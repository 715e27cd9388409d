"""The GPU-hours that the pages tell of the shipped studies are those that are planned."""

import re
from collections import Counter
from pathlib import Path

import pytest
from fewshot.planning.estimate import job_rows
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.planning.workload import Splits
from fewshot.study.load import load_study
from fewshot.study.study import Study
from fewshot.validation import read_yaml

ROOT = Path(__file__).parents[3]
README, COSTS = (
    " ".join((ROOT / name).read_text().split()) for name in ("README.md", "config/README.md")
)
MACHINE = {"gpu_memory_gb": 80, "gpus_per_node": 8, "nodes": 2, "host_memory_gb": 960}
"""Of the class that it names."""


def planned(name: str, folder: Path) -> tuple[Study, list[dict]]:
    """Return a study and the rows of its jobs, with nothing prepared or finished in a folder."""
    settings = {**read_yaml(ROOT / f"config/{name}.yaml"), "machine": MACHINE}
    study = load_study(settings, ROOT / "config", name)
    return study, job_rows(MemoryPlan(study, Splits(study.tasks, folder)), folder=folder)


def test_the_papers_hours_by_model(tmp_path):
    study, jobs = planned("paper", tmp_path)
    whole, full = Counter(), Counter()
    for job in (each for each in jobs if study.model(each["model"])["parameters"]):
        for title in (study.models[job["model"]]["title"], "**all**"):
            whole[title] += job["device_hours"]
            trains_all = study.methods[job["method"]]["family"] == "full"
            full[title] += job["device_hours"] if trains_all else 0
    table = COSTS[COSTS.index("| model | GPU-hours |") : COSTS.index("On nodes of four GPUs")]
    rows = re.findall(r"(?<=\| )([^|]+) \| ([\d,*]+) \| ([\d,*]+) (?=\|)", table)
    told = {title: tuple(int(re.sub(r"\D", "", each)) for each in hours) for title, *hours in rows}
    assert told == {title: (round(whole[title]), round(full[title])) for title in whole}
    hours = f"about {round(whole['**all**'], -2):,.0f} GPU-hours"
    assert f"`config/paper.yaml` {len(jobs):,} adaptation jobs, {hours}" in README


@pytest.mark.slow
@pytest.mark.parametrize(("name", "digits"), [("paper-qqp-cola", -1), ("mosbach2023", -2)])
def test_the_hours_of_other_studies(tmp_path, name, digits):
    """Rounded to ten in the text; in the table of commands with two digits that count."""
    _, jobs = planned(name, tmp_path)
    hours = sum(job["device_hours"] for job in jobs)
    assert re.search(rf"`{name}.yaml`(?: takes)? {round(hours, -1):,.0f}\b", COSTS)
    assert f"`{name}.yaml` {len(jobs):,}, about {round(hours, digits):,.0f}" in README
