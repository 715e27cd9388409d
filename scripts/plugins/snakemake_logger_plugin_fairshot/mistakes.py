"""Mistakes on the command line that Snakemake tells before the workflow can: one line for each."""

import logging
import re
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

import yaml

UNREADABLE = re.compile(r"load_configfile.*Error: \[Errno \d+\] ([^\n]*): '(.*)'\s*$", re.DOTALL)
UNPARSED = re.compile(r"Config file (is not valid|must be given)")
NO_SETTING = re.compile(r"Invalid config definition.*Unparsable value: '(.*)'\)\s*$", re.DOTALL)
NO_RULE = re.compile(r"No rule to produce (\S+)")
KINDS = (".yaml", ".yml", ".json")
PLACE = "a target stands in front of it, or behind `--`"


def in_one_line(record: logging.LogRecord, files: Iterable[str]) -> str:
    """Return one line for an error of Snakemake's that a user's mistake is known to cause, else
    nothing. `files` are those that can be asked for."""
    text = record.getMessage() if record.levelno >= logging.ERROR else ""
    if found := UNREADABLE.search(text):
        return f"error: --configfile: {found[2]}: {found[1].lower()}{_meant(found[2])}"
    if UNPARSED.search(text):
        return next(filter(None, map(_broken, sys.argv[1:])), "")
    if found := NO_SETTING.search(text):
        return f"error: --config: '{found[1]}' is not name=value; {PLACE}"
    if found := NO_RULE.search(text):
        near = get_close_matches(found[1], files, n=1)
        lists = "`snakemake --list-target-rules` lists the names that can be asked for"
        hint = f"did you mean '{near[0]}'?" if near else lists
        return f"error: command line: unknown target '{found[1]}'; {hint}"
    return ""


def _meant(name: str) -> str:
    """Return what may be meant by the name of a configuration that is not there."""
    if Path(name).exists():
        return ""
    there = sorted(path for folder in ("", "config") for path in Path(folder).glob("*.yaml"))
    # Without the suffix, which all have in common; with the folder and without it.
    names = {each: path for path in there for each in (path.stem, str(path.with_suffix("")))}
    if near := get_close_matches(str(Path(name).with_suffix("")), names, n=1):
        return f"; did you mean '{names[near[0]]}'?"
    return "" if Path(name).suffix in KINDS else f"; {PLACE}"


def _broken(word: str) -> str:
    """Return what is wrong with a file of the command line that should be YAML; empty: nothing."""
    if not (Path(word).suffix in KINDS and Path(word).is_file()):
        return ""
    try:
        content = yaml.safe_load(Path(word).read_text("utf-8"))
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        return f"error: {word}: {line}{error.problem}"
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return f"error: {word}: {' '.join(str(error).split())}"
    return "" if isinstance(content, dict) else f"error: {word}: must hold a mapping"
