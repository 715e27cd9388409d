"""Job counts of the shipped studies, worked out by hand."""

import re

import pytest
from project import ROOT, Project

# One process for all of them: they share dry runs.
pytestmark = pytest.mark.xdist_group("dry")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project.create(tmp_path_factory.mktemp("dry") / "project")


def counts(output: str) -> dict[str, int]:
    """Parse the job statistics of a dry run."""
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output, re.M)}


@pytest.fixture(scope="module")
def paper(project) -> str:
    """Return what a dry run of the paper's study prints."""
    return project.run("--dry-run", "--configfile", "config/paper.yaml")


@pytest.fixture(scope="module")
def submitted(project) -> str:
    """Return what a dry run of the same runs prints with the profile of a cluster, typed so."""
    return project.run("--profile", "slurm", "runs", "--dry-run")


def test_demo_stays_small(project):
    jobs = counts(project.run("--dry-run"))
    assert jobs["run_in_context"] + jobs["fine_tune"] <= 12 and jobs["fit_baseline"] == 3
    assert jobs["total"] <= 62


PROBED = """
study: probed
models: [pythia-micro, pythia-mini]
tasks: [synth-nli]
seeds: 0-1
grid: [{methods: [in-context, tiny-lora], patterns: [minimal], k: [6]}]
tables: [headline, bias]
figures: [bias]
"""


def test_a_probe_is_one_job_more_for_each_model(project):
    (project.folder / "probed.yaml").write_text(PROBED)
    jobs = counts(project.run("all", "--dry-run", "--configfile", "probed.yaml"))
    assert (jobs["compute_metrics"], jobs["measure_bias"], jobs["compare_methods"]) == (2, 2, 1)
    assert (jobs["run_in_context"], jobs["fine_tune"], jobs["prepare_task"]) == (2, 2, 4)
    assert (jobs["make_table"], jobs["plot_figure"]) == (2, 1)


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("given", "seeds", "jobs"),
    [
        ("[0, 1, 5]", (0, 1, 5), {"seeds0-1", "seeds5-5"}),
        ("12", range(12), {"seeds0-9", "seeds10-11"}),
    ],
)
def test_a_job_has_seeds_without_a_gap(project, given, seeds, jobs):
    (project.folder / "seeds.yaml").write_text(f"seeds: {given}\n")
    planned = project.planned("runs", "--configfile", "config/config.yaml", "seeds.yaml")
    trained = {path.split("/")[-2] for rule, path in planned if rule == "fine_tune"}
    assert trained == jobs
    drawn = {path.split("/")[-1] for rule, path in planned if rule == "sample_shots"}
    assert drawn == {f"seed{seed}.parquet" for seed in seeds}


@pytest.mark.slow
def test_paper_grid(paper):
    """13 models, 2 tasks; in context 3 patterns × 4 k; trained 3 patterns × 5 k + 3 methods × 5 k.

    Draws: 2 tasks × 5 k × 10 seeds. Ten seeds make one chunk.
    """
    jobs = counts(paper)
    assert "synth-mnli" not in paper and "opt-micro" not in paper, "merged with the demo"
    assert jobs["run_in_context"] == 13 * 2 * 3 * 4
    assert jobs["fine_tune"] == 13 * 2 * (3 * 5 + 3 * 5)
    assert jobs["fit_baseline"] == (13 + 3) * 2 * 5, "three of the four have no model"
    assert jobs["sample_shots"] == 2 * 5 * 10
    assert jobs["check_window"] == jobs["compute_metrics"] == (13 + 1) * 2
    assert jobs["compare_methods"] == 2
    assert jobs["download_model"] == jobs["download_weights"] == 13
    assert jobs["download_data"] == 3
    assert jobs["prepare_task"] == 5


@pytest.mark.weekly
def test_only_local_rules_fetch_what_a_study_needs(project):
    jobs = counts(project.run("download", "--dry-run", "--configfile", "config/paper.yaml"))
    fetched = {"download_data": 3, "download_model": 13, "download_weights": 13}
    assert jobs == {**fetched, "download": 1, "total": 30}
    planned = project.run("window", "--dry-run", "--configfile", "config/paper.yaml")
    assert counts(planned)["check_window"] == 28 and "download_weights" not in planned


@pytest.mark.slow
def test_the_published_grid(project):
    """On MNLI and RTE 13 models, on QQP and CoLA 7; in context 3 k, trained 5.

    Patterns in context: 3, 3, 2, 2; trained: 3 and 1 (vanilla) twice, and 2 methods twice. Draws:
    4 tasks × (3 + 5) k × 10 seeds. Sets out of domain: HANS (lexical overlap), PAWS-QQP, CoLA-OOD.
    """
    output = project.run("runs", "--dry-run", "--configfile", "config/mosbach2023.yaml")
    jobs = counts(output)
    assert jobs["run_in_context"] == 3 * (13 * 2 * 3 + 7 * 2 * 2)
    assert jobs["fine_tune"] == 5 * (13 * 2 * (3 + 1) + 7 * 2 * 2)
    assert jobs["sample_shots"] == 4 * (3 + 5) * 10
    assert jobs["prepare_task"] == 4 * 2 + 3 and jobs["download_data"] == 7
    drawn = set(re.findall(r"results/shots/([\w-]+)/([\w-]+)/", output))
    kinds = ("mosbach2023-in-context", "mosbach2023-fine-tuning")
    assert drawn == {
        (kind, task) for kind in kinds for task in ("mnli", "rte", "qqp-llmft", "cola")
    }
    assert "results/data/hans/" not in output


@pytest.mark.weekly
def test_the_other_two_tasks(project):
    """7 models: in context 2 patterns × 4 k × 2 tasks; trained 4 methods × 5 k × 2 tasks."""
    study = ("--configfile", "config/paper-qqp-cola.yaml")
    jobs = counts(project.run("runs", "--dry-run", *study))
    assert jobs["run_in_context"] == 7 * 2 * 4 * 2
    assert jobs["fine_tune"] == 7 * 4 * 5 * 2
    assert jobs["fit_baseline"] == (7 + 3) * 2 * 5
    assert jobs["sample_shots"] == 2 * 5 * 10
    assert jobs["prepare_task"] == 2 * 2 + 2 and jobs["download_data"] == 4


RUN = "results/runs/fair/rte/{}/minimal/k16/seeds0-9/manifest.json"


def resources_of(output: str, rule: str, run: str = "") -> dict[str, str]:
    """Parse the resources of the first job of a rule in a dry run, or of the one of a run."""
    blocks = re.split(rf"^(?:local)?rule {rule}:", output, flags=re.M)[1:]
    block = next(block for block in blocks if run in block).split("\n\n")[0]
    line = re.search(r"resources: (.*)", block)[1]
    return dict(item.split("=", 1) for item in line.split(", ") if "=" in item)


@pytest.mark.slow
def test_slurm_profile_asks_for_gpus_and_memory(submitted):
    assert counts(submitted)["fine_tune"] == 780
    found = resources_of(submitted, "fine_tune", RUN.format("opt-13b/pattern-ft"))
    assert found["gpu"] == "4" and found["nodes"] == "1" and found["zero_stage"] == "3"
    assert found["offload"] == "none" and found["checkpointing"] == "0"
    assert 60_000 < int(found["predicted_gpu_mb"]) < 80_000
    assert int(found["mem_mb"]) > 12_853 * 2, "one process reads the weights"
    small = resources_of(submitted, "fine_tune", RUN.format("opt-125m/pattern-ft"))
    assert 30 <= int(small["runtime"]) < int(found["runtime"]), "larger models ask for more time"
    assert found["slurm_extra"] == "--signal=TERM@300", "time for a checkpoint"


@pytest.mark.weekly
def test_a_job_is_placed_on_the_machine_that_the_study_names(project, tmp_path):
    site = tmp_path / "site.yaml"
    machine = "gpu_memory_gb: 24, gpus_per_node: 8, nodes: 4, host_memory_gb: 500"
    site.write_text(f"machine: {{{machine}}}\n")
    study = ("--configfile", "config/paper.yaml", str(site), "--dry-run")
    two = [RUN.format(f"{model}/in-context") for model in ("opt-6.7b", "opt-30b")]
    output = project.run(*two, *study)
    whole, shards = (resources_of(output, "run_in_context", run) for run in two)
    assert (whole["gpu"], whole["zero_stage"]) == ("1", "0")
    assert (shards["gpu"], shards["zero_stage"]) == ("4", "3")
    override = ("--set-resources", "run_in_context:gpu=2", "run_in_context:zero_stage=0")
    found = project.run(two[0], *study, *override)
    assert resources_of(found, "run_in_context")["gpu"] == "2"


def test_without_a_gpu_a_job_is_one_process(project, tmp_path):
    (tmp_path / "cpu.yaml").write_text("machine: {gpus_per_node: 0, host_memory_gb: 64}\n")
    study = ("--configfile", "config/paper.yaml", str(tmp_path / "cpu.yaml"), "--dry-run")
    output = project.snakemake(RUN.format("opt-125m/pattern-ft"), *study)
    assert output.code == 1, "the study has models that 64 GB do not hold"
    [line] = [each for each in output.output.splitlines() if each.startswith("error: ")]
    assert "fits nowhere on no GPU, 64 GB of host memory" in line
    assert "Traceback" not in output.output


def test_a_mistake_in_the_site_names_both_files(project, tmp_path):
    (tmp_path / "site.yaml").write_text("machine: {gpu_memory: 24}\n")
    files = ("config/paper.yaml", str(tmp_path / "site.yaml"))
    output = project.snakemake("--dry-run", "--configfile", *files).output
    message = (
        r"^error: \S*config/paper.yaml \+ \S*/site.yaml: machine: unknown key 'gpu_memory'; did"
    )
    assert re.search(message, output, re.M), output


def test_every_target_has_its_line(project):
    page = (ROOT / "rules/README.md").read_text()
    listed = project.run("--list-target-rules").splitlines()
    targets = [line for line in listed if re.fullmatch("[a-z_]+", line)]
    assert {"all", "report_partial", "rebuild_embedded"} <= set(targets)
    single = {name for name in targets if name.startswith(("fig_", "table_"))}
    for target in set(targets) - single - {"all"}:
        assert f"`snakemake {target}" in page, target
