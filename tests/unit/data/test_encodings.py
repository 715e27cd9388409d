"""Text is read and written as UTF-8, whatever the locale."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
# Where the encoding is among the arguments, from 0.
PLACES = {"read_text": 0, "write_text": 1, "basicConfig": None, "open": 3, "LogFile": 2}


def is_text(call: ast.Call, name: str) -> bool:
    """Return whether a call opens text: open() and Path.open() do unless their mode has a b,
    and logging's basicConfig() if it names the file."""
    if name == "basicConfig":
        return any(each.arg == "filename" for each in call.keywords)
    if name != "open":
        return True
    owner = getattr(call.func, "value", None)
    if isinstance(owner, ast.Name) and owner.id in ("os", "tarfile", "SeedStore"):
        return False
    modes = [*call.args, *(each.value for each in call.keywords if each.arg == "mode")]
    texts = [each.value for each in modes if isinstance(each, ast.Constant)]
    return not any("b" in text for text in texts[-1:])


def without_encoding(source: str) -> list[int]:
    """Return the lines of calls that leave the encoding to the locale."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if name in PLACES and is_text(node, name):
            place = PLACES[name]
            given = any(each.arg == "encoding" for each in node.keywords)
            if not given and (place is None or len(node.args) <= place):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("path.read_text()", 1),
        ("path.read_text('utf-8'), path.read_text(encoding='utf-8')", 0),
        ("path.write_text(text)", 1),
        ("path.write_text(text, 'utf-8')", 0),
        ("open(path), open(path, 'a'), path.open(), path.open('w')", 4),
        ("open(path, 'rb'), open(path, mode='wb'), path.open('rb'), os.open(path, 0)", 0),
        ("open(path, encoding='utf-8')", 0),
        ("logging.basicConfig(filename=path), logging.basicConfig(handlers=[own])", 1),
        ("LogFile(path), LogFile(path, 'a', 'utf-8'), LogFile(path, encoding='utf-8')", 1),
    ],
)
def test_what_counts_as_text(source, count):
    assert len(without_encoding(source)) == count


def test_no_script_leaves_the_encoding_to_the_locale():
    found = {
        f"{path.relative_to(SCRIPTS)}:{line}"
        for path in SCRIPTS.rglob("*.py")
        for line in without_encoding(path.read_text("utf-8"))
    }
    assert not found
