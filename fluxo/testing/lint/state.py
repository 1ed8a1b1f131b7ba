"""
Variables of modules that functions change.

Owns: what counts as a change. Must not know workflows: a change made anywhere can be seen by a workflow that reads.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fluxo.testing.lint.names import Scope, own_nodes
from fluxo.testing.lint.program import Program

__all__ = ["written_state"]

_MUTATORS = {
    "add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert", "pop", "popitem", "popleft",
    "remove", "reverse", "rotate", "setdefault", "sort", "update", "subtract", "difference_update",
    "intersection_update", "symmetric_difference_update",
}  # fmt: skip
_CONTAINERS = {
    "builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", "collections.defaultdict",
    "collections.deque", "collections.Counter", "collections.OrderedDict",
}  # fmt: skip
_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def written_state(program: Program) -> set[str]:
    """Qualified names of the modules' variables that some function of the project changes."""
    variables = dict(_variables(program))
    written: set[str] = set()
    for function in program.functions.values():
        for node in own_nodes(function.node.body):
            for changed, by_method in _changes(node, function.scope):
                name = program.canonical(changed, variable=True)
                if variables.get(name, False) or (name in variables and not by_method):
                    written.add(name)
    return written


def _variables(program: Program) -> Iterator[tuple[str, bool]]:
    """Each variable of a module, and whether it holds a container."""
    for module in program.modules.values():
        for node in own_nodes(module.tree.body):
            match node:
                case ast.Assign(targets=targets, value=value):
                    names = [target.id for target in targets if isinstance(target, ast.Name)]
                    yield from ((f"{module.name}.{name}", _is_container(value, module.scope)) for name in names)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    yield f"{module.name}.{name}", _is_container(value, module.scope)
                case _:
                    pass


def _is_container(value: ast.expr, scope: Scope) -> bool:
    if isinstance(value, ast.Call):
        return scope.resolve(value.func) in _CONTAINERS
    return isinstance(value, _DISPLAYS)


def _changes(node: ast.AST, scope: Scope) -> Iterator[tuple[str, bool]]:
    """The variables that `node` itself changes, and whether it does so by calling a method."""
    target: ast.expr | None = None
    by_method = False
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if name in scope.globals:
            target = node
        case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
            target = value
        case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
            changed = scope.variable(node)
            if changed is not None:
                yield changed, False
            target = value
        case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in _MUTATORS:
            target, by_method = value, True
        case ast.AugAssign(target=ast.Name() as augmented):
            target = augmented
        case _:
            pass
    while isinstance(target, ast.Subscript):
        target = target.value
    changed = None if target is None else scope.variable(target)
    if changed is not None:
        yield changed, by_method
