"""What rules/ decides about a cluster, in plain Python: with stand-ins for Snakemake and SLURM."""

import logging
import os
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace as Names

import pytest
import yaml
from slurm_commands import SITE, calls, stand_in

ROOT = Path(__file__).parents[3]
DECIDING = re.compile(r"^def (scaled|check_cluster)\(", re.M)
"""Files with these functions have no rules in them."""
REQUEST = {"slurm_partition": "cpu", "mem_mb": 2000, "runtime": 20}


@dataclass(eq=False)
class Job:
    """A job of Snakemake's to come, as far as it is looked at before it is submitted."""

    name: str = "prepare_task"
    wildcards: tuple[str, ...] = ("mnli", "train")

    @property
    def rule(self) -> Names:
        return Names(name=self.name)

    @property
    def resources(self) -> dict[str, object]:
        return REQUEST


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Go to a folder with the facts of a cluster, stand-ins for whose commands are on PATH."""
    monkeypatch.setenv("PATH", f"{stand_in(tmp_path)}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE))
    return tmp_path


@pytest.fixture
def load(monkeypatch):
    """Return a function that executes the files, with or without a site."""
    monkeypatch.syspath_prepend(ROOT)

    def loaded(site: str = "", groups: dict | None = None, main: bool = True) -> Names:
        jobs = [Job()]
        workflow = Names(
            resource_settings=Names(
                default_resources=Names(args=[f"site={site}"] if site else []),
                overwrite_resources={},
                nodes=None,
            ),
            group_settings=Names(
                overwrite_groups=dict.fromkeys(groups or (), "several"),
                group_components={"several": max((groups or {}).values(), default=1)},
            ),
            execution_settings=Names(retries=2, keep_going=False),
            executor_plugin=Names(name="slurm"),
            dag=Names(needrun_jobs=lambda: jobs, get_job_group=lambda job: None),
            is_local=lambda rule: False,
            is_main_process=False,
            touch=False,
        )
        plan = Names(
            machine=Names(has_gpu=True),
            resources=lambda cell, attempt, seeds: {"mem_mb": attempt * 1000 * cell.k * seeds},
        )
        names = {"workflow": workflow, "logger": logging.getLogger("rules"), "PLAN": plan}
        names["job_seeds"] = lambda wildcards: [8, 9]
        for path in sorted((ROOT / "rules").glob("*.smk")):
            if DECIDING.search(path.read_text()):
                names |= runpy.run_path(str(path), init_globals=names)
        workflow.is_main_process = main
        return Names(**names)

    return loaded


def test_memory_and_time_grow_with_every_attempt(load):
    rules = load()
    memory, time = rules.scaled(2000), rules.longer(30)
    assert [memory(None, attempt=n) for n in (1, 2, 3)] == [2000, 4000, 6000]
    assert [time(None, attempt=n, rulename="compute_metrics") for n in (1, 2, 3)] == [30, 60, 90]


def test_what_the_memory_plan_says_of_an_attempt_is_asked_for(load):
    cell = dict.fromkeys(("protocol", "task", "model", "method", "pattern"), "any")
    memory = load().planned("mem_mb")
    assert [memory(Names(**cell, k="4"), attempt=n) for n in (1, 2)] == [8000, 16000]


def test_time_grows_as_far_as_the_site_goes(cluster, load):
    """Jobs on its CPUs may take an hour: alone, or all those together that share a submission."""
    rules = load("site.yaml", groups={"make_table": 15})
    times = {name: [rules.longer(2)(None, attempt=n, rulename=name) for n in (1, 2, 3)]
             for name in ("compute_metrics", "make_table")}  # fmt: skip
    assert times == {"compute_metrics": [2, 4, 6], "make_table": [2, 4, 4]}
    assert [rules.longer(25)(None, attempt=n, rulename="x") for n in (1, 2, 3)] == [25, 50, 60]


GROWING = re.compile(r"^        mem_mb=scaled\(\d+\),\n        runtime=longer\(\d+\),$", re.M)


def test_every_rule_that_is_submitted_asks_for_more_with_every_attempt():
    """Those that adapt a model as the memory plan has it."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    listed = " ".join(re.findall(r"^localrules:\n((?:    \w+,\n)+)", text, re.M))
    local = set(re.findall(r"\w+", listed))
    rules = {rule.partition(":")[0]: rule for rule in re.split(r"^rule ", text, flags=re.M)[1:]}
    others = {name for name, rule in rules.items() if "    script:" in rule}
    others -= local | {"run_in_context", "fine_tune"}
    assert "download" in local and {"sample_shots", "plot_figure"} < others
    assert [name for name in others if not GROWING.search(rules[name])] == []


def test_jobs_of_a_shared_submission_keep_going_where_one_fails(load):
    """In a Snakemake of their own, which nobody else tells so."""
    for main in (True, False):
        rules = load(main=main)
        assert rules.together(None) is None
        assert rules.workflow.execution_settings.keep_going is not main


def leave(cluster: Path) -> None:
    """Let the queue have a job that an earlier Snakemake submitted here."""
    comment = "rule_prepare_task_wildcards_mnli_train"
    (cluster / "squeue.out").write_text(f"7|RUNNING|{comment}|{cluster.resolve()}\n")


def test_jobs_left_over_are_ended_before_they_are_submitted_again(cluster, load, caplog):
    leave(cluster)
    load("site.yaml").check_cluster()
    assert calls(cluster, "scancel") == [["--signal=TERM", "7"]]
    assert "SLURM jobs of an earlier run of this folder (7) are told to end" in caplog.text


def test_what_is_wrong_with_a_site_ends_the_start(cluster, load):
    leave(cluster)
    (cluster / "site.yaml").write_text(yaml.safe_dump({**SITE, "account": "labs"}))
    with pytest.raises(SystemExit, match=r"^error: site.yaml: account: unknown account 'labs'"):
        load("site.yaml").check_cluster()
    assert not calls(cluster, "scancel")


def test_what_may_pass_is_told_and_ends_nothing(cluster, load, caplog):
    (cluster / "sbatch.out").write_text("error:Requested node configuration is not available")
    (cluster / "reasons.out").write_text("a fan 2026-11-26 gpu1")
    load("site.yaml").check_cluster()
    assert "SLURM refuses jobs" in caplog.text and "are submitted, and wait" in caplog.text
