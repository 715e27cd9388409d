"""What a study can find, as a target."""

import pandas as pd
import pytest
from project import ROOT, Project

DOCS = " ".join((ROOT / "config/README.md").read_text().split())
TARGET = "power"
STUDY = ("--configfile", "config/paper.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return Project.create(tmp_path_factory.mktemp("power") / "project")


@pytest.mark.slow
def test_the_papers_power_is_printed_and_written_without_any_result(project):
    output = project.run(TARGET, *STUDY)
    folder = project.folder / "results/paper"
    page = (folder / "power.md").read_text()
    assert "## Power of study 'paper' with 16 shots" in output and "Variances on mnli" in output
    assert page.startswith("# Power of study 'paper' with 16 shots")
    stored = pd.read_parquet(folder / "power.parquet")
    assert len(stored) == len(pd.read_csv(folder / "power.csv")) == 4 * 6
    own = stored[stored["planned"]].set_index(["task", "evaluation_set"])
    assert set(own["seeds"]) == {10} and set(own["source"]) == {"assumed"}
    mnli, rte = own.loc[("mnli", "mnli")], own.loc[("rte", "rte")]
    found = [f"{100 * mnli[name]:.0f}" for name in ("detectable", "detectable_corrected")]
    assert (
        f"ten draws find {found[0]} points on MNLI" in DOCS and f"comparisons, {found[1]})" in DOCS
    )
    assert f"RTE with its {rte['rows']} rows never tells 3 points apart" in DOCS
    assert pd.isna(rte["seeds_different"]) and "the paper's 312 comparisons" in DOCS
    assert "the study's 312, at 5 % / 312" in page
    assert {path.name for path in (project.folder / "results").iterdir()} == {"paper", "logs"}
    assert project.planned(TARGET, *STUDY) == [], "nothing changed"
    project.edit("config/paper.yaml", lambda study: study.update(power={"draw_sd": 6}))
    assert [rule for rule, _ in project.planned(TARGET, *STUDY)] == [TARGET]


@pytest.mark.weekly
def test_a_finished_study_tells_how_its_own_comparisons_vary(study):
    output = study.run(TARGET)
    assert "means over finished comparisons" in output and "are assumed" not in output
    stored = pd.read_parquet(study.folder / "results/demo/power.parquet")
    assert set(stored["source"]) == {"finished cells"} and set(stored["finished"]) == {2}
    assert set(stored["rows_from"]) == {"prepared"} and stored["clusters"].notna().all()
    assert study.planned(TARGET) == []
