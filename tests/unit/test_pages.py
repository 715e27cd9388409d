"""Whatever a page shows is tried: commands by Snakemake's own parser and make, configuration by the
loader of studies, programs by the workflow tests that run them."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pages
import pytest
import yaml
from fewshot.errors import UserError
from fewshot.study.load import load_study
from fewshot.validation import read_yaml
from mistakes import told
from pages import PAGES, WrongPage
from project import ROOT

BY_NAME = {str(page.relative_to(ROOT)): page for page in PAGES}
OF_THE_READER = {"my-study.yaml", "claims.yaml"}
"""Files that the pages tell readers to write."""
README = BY_NAME["README.md"]


def shown(page: Path, kind: str) -> list[tuple[str, dict]]:
    """Return where and content of a page's YAML blocks of one kind."""
    yamls = [block for block in pages.blocks(page) if block.kind == kind]
    return [(block.where, yaml.safe_load(block.text)) for block in yamls]


@cache
def defined_in_readme() -> dict[str, dict]:
    """Return the entries of the README's study, on which other pages' examples rest."""
    [(_, study)] = shown(README, "study")
    return study["define"]


def own_entries(page: Path) -> dict[str, dict]:
    """Return what a page defines, beside the README; what it shows of a registry must be there."""
    own = {name: dict(entries) for name, entries in defined_in_readme().items()}
    for registry in pages.REGISTRIES:
        there = read_yaml(ROOT / f"config/{registry}.yaml")
        for where, entries in shown(page, registry):
            for name in set(entries) & set(there):
                assert is_part(entries[name], there[name]), f"{where}: {name}"
            own[registry] |= {name: each for name, each in entries.items() if name not in there}
    return own


def is_part(shown: object, whole: object) -> bool:
    """Return whether all that is shown of an entry is what the entry has."""
    if not isinstance(shown, dict):
        return shown == whole
    return all(key in whole and is_part(shown[key], whole[key]) for key in shown)


def try_study(where: str, page: Path, study: dict, folder: Path) -> None:
    """Load a study with the page's entries, as Snakemake would in `folder`."""
    define = own_entries(page)
    for registry, entries in study.get("define", {}).items():
        define[registry] = {**define.get(registry, {}), **entries}
    for task in define["tasks"].values():
        for path in task.get("source", {}).get("local", {}).values() if "base" not in task else ():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).touch()
    load_study({**study, "define": define}, ROOT / "config", where)


def around(part: dict) -> dict:
    """Return a study that has some keys of its own and else those of the demo."""
    demo = read_yaml(ROOT / "config/config.yaml")
    for kind in ("models", "tasks"):
        named = {name for block in part.get("grid", ()) for name in block.get(kind, ())}
        demo[kind] = sorted({*demo[kind], *named})
    whole = {**demo, **part, "study": "mine"}
    del whole["figures"], whole["tables"]
    return {**whole, "main": {"k": 16}}


def faults(attempt: Callable, arguments: Iterable[tuple]) -> list[str]:
    """Return what is wrong where an attempt fails."""
    found = []
    for each in arguments:
        try:
            attempt(*each)
        except (WrongPage, UserError) as error:
            found.append(str(error))
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return a folder, the current one, where the demo's models are found."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BY_NAME)
def test_every_command_would_run(name):
    shown_commands = pages.commands(BY_NAME[name])
    assert faults(pages.try_command, [(*each, OF_THE_READER) for each in shown_commands]) == []


@pytest.mark.parametrize("name", BY_NAME)
def test_every_example_of_configuration_loads(name, folder):
    page = BY_NAME[name]
    studies = [
        *shown(page, "study"),
        *((where, around(part)) for where, part in shown(page, "part-of-a-study")),
    ]
    if any(shown(page, registry) for registry in pages.REGISTRIES):
        studies.append((name, around({})))
    assert faults(try_study, [(where, page, study, folder) for where, study in studies]) == []


def test_every_program_is_run():
    """By test_pandas.py, test_own_study.py and test_adapters.py of the workflow tests."""
    found = [block for page in PAGES for block in pages.blocks(page) if block.language == "python"]
    assert {(str(block.page.relative_to(ROOT)), block.kind) for block in found} == {
        ("README.md", "finished-demo"),
        ("config/SHARING.md", "finished-cell"),
        ("config/TUTORIAL.md", "tutorial"),
    }


def test_config_tells_what_the_workflow_reads():
    told = re.findall(r'config\.pop\("(\w+)"', (ROOT / "rules/common.smk").read_text())
    assert set(told) == set(pages.TOLD) and set(pages.TOLD.values()) <= set(pages.rule_texts())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("snakemake al", "no target 'al'"),
        ("snakemake fig_id_ood_scater", "no target 'fig_id_ood_scater'"),
        ("snakemake -n --configfile my-study.yaml all", "no file 'all'; is it a target?"),
        ("snakemake --configfile config/papers.yaml", "no file 'config/papers.yaml'"),
        ("snakemake export_predictions --config archive=a.tar", "--config archive is told to no"),
        ("snakemake --config deleted=yes clean", "--config deleted is told to no"),
        ("snakemake --profile slrum", "no profile 'slrum'"),
        ("snakemake --reprot report.zip", "unrecognized arguments: --reprot"),
        ("snakemake --set-resources fine_tune:gpus=8", "rule 'fine_tune' has no resource 'gpus'"),
        ("snakemake clean && snakemake cleen", "no target 'cleen'"),
        ("make demmo", "No rule to make target 'demmo'"),
        ("make study NAM=mine", "the Makefile reads no NAM"),
        ("snakemaek all", "'snakemaek' is none of snakemake, make"),
    ],
)
@pytest.mark.parametrize("form", ["```sh\n{}\n```\n", "Say\n`{}`.\n"])
def test_a_wrong_command_is_found(command, message, form):
    if form.startswith("Say") and command.startswith("snakemaek"):
        return  # Between backquotes it is no command but a word.
    with pytest.raises(WrongPage, match=re.escape(message)):
        for where, words in pages.commands(README, form.format(command)):
            pages.try_command(where, words, OF_THE_READER)


@pytest.mark.parametrize("fence", ["```", "```bash", "```yaml", "```yaml study mine", "```python"])
def test_a_fence_that_does_not_say_what_it_holds_is_found(fence):
    with pytest.raises(WrongPage, match=r"README.md: line 2: a fence says what is in it"):
        pages.blocks(README, f"Text\n{fence}\nx\n```\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [("rank: 32", "rnk: 32"), ("[lora-32], patterns: [entails]", "[lora-32], patterns: [x]")],
)
def test_a_wrong_key_or_name_is_found(folder, old, new):
    [text] = pages.blocks_of("README.md", "yaml", "study")
    assert text.count(old) == 1
    study = yaml.safe_load(text.replace(old, new))
    assert re.match(
        r"README.md: \S+: .*(unknown key 'rnk'|unknown pattern 'x')",
        told(try_study, "README.md", README, study, folder),
    )
