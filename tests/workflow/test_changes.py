"""A second run does nothing, and each change runs exactly what depends on it."""

import subprocess

import pytest

RUNS = "results/runs/fair/synth-mnli/opt-micro"
STATISTICS = {"compare_methods", "make_table", "plot_figure", "write_report"}
ANALYSIS = STATISTICS | {"compute_metrics"}
ADAPTATION = {"run_in_context", "fine_tune"}


def rules(jobs) -> set[str]:
    return {rule for rule, _ in jobs}


def adaptations(jobs) -> list[str]:
    """Return the run folders, below the model, of the planned adaptation jobs."""
    folders = [path.rsplit("/", 1)[0] for rule, path in jobs if rule in ADAPTATION]
    return sorted(folder.removeprefix(f"{RUNS}/") for folder in folders)


def append(study, path, text):
    file = study.folder / path
    file.write_text(file.read_text() + text)


def edit_grid(study, block, **changes):
    study.edit("config/config.yaml", lambda content: content["grid"][block].update(changes))


def test_second_run_does_nothing(study):
    """In a process of its own, where sets have another order."""
    done = subprocess.run(
        study.command(), cwd=study.folder, env=study.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0 and "Nothing to be done" in done.stderr + done.stdout


@pytest.mark.slow
def test_what_changes_no_result_runs_nothing(study):
    """Comments, strays beside a model, how processes, GPUs and locks are handled, and with how many
    GPUs, processes and memory jobs run."""
    for module in ("scoring/score", "report/figures/registry", "storage", "adaptation/training"):
        append(study, f"scripts/fewshot/{module}.py", "\n# A remark that changes nothing.\n")
    for module in ("locks", "launch", "resume", "processes", "placement", "slurm"):
        append(study, f"scripts/fewshot/runtime/{module}.py", "\nEDITED = True\n")
    (study.folder / "config/embedded/opt-micro/.DS_Store").write_text("")
    (study.folder / "config/embedded/opt-micro/notes.md").write_text("")
    assert study.planned() == []
    machine = {"gpu_memory_gb": 80, "gpus_per_node": 4, "nodes": 2, "host_memory_gb": 480}
    study.edit("config/config.yaml", lambda content: content.update(machine=machine))
    resources = ("--set-resources", "fine_tune:mem_mb=9999", "--set-threads", "fine_tune=2")
    assert study.planned(*resources) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("methods/lora", {"fine_tune"} | ANALYSIS),
        *(
            pytest.param(module, expected, marks=pytest.mark.weekly)
            for module, expected in (
                ("report/figures/theme", {"plot_figure", "write_report"}),
                ("report/tables/registry", {"make_table", "write_report"}),
                ("analysis/comparisons", STATISTICS),
                ("scoring/score", ADAPTATION | ANALYSIS),
            )
        ),
    ],
)
def test_edited_module_runs_what_imports_it(study, module, expected):
    """Which rules import which modules: tests/unit/test_rules.py."""
    append(study, f"scripts/fewshot/{module}.py", "\nEDITED = True\n")
    jobs = study.planned()
    assert rules(jobs) == expected
    if module == "methods/lora":
        assert adaptations(jobs) == ["quick-lora/minimal/k4/seeds8-9"]


@pytest.mark.weekly
def test_figure_script_runs_only_figures(study):
    append(study, "scripts/plot_figure.py", "\nEDITED = True\n")
    made = rules(study.planned())
    assert "plot_figure" in made and made <= {"plot_figure", "write_report"}


@pytest.mark.slow
def test_new_seed_chunk_adds_only_its_jobs(study):
    study.edit("config/config.yaml", lambda content: content.update(seeds="8-10"))
    jobs = study.planned()
    assert adaptations(jobs) == [
        "in-context/minimal/k4/seeds10-10",
        "quick-ft/minimal/k4/seeds10-10",
        "quick-lora/minimal/k4/seeds10-10",
    ]
    assert [path for rule, path in jobs if rule == "sample_shots"] == [
        "results/shots/fair/synth-mnli/k4/seed10.parquet"
    ]
    assert not rules(jobs) & {"prepare_task", "download_data", "download_model"}


@pytest.mark.weekly
def test_new_k_pattern_and_method_add_only_their_jobs(study):
    edit_grid(study, 0, k=[0, 4, 8], patterns=["minimal", "gpt-3"])
    edit_grid(study, 1, methods=["quick-ft", "quick-lora", "tiny-bitfit"])
    jobs = study.planned()
    assert adaptations(jobs) == [
        "in-context/gpt-3/k0/seeds0-0",
        "in-context/gpt-3/k4/seeds8-9",
        "in-context/gpt-3/k8/seeds8-9",
        "in-context/minimal/k8/seeds8-9",
        "tiny-bitfit/minimal/k4/seeds8-9",
    ]
    drawn = [path for rule, path in jobs if rule == "sample_shots"]
    assert len(drawn) == 2 and all("/k8/" in path for path in drawn)


@pytest.mark.slow
def test_new_model_adds_only_its_jobs(study):
    study.edit(
        "config/config.yaml", lambda content: content.update(models=["opt-micro", "pythia-micro"])
    )
    jobs = study.planned()
    assert adaptations(jobs), "the new model has jobs"
    assert all("pythia-micro" in folder for folder in adaptations(jobs))
    assert {path for rule, path in jobs if rule == "compute_metrics"} == {
        "results/metrics/demo/synth-mnli/pythia-micro.parquet"
    }
    assert not rules(jobs) & {"prepare_task", "sample_shots", "download_data"}


@pytest.mark.slow
def test_learning_rate_runs_only_the_cells_that_use_it(study):
    study.edit(
        "config/methods.yaml", lambda content: content["quick-ft"].update(learning_rate=2e-3)
    )
    jobs = study.planned()
    assert adaptations(jobs) == ["quick-ft/minimal/k4/seeds8-9"]
    assert rules(jobs) == {"fine_tune"} | ANALYSIS


@pytest.mark.weekly
def test_a_title_runs_no_adaptation(study):
    study.edit("config/methods.yaml", lambda content: content["quick-ft"].update(title="FT"))
    jobs = study.planned()
    assert jobs
    assert not adaptations(jobs)


@pytest.mark.weekly
def test_another_study_of_the_same_cells_adapts_nothing_again(study):
    study.edit("config/config.yaml", lambda content: content.update(study="other"))
    jobs = study.planned()
    assert rules(jobs) == {"check_window"} | ANALYSIS


@pytest.mark.weekly
def test_a_caption_makes_its_own_figure_again_and_the_page(study):
    study.edit(
        "config/figures.yaml",
        lambda content: content["figures"]["id-ood-scatter"].update(caption="Another."),
    )
    figure = ("plot_figure", "results/demo/figures/id-ood-scatter.vl.json")
    assert study.planned() == [figure, ("write_report", "results/demo/report.html")]
