"""By which names a run is told."""

from pathlib import Path

from fewshot.study.catalog import shown_names
from fewshot.study.load import load_study
from fewshot.validation import read_yaml

ROOT = Path(__file__).parents[3]


def test_a_study_names_what_its_jobs_are_about_by_title():
    names = shown_names(load_study(read_yaml(ROOT / "config/paper.yaml"), str(ROOT / "config")))
    assert names["model"]["opt-125m"] == "OPT-125M"
    assert names["task"]["mnli"] == names["source"]["mnli"] == "MNLI"
    assert names["method"]["pattern-ft"] == "Pattern-based fine-tuning"


def test_patterns_are_those_of_the_studys_cells_alone():
    study = load_study(read_yaml(ROOT / "config/config.yaml"), str(ROOT / "config"))
    used = {cell.pattern for cell in study.cells} - {"none"}
    assert set(shown_names(study)["pattern"]) == used < set(study.patterns)
