"""A hash of the code that a result depends on, for `params` of rules.

Snakemake notices an edited script but not the modules it imports. The hash covers a module and,
recursively, its relative imports; it is taken from the syntax tree without docstrings, so that
comments and formatting change nothing.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


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
        digest.update(f"{module}\x1f{_normalised(_path(module))}\x1f".encode())
    return digest.hexdigest()[:16]


def imports(module: str) -> list[str]:
    """Return the package modules that `module` imports relatively, wherever in the file."""
    path = _path(module)
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = base + (node.module.split(".") if node.module else [])
            if target and _exists(".".join(target)):
                found.add(".".join(target))
            for alias in node.names:
                name = ".".join([*target, alias.name])
                if _exists(name):
                    found.add(name)
    return sorted(found)


def _collect(module: str, closure: set[str]) -> None:
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


@cache
def _normalised(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        holds_docstring = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if holds_docstring and body and ast.get_docstring(node, clean=False) is not None:
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)
