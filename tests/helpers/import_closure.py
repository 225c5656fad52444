"""Which files of the project a module runs, found by following its imports."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


def import_closure(start: Path) -> set[str]:
    """Paths (from the project root) of `start` and of every project file it imports, directly or not.

    Imports inside functions count; those for the type checker alone do not.
    """
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _imported_files(path)
    return {str(path.relative_to(ROOT)) for path in seen}


def _imported_files(path: Path) -> list[Path]:
    files = []
    for node in _runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        files += [file for name in names for file in _files_of(name)]
    return files


def _runtime_nodes(tree: ast.AST):
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _runtime_nodes(node)


def _files_of(name: str) -> list[Path]:
    """The module's own file and the `__init__` of each package on the way to it; nothing for other projects."""
    if not name.startswith("watchline"):
        return []
    parts = name.split(".")
    files = []
    for length in range(1, len(parts) + 1):
        base = SOURCE.joinpath(*parts[:length])
        files += [path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()]
    return files
