"""Planning a part of the paper's grid: its memory, and that a finished study has nothing to do."""

import pytest
from benchmarks import apart, bench_planning
from benchmarks.bench_planning import Bench, Cost, Finding
from fewshot.errors import UserError
from fewshot.study.load import load_study
from fewshot.study.study import Study
from project import Project, parse_plan

pytestmark = pytest.mark.slow

PART = {"models": ["opt-125m", "pythia-410m"], "tasks": ["rte"], "seeds": "0-1"}
"""In context 3 patterns × 4 k, trained 6 × 5, for 2 models; 5 draws of 2 seeds."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), "part", {**bench_planning.paper(), **PART})


def test_a_finished_study_has_nothing_to_do_and_planning_takes_little_memory(bench):
    found = bench_planning.measure_study(bench, repeats=1)
    assert [each.what for each in found] == ["dry run", "nothing to do"]
    for each in found:
        assert 2 * (12 + 30) + 5 * 2 < each.jobs < 220
        # A tenth of the paper's jobs take what Snakemake takes by itself, and little more.
        assert each.ours.peak_mb < 1.25 * each.bare.peak_mb < 500
    assert bench_planning.NOTHING in bench.text(bench.ours)

    # Parameters, code and inputs are looked at.
    project = Project(bench.ours)
    study = project.read("config/measured.yaml")
    project.edit("config/methods.yaml", lambda methods: methods["lora"].update(rank=4))
    changed = [job.outputs[0] for job in plan(bench) if job.rule == "fine_tune"]
    assert len(changed) == 2 * 5 and all("/lora/" in path for path in changed)
    project.edit("config/methods.yaml", lambda methods: methods["lora"].update(rank=8))
    assert not plan(bench)
    project.edit("config/measured.yaml", lambda content: content["models"].append("opt-350m"))
    ran = {job.rule for job in plan(bench)}
    assert {"fine_tune", "compare_methods", "make_table"} <= ran and "sample_shots" not in ran
    project.edit("config/measured.yaml", lambda content: content.update(study))
    (bench.ours / "scripts/fewshot/analysis/metrics.py").open("a").write("\nCHANGED = True\n")
    assert sum(job.rule == "compute_metrics" for job in plan(bench)) == 2


def plan(bench: Bench):
    return parse_plan(bench.text(bench.ours, "--dry-run"))


def test_the_bare_workflow_has_the_same_graph(bench):
    twins = parse_plan(bench.text(bench.bare, "--dry-run", "--forceall"))
    assert shape(twins) == shape(bench.twins) == shape(bench.jobs)
    assert "fewshot" not in (bench.bare / "Snakefile").read_text()


def shape(jobs) -> list[tuple]:
    """Return what two graphs must have in common."""
    return sorted((j.rule, len(j.inputs), len(j.outputs), j.log, j.benchmark) for j in jobs)


def test_a_call_that_fails_says_why(bench):
    with pytest.raises(
        UserError, match=r"snakemake no-such-target failed \(part, bare\): .*no-such"
    ):
        bench.call(bench.bare, "no-such-target")


def test_the_merged_study_has_the_cells_of_all():
    sizes = {"demo": 27, "paper": 1092, "paper-qqp-cola": 392, "mosbach2023": 978}
    assert len(load(bench_planning.merged()).jobs) == sum(sizes.values())
    assert len(load(bench_planning.tenfold()).jobs) == 10 * sizes["paper"] - 9 * 13 * 2 * 3


def load(study: dict) -> Study:
    return load_study(study, bench_planning.ROOT / "config", "study")


def test_targets_are_those_of_the_papers_study():
    slow, fast = Cost(61.0, 30.0, 300.0), Cost(10.0, 9.0, 2001.0)
    found = [
        Finding("paper", "dry run", 10, 20, 30, slow, fast),
        Finding("paper", "nothing to do", 10, 20, 30, fast, slow),
        Finding("merged", "dry run", 10, 20, 30, slow, slow),
    ]
    kept = [target.reached for target in bench_planning.targets(found)]
    assert kept == [False, True, True, False]
    assert "30.0" in bench_planning.render(found) and "3.33" in bench_planning.render(found)


def test_planning_the_papers_study_takes_what_is_promised(tmp_path):
    project = Project.create(tmp_path / "project")
    arguments = ["--cores", "1", "--dry-run", "--configfile", "config/paper.yaml"]
    job = {"system": "snakemake", "model": "paper", "device": "cpu", "threads": 1,
           "folder": str(project.folder), "arguments": arguments,
           "output": str(tmp_path / "output.txt")}  # fmt: skip
    found = apart.run("planning_worker", job, tmp_path)
    assert found["code"] == 0 and len(parse_plan((tmp_path / "output.txt").read_text())) > 1092
    assert found["seconds"] < bench_planning.SECONDS == 60
    assert found["peak_mb"] < bench_planning.MEGABYTES == 2000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "--repeats 0: must be at least 1"),
        (["--check", "--studies", "merged"], "add paper to --studies"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, message):
    with pytest.raises(UserError, match=message):
        bench_planning.main(arguments)
