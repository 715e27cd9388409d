"""Every figure and table is a target by name."""

import re

import pytest
from fewshot.study.load import load_study
from fewshot.validation import read_yaml
from project import ROOT, Project
from thinned import thinned

pytestmark = pytest.mark.xdist_group("dry")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project.create(tmp_path_factory.mktemp("targets") / "project")


def study_of(file: str):
    return load_study(read_yaml(ROOT / f"config/{file}.yaml"), str(ROOT / "config"))


def targets(study) -> list[str]:
    """Return the names of the targets of all that a study can make."""
    kinds = {"fig": study.figures, "table": study.tables}
    return [f"{kind}_{name.replace('-', '_')}" for kind, names in kinds.items() for name in names]


@pytest.mark.weekly
def test_every_entry_that_a_study_can_make_is_a_target(project):
    study, flag = study_of("paper"), ("--configfile", "config/paper.yaml", "--dry-run")
    wanted = [*targets(study), "paper_figures", "figures", "tables"]
    output = project.run(*wanted, *flag)
    assert all(f"\n{target} " in output for target in wanted)
    jobs = f"plot_figure {len(study.figures):>{len('count') + 10}}"
    assert " ".join(jobs.split()) in " ".join(output.split())


def test_what_a_study_lacks_ends_with_one_line(project):
    done = project.snakemake("fig_rte_hans_scatter", "--dry-run")
    assert done.code != 0
    [line] = [each for each in done.output.splitlines() if "rte-hans-scatter" in each]
    assert line == (
        "error: figure 'rte-hans-scatter' needs task 'rte', which study 'demo' does not have"
    )
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("word", "told"),
    thinned(
        [
            ("repot_partial", "did you mean 'report_partial'?"),
            ("report-partial", "did you mean 'report_partial'?"),
            ("fig_id_ood_scater", "did you mean 'fig_id_ood_scatter'?"),
            ("headline", "did you mean 'table_headline'?"),
            ("config", "valid: all, behaviour, "),
            ("zzz", "valid: all, behaviour, "),
        ],
        [("headline", "did you mean 'table_headline'?")],
        [("config", "valid: all, behaviour, ")],
    ),
)
def test_a_misspelt_target_is_one_line_with_the_nearest_name(project, word, told):
    done = project.snakemake(word, "--dry-run")
    assert done.code != 0 and "Traceback" not in done.output
    [line] = [each for each in done.output.splitlines() if word in each and "error" in each]
    assert line.startswith(f"error: command line: unknown target '{word}'; {told}")


@pytest.mark.slow
def test_a_misspelt_target_is_compared_with_all_that_snakemake_lists(project):
    listed = set(project.run("--list-target-rules").splitlines())
    single = {name for name in listed if name.startswith(("fig_", "table_"))}
    output = project.snakemake("zzz", "--dry-run").output
    [valid] = re.findall(r"unknown target 'zzz'; valid: (.*)", output)
    assert set(valid.split(", ")) == {name for name in listed - single if name.isidentifier()}


@pytest.mark.slow
def test_all_leaves_out_what_a_study_lacks(project):
    output = project.run("all", "--dry-run")
    assert "figures/id-ood-scatter.svg" in output
    assert "figures/rte-hans-scatter" not in output
