"""Files that must stay in step with each other."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import reference
import yaml
from fewshot import validation
from fewshot.exchange import archive
from fewshot.planning.requests import ATTEMPTS
from fewshot.validation import NOT_BLANK
from jsonschema import Draft202012Validator
from pages import PAGES

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted((ROOT / "config/schema").glob("*.yaml"))


def test_reference_is_in_step():
    assert (ROOT / "config/REFERENCE.md").read_text() == reference.render(), "run `make docs`"
    assert set(reference.FILES) == {path.stem for path in SCHEMAS}


def test_the_options_described_are_those_of_the_functions():
    told = validation.read_schema("figures")["$defs"]["entries"]["additionalProperties"]
    functions = [each for kind in reference.FUNCTIONS.values() for each in kind.values()]
    taken = {option.name for each in functions for option in reference.options_of(each)}
    assert set(told["properties"]["options"]["properties"]) == taken


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


def test_profiles_share_no_key():
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    slurm = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    # Those of YTE (`__use_yte__`) are about their own file.
    assert not {key for key in set(default) & set(slurm) if not key.startswith("__")}
    forbidden = {"executor", "resources", "default-resources", "set-resources"}
    assert not set(default) & forbidden


def test_the_default_profile_asks_for_the_logger_only_where_it_is_installed():
    """A name that Snakemake does not know ends every call, also of who made no environment."""
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    [asked] = [key for key in default if "fairshot" in key]
    assert asked.startswith("?if ") and default[asked] == {"logger": ["fairshot"]}
    assert (ROOT / "scripts/plugins/snakemake_logger_plugin_fairshot/__init__.py").is_file()
    assert "scripts/plugins" in (ROOT / "Makefile").read_text()


def test_the_profile_lets_a_study_on_a_cluster_end():
    """Work goes on in later attempts, a failure spoils no other job, and a lost job is noticed."""
    default = yaml.safe_load((ROOT / "profiles/default/config.yaml").read_text())
    slurm = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    assert slurm["executor"] == "slurm" and slurm["configfile"] == ["config/paper.yaml"]
    assert slurm["retries"] == ATTEMPTS - 1, "what check_site reckons with"
    assert default["keep-going"] is True, "Snakemake adds the default profile to every call"
    assert slurm["keep-incomplete"] is True, "what is finished of a shared submission stays"
    assert slurm["slurm-requeue"] is True and slurm["slurm-status-command"] == "squeue"
    assert slurm["default-resources"] == {
        "site": "profiles/slurm/site.yaml",
        "slurm_account": '?known("account")',
        "slurm_partition": '?known("cpu_partition")',
        "qos": '?known("qos")',
        "mem_mb": 2000,
        "runtime": 30,
    }


def test_jobs_of_seconds_share_submissions():
    """Each group has its number of jobs under the very same name, or Snakemake takes one."""
    slurm = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    groups, most = slurm["groups"], slurm["group-components"]
    assert set(groups) == {"sample_shots", "make_table", "plot_figure"}
    assert set(most) == set(groups.values()) and min(most.values()) > 1
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    rules = {rule.partition(":")[0]: rule for rule in re.split(r"^rule ", text, flags=re.M)[1:]}
    assert {name for name, rule in rules.items() if "in_turn=1" in rule} == set(groups)
    assert slurm["resources"] == {"in_turn": 1}
    assert slurm["set-resource-scopes"] == {"in_turn": "local"}, "not one at a time everywhere"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_have_no_placeholder_and_their_links_lead_somewhere(page):
    text = page.read_text()
    assert not re.findall(r"\b(?:DEMO|REBUILD|EMBEDDED)_[A-Z]+\b|TODO", text)
    for link, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
        if "://" not in link:
            target = page.parent / link if link else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_modules_and_rule_files_that_exist(page):
    files = [
        path for folder in ("rules", "scripts", "tests") for path in (ROOT / folder).rglob("*")
    ]
    paths = {f"/{path.relative_to(ROOT)}" for path in files}
    for name in re.findall(r"`([\w./-]+\.(?:py|smk))`", page.read_text()):
        assert any(path.endswith(f"/{name}") for path in paths), name


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted({*PAGES} - {ROOT / "config/REFERENCE.md"}))
def test_a_page_written_by_hand_is_short(page):
    assert len(page.read_text().splitlines()) <= 250


def test_the_page_on_clusters_lists_the_entries_of_a_site():
    text = (ROOT / "profiles/slurm/README.md").read_text()
    table = text[text.index("| entry | what it is |") :].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    schema = validation.read_schema("site")
    assert sorted(key for row in rows for key in row) == sorted(schema["properties"])
    assert set(rows[-1]) == set(schema["properties"]) - set(schema["required"]), "not needed"
    assert len(schema["required"]) == 10 and "Ten lines, and" in text
    assert "in ten lines" in (ROOT / "README.md").read_text()


def test_every_claim_on_security_names_tests_that_exist():
    table = (ROOT / ".github/SECURITY.md").read_text().split("| tested by |")[1].split("\n\n")[0]
    claims = [line.split("|")[-2] for line in table.splitlines()[2:]]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)", tests, re.M))
    for claim in claims:
        named = re.findall(r"`(\w+)`", claim)
        assert named and set(named) <= known, claim
    assert len(claims) >= 15


def test_the_version_stands_in_one_place_and_has_its_changes():
    version = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    page = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.*)", page, re.M)[:2] == ["[Unreleased]", version]
    assert f"format (now {archive.FORMAT})" in " ".join(page.split())


def test_licences_are_listed_by_package():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/licences.py"], capture_output=True, text=True, check=True
    )
    told = {line.split()[0]: line.split(maxsplit=2)[2] for line in done.stdout.splitlines()}
    assert told["numpy"].startswith("BSD") and "Apache" in told["safetensors"]
    assert len(told) > 50 and all(told.values())


def test_top_level_holds_only_what_is_agreed():
    agreed = {
        *("Snakefile", "rules", "scripts", "config", "envs", "results", "profiles", "README.md"),
        *("tests", "Makefile", "LICENSE", "CITATION.cff", "CHANGELOG.md", "slurm"),
    }
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found <= agreed
    assert (ROOT / "slurm").readlink() == Path("profiles/slurm")


def test_an_audit_without_an_answer_is_no_clean_one():
    """pip-audit itself passes over what its index does not know."""
    command = ["make", "--silent", "audit", "PYTHON=false"]  # Nothing reaches the index.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode and done.stderr.startswith("error: pypi.org, which knows")
    assert "pip-audit --strict" in (ROOT / "Makefile").read_text()


@pytest.mark.xdist_group("pins")
def test_groups_of_tests_stay_together(request):
    """pytest 9.2 names tests in a way in which pytest-xdist 3.8 loses their groups."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@pins")
