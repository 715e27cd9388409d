"""Files that must stay in step with each other."""

import json
import re
from pathlib import Path

import pytest
import yaml
from fewshot import reference, registry
from fewshot.mistakes import NOT_BLANK
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "config/schema").glob("*.yaml"))


def test_config_readme_is_in_step():
    assert (ROOT / "config/README.md").read_text() == reference.render(), "run `make docs`"
    assert set(reference.FILES) == {path.stem for path in SCHEMAS}


def test_pins_name_no_address():
    for file in (ROOT / "envs").iterdir():
        text = file.read_text()
        assert "://" not in text and "index-url" not in text


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_schema_is_valid_closed_and_described(path):
    schema = yaml.safe_load(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert "null" not in json.dumps(schema), "an unquoted comma in a flow mapping"
    entry = schema.get("additionalProperties") or schema
    assert entry["additionalProperties"] is False
    for key, part in entry["properties"].items():
        assert part.get("description") or "$ref" in part, f"{key} has no description"


def test_every_schema_property_is_closed_and_no_form_is_told_by_its_pattern_alone():
    def walk(part, where):
        if isinstance(part, dict):
            if part.get("type") == "object":
                assert "additionalProperties" in part, where
            if part.get("pattern", NOT_BLANK) != NOT_BLANK and isinstance(part["pattern"], str):
                assert part["description"], where
                for example in part.get("examples", ()):
                    assert re.search(part["pattern"], example), where
            for key, value in part.items():
                walk(value, f"{where}.{key}")
        elif isinstance(part, list):
            for item in part:
                walk(item, where)

    for path in SCHEMAS:
        walk(yaml.safe_load(path.read_text()), path.stem)


def test_shipped_registries_are_valid():
    registries = registry.load_registries(ROOT / "config")
    assert set(registries) == set(registry.REGISTRIES)


def test_profiles_share_no_key():
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    slurm = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    assert not set(default) & set(slurm)
    forbidden = {"executor", "resources", "default-resources", "set-resources"}
    assert not set(default) & forbidden


@pytest.mark.parametrize("name", ["README.md", ".github/CONTRIBUTING.md", "config/README.md"])
def test_pages_have_no_placeholder_and_their_links_lead_somewhere(name):
    page = ROOT / name
    text = page.read_text()
    assert not re.findall(r"\b(?:DEMO|REBUILD|EMBEDDED)_[A-Z]+\b|TODO", text)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_readme_examples_fit_the_schemas():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    names = ("models", "tasks", "patterns", "methods", "study")
    assert len(blocks) == len(names)
    for name, block in zip(names, blocks, strict=True):
        registry.check(yaml.safe_load(block), name, f"README.md: {name}")


def test_top_level_holds_only_what_is_agreed():
    agreed = {
        *("Snakefile", "rules", "scripts", "config", "envs", "results", "profiles", "README.md"),
        *("tests", "Makefile", "LICENSE", "CITATION.cff", "slurm"),
    }
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= agreed
    assert (ROOT / "slurm").readlink() == Path("profiles/slurm")
