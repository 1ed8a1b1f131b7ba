"""
What a name in a source file stands for.

Owns: imports, aliases and local variables, resolved to qualified names. Must not know rules, or other files. Theory:
nothing is executed, so a name means what its one assignment, annotation or import
says; assigned twice, it means nothing.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator

__all__ = ["FunctionNode", "Scope", "own_nodes"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Binding = str | ast.expr | None
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_FOLLOWED_MAX = 20


def own_nodes(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Each node below `nodes`, without the insides of nested functions and classes."""
    for node in nodes:
        yield node
        if not isinstance(node, _SCOPES):
            yield from own_nodes(ast.iter_child_nodes(node))


class Scope:
    """The names of a module, or of a function inside one."""

    def __init__(self, module: str, *, package: bool = False, parent: Scope | None = None) -> None:
        self.module = module
        self.package = package
        self.parent = parent
        self.prefix = module
        self.bindings: dict[str, Binding] = {}
        self.annotated: set[str] = set()
        self.globals: set[str] = set()

    @property
    def top(self) -> Scope:
        """The scope of the module."""
        return self if self.parent is None else self.parent.top

    def child(self, node: FunctionNode | ast.Lambda, owner: str = "") -> Scope:
        """The scope inside the function `node`; `owner` is the qualified name of its class, if it is a method."""
        scope = Scope(self.module, package=self.package, parent=self)
        scope.prefix = f"{owner or self.prefix}.{getattr(node, 'name', '<lambda>')}.<locals>"
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        for argument in (*positional, *arguments.kwonlyargs):
            scope.bindings[argument.arg] = argument.annotation
            if argument.annotation is not None:
                scope.annotated.add(argument.arg)
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                scope.bindings[rest.arg] = None
        if owner and positional:
            scope.bindings[positional[0].arg] = f"{owner}()"
            scope.annotated.discard(positional[0].arg)
        if not isinstance(node, ast.Lambda):
            scope.bind(node.body)
        return scope

    def bind(self, body: Iterable[ast.stmt]) -> None:
        """Take in what `body` imports, defines and assigns."""
        nodes = list(own_nodes(body))
        self.globals |= {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
        simple = {id(n.target) for n in nodes if isinstance(n, ast.AugAssign)}
        for node in nodes:
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        whole = alias.name if alias.asname else alias.name.partition(".")[0]
                        self.bindings[alias.asname or whole] = whole
                case ast.ImportFrom(names=names):
                    origin = self._origin(node)
                    self.bindings.update({alias.asname or alias.name: f"{origin}.{alias.name}" for alias in names})
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    self.bindings[name] = f"{self.prefix}.{name}"
                case ast.Assign(targets=[ast.Name(id=name) as target], value=value):
                    simple.add(id(target))
                    self._assign(name, value)
                case ast.AnnAssign(target=ast.Name(id=name) as target):
                    simple.add(id(target))
                    self._assign(name, node.annotation)
                    self.annotated.add(name)
                case ast.NamedExpr(target=target, value=value):
                    simple.add(id(target))
                    self._assign(target.id, value)
                case _:
                    pass
        for node in nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in simple:
                self._assign(node.id, None)

    def _assign(self, name: str, value: ast.expr | None) -> None:
        if name in self.globals:
            return
        self.bindings[name] = None if name in self.bindings else value

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        parts = parts[: len(parts) - node.level + self.package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def home(self, name: str) -> Scope | None:
        """The scope that gives `name` its meaning."""
        if name in self.globals:
            return self.top if name in self.top.bindings else None
        if name in self.bindings:
            return self
        return None if self.parent is None else self.parent.home(name)

    def resolve(self, node: ast.expr, followed: int = 0) -> str | None:
        """The qualified name of what `node` is; ``Class()`` for an instance of it; None where it cannot be told."""
        if followed > _FOLLOWED_MAX:
            return None
        match node:
            case ast.Name(id=name):
                return self._resolve_name(name, followed)
            case ast.Attribute(value=value, attr=attr):
                base = self.resolve(value, followed + 1)
                return None if base is None else f"{base}.{attr}"
            case ast.Call(func=func):
                called = self.resolve(func, followed + 1)
                if called is None or called.endswith(".options"):
                    return called and called.removesuffix(".options")
                return f"{called}()"
            case ast.BinOp(left=left, op=ast.Div()):
                # A path divided by something is a path.
                return self.resolve(left, followed + 1)
            case ast.Await(value=value):
                return self.resolve(value, followed + 1)
            case _:
                return None

    def _resolve_name(self, name: str, followed: int) -> str | None:
        home = self.home(name)
        if home is None:
            return f"builtins.{name}" if hasattr(builtins, name) else None
        bound = home.bindings[name]
        if bound is None or isinstance(bound, str):
            return bound
        if name not in home.annotated:
            return home.resolve(bound, followed + 1)
        promised = home.resolve(_unquoted(bound), followed + 1)
        return None if promised is None else f"{promised}()"

    def variable(self, node: ast.expr) -> str | None:
        """The qualified name of the module's own variable that `node` names, or of something imported."""
        match node:
            case ast.Name(id=name):
                home = self.home(name)
                if home is None:
                    return None
                bound = home.bindings[name]
                if isinstance(bound, str):
                    return bound
                return f"{self.module}.{name}" if home is self.top else None
            case ast.Attribute(value=value, attr=attr):
                base = self.variable(value)
                return None if base is None else f"{base}.{attr}"
            case _:
                return None


def _unquoted(annotation: ast.expr) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            return annotation
    return annotation
