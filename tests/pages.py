"""What the pages show: fenced blocks and the commands in them and between backquotes.

The first word behind a fence is its language, the second says what a block is of (see `KINDS`);
GitHub renders neither. `sh` and inline code hold commands, `yaml` configuration, `python` a program
that a workflow test runs, `text` output and drawings.
"""

import re
import shlex
import subprocess
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from io import StringIO
from itertools import dropwhile
from pathlib import Path

from fewshot.planning.requests import PLACED
from fewshot.validation import read_yaml
from project import ROOT

FOLDERS = ("", ".github", "config", "config/embedded", "profiles/slurm", "rules", "scripts")
PAGES = [
    page
    for folder in (*FOLDERS, "results", "tests/benchmarks")
    for page in sorted((ROOT / folder).glob("*.md"))
]
REGISTRIES = ("models", "tasks", "patterns", "methods")
KINDS = {
    "sh": {""},
    "text": {""},
    "python": {"finished-demo", "finished-cell", "tutorial"},
    "yaml": {"study", "part-of-a-study", *REGISTRIES},
}
"""Language → what a block may be of: a python block says where it is run; a yaml block is a study,
some of its keys, or entries of a registry."""
FENCE = re.compile(r" *```(.*)")
INLINE = re.compile(r"`((?:snakemake|make)(?: [^`]*)?)`")
TOLD = {
    "archive": "import_predictions",
    "lm_eval": "convert_lm_eval",
    "repository": "push_adapters",
    "organization": "export_results",
    "source": "export_results",
    "rows": "export_results",
    "tracker": "export_tracking",
    "delete": "clean",
}
"""What `--config` may tell, and the target that reads it."""
OTHERS = {"apptainer", "git", "cd", "source", "export", "nano", "lm_eval", "pip", "sha256sum"}
"""Programs of others. What lm_eval is told, the tests of the exchange tell it too."""
VARIABLE = re.compile(r"[A-Z_]+=")
"""A variable that is set for a command in front of it."""
UNSAID = "…"
"""What stands for something of the reader's."""


class WrongPage(ValueError):
    """Something that a page shows and that is not so; says where and what."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its fence, language, kind and content."""

    page: Path
    line: int
    language: str
    kind: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}: line {self.line}"


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page; raises WrongPage for a fence without a known language."""
    found, fence, content = [], None, []
    for number, line in enumerate((text or page.read_text()).splitlines(), 1):
        match = FENCE.fullmatch(line)
        if match and fence is None:
            fence, content = (number, *f"{match[1]} ".split(" ", 1)), []
        elif match:
            block = Block(page, fence[0], fence[1], fence[2].strip(), "\n".join(content) + "\n")
            if block.kind not in KINDS.get(block.language, ()):
                raise WrongPage(f"{block.where}: a fence says what is in it: {KINDS}")
            found, fence = [*found, block], None
        elif fence:
            content.append(line)
    return found


def blocks_of(page: str, language: str, kind: str = "") -> list[str]:
    """Return the contents of a page's blocks of one language and kind."""
    wanted = (language, kind)
    return [each.text for each in blocks(ROOT / page) if (each.language, each.kind) == wanted]


def commands(page: Path, text: str | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield every command that a page shows, in a block or between backquotes: where, and words."""
    text = text or page.read_text()
    for block in blocks(page, text):
        if block.language == "sh":
            yield from ((block.where, words) for words in split(block.text))
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    for found in INLINE.findall(prose):
        where = f"{page.relative_to(ROOT)}: `{found}`"
        yield from ((where, words) for words in split(found.replace("\n", " ")))


def split(script: str) -> Iterator[list[str]]:
    """Yield the words of each command of a script; <a placeholder> is one word."""
    script = re.sub(r"<[\w ]+>", UNSAID, script.replace("\\\n", " "))
    for line in script.splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars="&;|")
        reader.whitespace_split = True
        words: list[str] = []
        for word in [*reader, ";"]:
            if word not in ("&&", ";", "|"):
                words.append(word)
            elif words:
                yield words
                words = []


def try_command(where: str, words: list[str], given: Iterable[str] = ()) -> None:
    """Raise WrongPage unless a command would run in a clone, besides which the reader has the files
    `given`. Programs other than Snakemake and make are known by name alone."""
    program, *arguments = dropwhile(VARIABLE.match, words)
    if program == "make":
        _try_make(where, tuple(arguments))
    elif program == "snakemake":
        _try_snakemake(where, arguments, given)
    elif program not in OTHERS:
        raise WrongPage(f"{where}: '{program}' is none of snakemake, make, {', '.join(OTHERS)}")


@cache
def _try_make(where: str, arguments: tuple[str, ...]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in (word.partition("=")[0] for word in arguments if "=" in word):
        if f"$({name})" not in makefile:
            raise WrongPage(f"{where}: the Makefile reads no {name}")
    command = ["make", "--dry-run", "--always-make", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongPage(f"{where}: {done.stderr.strip()}")


def _try_snakemake(where: str, arguments: list[str], given: Iterable[str]) -> None:
    parsed, rules = _parsed(where, arguments), rule_texts()
    targets = {*rules, *single_targets(), UNSAID}
    for target in parsed.targets:
        if target not in targets and "/" not in target:
            raise WrongPage(f"{where}: no target '{target}'")
    for path in map(str, parsed.configfile or ()):
        imported = re.fullmatch(r"results/[a-z0-9-]+/imported/study\.yaml", path)
        if not (imported or path in (UNSAID, *given) or (ROOT / path).is_file()):
            raise WrongPage(f"{where}: --configfile: no file '{path}'; is it a target?")
    for key in (each.partition("=")[0] for each in parsed.config or ()):
        if TOLD.get(key) not in parsed.targets:
            raise WrongPage(f"{where}: --config {key} is told to no target that reads it")
    for name in parsed.profile or ():
        if not any((ROOT / path / "config.yaml").is_file() for path in (name, f"profiles/{name}")):
            raise WrongPage(f"{where}: no profile '{name}'")
    for rule, resources in (parsed.set_resources or {}).items():
        planned = PLACED if "**ADAPTATION," in rules.get(rule, "") else ()
        for resource in resources:
            if resource not in planned and f"{resource}=" not in rules.get(rule, ""):
                raise WrongPage(f"{where}: rule '{rule}' has no resource '{resource}'")


@cache
def _parser() -> ArgumentParser:
    from snakemake.cli import get_argument_parser  # Seconds, which few tests need.

    return get_argument_parser()


def _parsed(where: str, arguments: list[str]) -> Namespace:
    with redirect_stderr(StringIO()) as said:
        try:
            return _parser().parse_args(arguments)
        except SystemExit:
            raise WrongPage(f"{where}: {said.getvalue().splitlines()[-1]}") from None


@cache
def rule_texts() -> dict[str, str]:
    """Return rule → its text."""
    files = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]
    parts = re.split(r"^rule (\w+):", "\n".join(map(Path.read_text, files)), flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@cache
def single_targets() -> set[str]:
    """Return the targets of single figures and tables."""
    entries = read_yaml(ROOT / "config/figures.yaml")
    return {
        f"{prefix}_{name}".replace("-", "_")
        for kind, prefix in (("figures", "fig"), ("tables", "table"))
        for name in entries[kind]
    }
