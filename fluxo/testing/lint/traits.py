"""
What an expression is to a replay: a call of a step, a wait, or something without an order.

Owns: those three questions, followed through plain functions. Must not know which answers are wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from fluxo.testing.lint.names import Scope, own_nodes
from fluxo.testing.lint.program import Function, Kind, Program

__all__ = ["Traits"]

_SETS = {"set", "frozenset", "collections.abc.Set", "typing.AbstractSet", "typing.Set", "typing.FrozenSet"}
_KEEPS_ORDER = {"list", "tuple", "iter", "enumerate", "reversed", "zip", "map", "filter", "dict.fromkeys"}
_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference", "copy"}
_WAITS = {
    "sleep", "sleep_until", "wait_signal", "wait_any_signal", "gather", "wait_any", "as_completed", "wait", "signal",
}  # fmt: skip
_DEPTH_MAX = 20


class Traits:
    """Answers about expressions, with those about whole functions kept."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._acting: dict[tuple[Function, bool], bool] = {}

    def step(self, call: ast.Call, scope: Scope) -> Function | None:
        """The step or child workflow that `call` starts, in any spelling."""
        name = scope.resolve(call.func)
        for ending in ("", ".submit", ".aio.map", ".aio", ".map"):
            if name is not None and name.endswith(ending):
                found = self._program.function(name.removesuffix(ending) if ending else name)
                if found is not None and found.kind is not Kind.PLAIN:
                    return found
        return None

    def act(self, nodes: Iterable[ast.AST], scope: Scope) -> bool:
        """Whether running `nodes` calls a step or waits."""
        return any(self._acts(node, scope, waits=True) for node in own_nodes(nodes))

    def calls_step(self, call: ast.Call, scope: Scope) -> bool:
        """Whether `call` is of a step, or of a function that calls one."""
        return self._acts(call, scope, waits=False)

    def _acts(self, node: ast.AST, scope: Scope, *, waits: bool) -> bool:
        if waits and isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if not isinstance(node, ast.Call):
            return False
        if self.step(node, scope) is not None:
            return True
        name = self._program.canonical(scope.resolve(node.func) or "")
        if waits and name.startswith("fluxo.") and name.rpartition(".")[2] in _WAITS:
            return True
        if waits and isinstance(node.func, ast.Attribute) and node.func.attr == "result" and not node.args:
            return True
        called = self._program.function(name)
        return called is not None and called.kind is Kind.PLAIN and self._function_acts(called, waits)

    def _function_acts(self, function: Function, waits: bool) -> bool:
        key = (function, waits)
        if key not in self._acting:
            self._acting[key] = False
            body = own_nodes(function.node.body)
            self._acting[key] = any(self._acts(node, function.scope, waits=waits) for node in body)
        return self._acting[key]

    def dropped(self, call: ast.Call, scope: Scope, in_async: bool) -> bool:
        """Whether `call`, as a statement, starts something that nobody waits for."""
        name = scope.resolve(call.func)
        started = self.step(call, scope)
        if started is not None and name is not None:
            if name.endswith(".submit"):
                return True
            whole = self._program.function(name)
            spelled_out = name.endswith((".aio", ".aio.map")) or (whole is started and started.is_async)
            return in_async and spelled_out
        if name is None or not in_async:
            return False
        canonical = self._program.canonical(name)
        called = self._program.function(canonical)
        is_coroutine = called is not None and called.is_async
        return is_coroutine or canonical.startswith("fluxo.aio.") or canonical == "asyncio.sleep"

    def value(self, node: ast.expr, scope: Scope) -> ast.expr:
        """`node`, or what was assigned to the variable it names."""
        for _ in range(_DEPTH_MAX):
            if not isinstance(node, ast.Name):
                break
            home = scope.home(node.id)
            bound = None if home is None else home.bindings[node.id]
            if home is None or not isinstance(bound, ast.expr) or node.id in home.annotated:
                break
            node, scope = bound, home
        return node

    def unordered(self, node: ast.expr, scope: Scope, *, itself: bool = False, depth: int = 0) -> bool:
        """Whether iterating `node` follows the order of a set; with `itself`, whether it is a set."""
        if depth > _DEPTH_MAX:
            return False

        def again(inner: ast.expr) -> bool:
            return self.unordered(inner, scope, itself=itself, depth=depth + 1)

        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.ListComp(generators=generators) | ast.GeneratorExp(generators=generators):
                return not itself and any(again(generator.iter) for generator in generators)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return again(left) or again(right)
            case ast.IfExp(body=body, orelse=orelse):
                return again(body) or again(orelse)
            case ast.NamedExpr(value=value) | ast.Starred(value=value):
                return again(value)
            case ast.Call(func=func, args=args):
                called = (scope.resolve(func) or "").removeprefix("builtins.")
                if called in _SETS:
                    return True
                if isinstance(func, ast.Attribute) and func.attr in _SET_METHODS:
                    return self.unordered(func.value, scope, itself=True, depth=depth + 1)
                return not itself and called in _KEEPS_ORDER and any(again(arg) for arg in args)
            case ast.Name(id=name):
                return self._name_is_set(name, scope, itself, depth)
            case _:
                return False

    def _name_is_set(self, name: str, scope: Scope, itself: bool, depth: int) -> bool:
        home = scope.home(name)
        bound = None if home is None else home.bindings[name]
        if home is None or not isinstance(bound, ast.expr):
            return False
        if name not in home.annotated:
            return self.unordered(bound, home, itself=itself, depth=depth + 1)
        annotation = bound.value if isinstance(bound, ast.Subscript) else bound
        return (home.resolve(annotation) or "").removeprefix("builtins.") in _SETS
