"""A hash of the code that a result depends on, for `params` of rules.

Snakemake notices an edited script but not the modules it imports. The hash covers a module and,
recursively, its relative imports, but for those under `if TYPE_CHECKING:`, which never run; it is
taken from the syntax tree without docstrings, so that comments and formatting change nothing. Of
`runtime/`, which changes no byte of a result, it covers the constant in its `__init__.py` alone.
"""

import ast
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
WITHOUT_RESULTS = "runtime"
"""The package whose modules change no result: processes, GPUs, locks, logs, SLURM."""
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
"""The fields of a statement that hold statements."""


@cache
def code_version(*modules: str) -> str:
    """Return the hash of package modules such as "scoring" or "methods.lora", with their imports.

    Raises FileNotFoundError for a module that does not exist.
    """
    closure: set[str] = set()
    for module in modules:
        _collect(module, closure)
    digest = hashlib.sha256()
    for module in sorted(closure):
        digest.update(f"{module}\x1f{_read(module, _path(module)).normalised}\x1f".encode())
    return digest.hexdigest()[:16]


def imports(module: str) -> list[str]:
    """Return the package modules that `module` imports relatively when it runs, wherever in the
    file."""
    return _read(module, _path(module)).imports


@dataclass(frozen=True)
class Source:
    """What counts of a module: the modules it imports, and its code without docstrings."""

    imports: list[str]
    normalised: str


@cache
def _read(module: str, path: Path) -> Source:
    """Read a module's file, once for all that import it: there are rules for most modules."""
    tree = ast.parse(path.read_text("utf-8"))
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    return Source(_imports(tree, package), _normalised(tree))


def _imports(tree: ast.Module, package: list[str]) -> list[str]:
    modules = set()
    for node in _statements(tree, leave_out=_is_for_types):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = base + (node.module.split(".") if node.module else [])
            if target and _exists(".".join(target)):
                modules.add(".".join(target))
            for alias in node.names:
                name = ".".join([*target, alias.name])
                if _exists(name):
                    modules.add(name)
    return sorted(modules)


def _statements(
    tree: ast.Module, leave_out: Callable[[ast.AST], bool] = lambda node: False
) -> Iterator[ast.AST]:
    """Yield a module and the statements in it, but for those to `leave_out` and what they hold.

    No expression holds a statement. Every start of Snakemake waits for this, so none is looked at.
    """
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if not leave_out(node):
            yield node
            todo += (inner for block in BLOCKS for inner in getattr(node, block, ()))


def _is_for_types(node: ast.AST) -> bool:
    """Return whether only a type checker reads a statement."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _collect(module: str, closure: set[str]) -> None:
    if module.startswith(f"{WITHOUT_RESULTS}."):
        module = WITHOUT_RESULTS
    if module not in closure:
        closure.add(module)
        # Importing a module runs its package first.
        package = module.rpartition(".")[0]
        for name in [*imports(module), *([package] if package else [])]:
            _collect(name, closure)


def _path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(module: str) -> bool:
    return _path(module).is_file()


def _normalised(tree: ast.Module) -> str:
    """Return the code of a tree, from which docstrings are taken."""
    for node in _statements(tree):
        holds_docstring = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if holds_docstring and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
