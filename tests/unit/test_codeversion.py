"""What changes a result's code version, and what does not."""

import re
from pathlib import Path

import pytest
from fewshot import codeversion

PACKAGE = {
    "__init__.py": "",
    "a.py": '"""Doc."""\nfrom .b import f\nfrom . import c\n\ndef g(x):\n    return f(x)\n',
    "b.py": "def f(x):\n    return x + 1\n",
    "c.py": "from .methods.lora import h\n",
    "other.py": "X = 1\n",
    "family.py": "from importlib import import_module as f\n\ndef load(n):\n    return f(n)\n",
    "methods/__init__.py": "",
    "methods/lora.py": "from ..b import f\nfrom ..deep.er import z\n\ndef h():\n    return z\n",
    "methods/full.py": "def h():\n    return 2\n",
    "deep/__init__.py": "Y = 1\n",
    "deep/er.py": "z = 1\n",
    "typed.py": "from .b import f\nif TYPE_CHECKING:\n    from .other import X\n",
    "late.py": "def f():\n    from .other import X\n    return X\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(codeversion, "PACKAGE", tmp_path)
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def version(*modules, fresh=True):
    if fresh:
        codeversion.code_version.cache_clear()
        codeversion._read.cache_clear()
    return codeversion.code_version(*modules)


def after(package, name, old, new):
    """Return whether an edit of one file changes the version of module a."""
    before = version("a")
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new, 1))
    return version("a") != before


def test_imports_are_followed_from_any_depth(package):
    assert codeversion.imports("a") == ["b", "c"]
    assert codeversion.imports("c") == ["methods.lora"]
    assert codeversion.imports("methods.lora") == ["b", "deep.er"]
    assert codeversion.imports("late") == ["other"], "also inside functions"
    assert codeversion.imports("typed") == ["b"], "but not what only a type checker reads"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.py", '"""Doc."""\n', '"""Other words."""\n'),
        ("a.py", '"""Doc."""\n', ""),
        ("a.py", "def g(x):\n", "# why\n\n\ndef g( x ):\n"),
        ("b.py", "def f(x):\n", 'def f(x):\n    """Return the next."""\n'),
        ("methods/lora.py", "return z", "return (z)  # parenthesised"),
        ("other.py", "1", "2"),
        ("methods/full.py", "2", "3"),
    ],
)
def test_words_layout_and_other_modules_change_nothing(package, name, old, new):
    assert not after(package, name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("a.py", "f(x)\n", "f(x) + 1\n"),
        ("b.py", "x + 1", "x + 2"),
        ("c.py", "import h", "import h as k"),
        ("methods/lora.py", "return z", "return -z"),
        ("deep/er.py", "1", "2"),
        ("deep/__init__.py", "1", "2"),
    ],
)
def test_code_of_a_module_and_of_what_it_imports_counts(package, name, old, new):
    assert after(package, name, old, new)


def test_a_text_that_is_no_docstring_counts(package):
    (package / "b.py").write_text('def f(x):\n    x = 1\n    "text"\n    return x\n')
    before = version("b")
    (package / "b.py").write_text('def f(x):\n    x = 1\n    "other"\n    return x\n')
    assert version("b") != before


def test_a_family_loaded_by_name_is_not_part_of_its_loader(package):
    before = version("family"), version("family", "methods.full"), version("family", "methods.lora")
    (package / "methods/full.py").write_text("def h():\n    return 5\n")
    now = version("family"), version("family", "methods.full"), version("family", "methods.lora")
    assert [a == b for a, b in zip(before, now, strict=True)] == [True, False, True]


def test_modules_that_import_each_other_end(package):
    (package / "b.py").write_text("from . import a\n")
    assert version("a") and version("b")
    assert version("a", "b") == version("b", "a")


def test_a_file_is_read_once_for_all_versions(package, monkeypatch):
    """Rules name dozens of modules, whose imports are the same, in every process of Snakemake."""
    texts = []
    parse = codeversion.ast.parse
    with monkeypatch.context() as patch:
        patch.setattr(codeversion.ast, "parse", lambda text: texts.append(text) or parse(text))
        version("a")
        for modules in (["c"], ["b", "late"], ["methods.lora"]):
            version(*modules, fresh=False)
    read = ("a", "b", "c", "late", "other", "methods/__init__", "methods/lora")
    assert len(texts) == len((*read, "deep/__init__", "deep/er"))


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(FileNotFoundError, match=r"nothing\.py"):
        version("nothing")


def test_the_package_imports_itself_relatively_only():
    """Absolute imports of the package would escape the hash."""
    for path in (Path(codeversion.__file__).parent).rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (scripts\.)?fewshot\b", path.read_text(), re.M), (
            path
        )


def test_of_the_package_that_changes_no_result_its_constant_counts_alone(package):
    """What only its modules import is left out too."""
    folder = package / "runtime"
    folder.mkdir()
    (folder / "__init__.py").write_text("RESULTS = 1\n")
    (folder / "locks.py").write_text("from ..other import X\n")
    (package / "a.py").write_text(
        PACKAGE["a.py"].replace("import c", "import c\nfrom .runtime import locks")
    )
    assert not after(package, "runtime/locks.py", "X", "X as Y")
    assert not after(package, "other.py", "1", "2")
    assert after(package, "runtime/__init__.py", "1", "2")


def test_the_shipped_package_has_that_constant():
    from fewshot import runtime

    assert runtime.RESULTS >= 1
    closure: set[str] = set()
    for module in ("adaptation.in_context", "adaptation.training"):
        codeversion._collect(module, closure)
    assert {name for name in closure if name.startswith("runtime")} == {"runtime"}
