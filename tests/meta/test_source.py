"""
The shape of the source: documented modules, short files, short functions, payloads that stay data.

Owns: the bounds on size and the ban on executing what a database holds. Must not know what the code does.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fluxo"
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(text, name) for name, text in SOURCES.items()}

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
EXECUTING_MODULES = {"cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve"}
EXECUTING_CALLS = {"eval", "exec"}


def functions() -> Iterator[tuple[str, int]]:
    """Each function of the package with its length in lines, its docstring and decorators included."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield f"{name}:{node.lineno} {node.name}", (node.end_lineno or first) - first + 1


def imports(node: ast.AST) -> Iterator[str]:
    """Names of the modules that `node` itself imports from."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module)):
            yield module


def executing(node: ast.AST) -> Iterator[str]:
    """What `node` itself imports or calls that would run what it is given."""
    yield from (module for module in imports(node) if module.partition(".")[0] in EXECUTING_MODULES)
    match node:
        case ast.Call(func=ast.Name(id=called)) if called in EXECUTING_CALLS:
            yield called
        case ast.Call(func=ast.Attribute(value=ast.Name(id="builtins"), attr=called)) if called in EXECUTING_CALLS:
            yield f"builtins.{called}"


def test_the_package_was_found() -> None:
    assert "fluxo/errors.py" in SOURCES


def test_every_module_says_what_it_owns() -> None:
    assert [name for name, tree in TREES.items() if not (ast.get_docstring(tree) or "").strip()] == []


def test_every_folder_of_the_package_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [folder.name for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {name: len(text.splitlines()) for name, text in SOURCES.items()}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    assert {name: length for name, length in functions() if length > FUNCTION_LINES_MAX} == {}


def test_nothing_in_the_package_executes_what_it_reads() -> None:
    found = [
        f"{name}:{getattr(node, 'lineno', 0)} {what}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        for what in executing(node)
    ]
    assert found == []


def test_the_ban_on_execution_sees_each_spelling() -> None:
    code = "import pickle\nfrom marshal import loads\neval('1')\nimport builtins\nbuiltins.exec('1')"
    found = [what for node in ast.walk(ast.parse(code)) for what in executing(node)]
    assert sorted(found) == ["builtins.exec", "eval", "marshal", "pickle"]


def test_the_errors_import_the_standard_library_only() -> None:
    imported = {module.partition(".")[0] for node in ast.walk(TREES["fluxo/errors.py"]) for module in imports(node)}
    assert imported - sys.stdlib_module_names == set()


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
