"""No dispatch table has a default: what is not in it is an error, never another entry's work."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "pipeline", "serving", "broker", "launch", "export", "loadtest", "local", "lab", "benchmarks", "docker",
    "examples",
)  # fmt: skip


def defaults(tree: ast.Module) -> Iterator[int]:
    """Yield the lines of `table.get(key, function)`, and of `table.get(key, …)` that is called at once."""
    functions = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "get" or len(node.args) != 2:
            continue
        default = node.args[1]
        named = isinstance(default, ast.Name) and default.id in functions
        if named or isinstance(default, ast.Lambda) or id(node) in called:
            yield node.lineno


def test_the_check_sees_them() -> None:
    lines = ("def end(): ...", "table.get(word, end)(1)", "table.get(word, 0)", "run = table.get(word, end)")
    assert sorted(defaults(ast.parse("\n".join(lines)))) == [2, 4]


def test_no_table_has_one() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [
        f"{file.relative_to(ROOT)}:{line}" for file in files for line in defaults(ast.parse(file.read_text()))
    ]
    assert found == []
