"""Packages import what the table of scripts/README.md names, and nothing imports in a cycle."""

import ast
import re
from graphlib import TopologicalSorter

import pytest
from fewshot import codeversion

PACKAGE = codeversion.PACKAGE
README = PACKAGE.parent / "README.md"
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)


def allowed() -> dict[str, set[str]]:
    """Return the packages that each may import, as the table has it."""
    table = README.read_text().split("| package |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    return {name: set(re.findall(r"\w+", may)) for name, _, may in rows}


def package_of(module: str) -> str:
    """Return the package of a module; those in none are the root."""
    first = module.partition(".")[0]
    return first if (PACKAGE / first).is_dir() else "root"


def imported(module: str) -> set[str]:
    """Return all modules of the project that one imports, for type hints as well."""
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
    parts = module.split(".")[:-1]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parts[: len(parts) - node.level + 1] + (node.module or "").split(".")
            base = ".".join(filter(None, base))
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {name if name in MODULES else base for name in names}
    return found


@pytest.mark.parametrize("package", sorted({package_of(module) for module in MODULES}))
def test_a_package_imports_what_its_row_names(package):
    own = [module for module in MODULES if package_of(module) == package]
    edges = {(module, other) for module in own for other in imported(module)}
    crossing = {(a, b) for a, b in edges if package_of(b) != package}
    assert {f"{a} → {b}" for a, b in crossing if package_of(b) not in allowed()[package]} == set()


def test_packages_import_in_no_cycle():
    order = list(TopologicalSorter(allowed()).static_order())
    assert order[0] == "root" and len(order) == len(allowed())


def test_modules_import_in_no_cycle_type_hints_included():
    graph = {module: imported(module) & set(MODULES) for module in MODULES}
    assert set(MODULES) <= set(TopologicalSorter(graph).static_order())
