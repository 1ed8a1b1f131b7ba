"""
The project under the paths: its modules, its workflows and steps, and the plain functions that workflows call.

Owns: which function a qualified name means, through re-exports. Must not know rules. Theory: what cannot be found under
the paths is not followed, and a step's body is free to do what it likes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from importlib.util import decode_source
from pathlib import Path

from fluxo.testing.lint.names import FunctionNode, Scope, own_nodes

__all__ = ["Function", "Kind", "Module", "Program", "Unreadable", "load"]

_STEP = {"fluxo.step", "fluxo.authoring.step.step"}
_WORKFLOW = {"fluxo.workflow", "fluxo.authoring.workflow.workflow"}
_REEXPORTS_MAX = 20


class Kind(Enum):
    """What a function is to fluxo."""

    WORKFLOW = "workflow"
    STEP = "step"
    PLAIN = "plain"


@dataclass(frozen=True, eq=False)
class Function:
    """A function of the project, and the scope inside it."""

    name: str
    kind: Kind
    node: FunctionNode
    module: Module
    scope: Scope

    @property
    def is_async(self) -> bool:
        """Whether calling it makes a coroutine."""
        return isinstance(self.node, ast.AsyncFunctionDef)


@dataclass(eq=False)
class Module:
    """A source file that could be read."""

    name: str
    path: str
    source: str
    tree: ast.Module
    scope: Scope


@dataclass(frozen=True)
class Unreadable:
    """A source file that could not be read, and where it goes wrong."""

    path: str
    line: int
    column: int
    problem: str


@dataclass
class Program:
    """All modules and functions under the paths, by qualified name."""

    modules: dict[str, Module] = field(default_factory=dict[str, Module])
    functions: dict[str, Function] = field(default_factory=dict[str, Function])
    bases: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    unreadable: list[Unreadable] = field(default_factory=list[Unreadable])
    _short: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, module: Module) -> None:
        """Take in a module; functions are found by `define` when all modules are known."""
        self.modules[module.name] = module
        parts = module.name.split(".")
        for start in range(1, len(parts)):
            # `src/shop/flow.py` is imported as `shop.flow`.
            if parts[start] not in sys.stdlib_module_names:
                self._short.setdefault(".".join(parts[start:]), module.name)

    def define(self) -> None:
        """Find the functions of all modules."""
        for module in self.modules.values():
            self._define(module, module.tree.body, module.scope, "")
            for statement in module.tree.body:
                self._define_by_call(module, statement)

    def _define(self, module: Module, body: Iterable[ast.AST], scope: Scope, owner: str) -> None:
        for node in own_nodes(body):
            if isinstance(node, ast.ClassDef):
                name = f"{owner or scope.prefix}.{node.name}"
                self.bases[name] = [base for expr in node.bases if (base := scope.resolve(expr))]
                self._define(module, node.body, scope, name)
            elif isinstance(node, FunctionNode):
                name = f"{owner or scope.prefix}.{node.name}"
                decorators = {self._decorator(scope, decorator) for decorator in node.decorator_list}
                inside = scope.child(node, "" if "staticmethod" in decorators else owner)
                self.functions[name] = Function(name, _kind(decorators), node, module, inside)
                self._define(module, node.body, inside, "")

    def _decorator(self, scope: Scope, node: ast.expr) -> str:
        name = (scope.resolve(node) or "").removesuffix("()")
        return self.canonical(name).removeprefix("builtins.")

    def _define_by_call(self, module: Module, statement: ast.stmt) -> None:
        """``charge = step(_charge)`` and ``charge = step(retry=...)(_charge)``."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=func, args=[wrapped])):
                kind = _kind({self._decorator(module.scope, func)})
                inner = self.function(module.scope.resolve(wrapped))
                if kind is not Kind.PLAIN and inner is not None:
                    whole = f"{module.name}.{name}"
                    module.scope.bindings[name] = whole
                    self.functions[whole] = Function(whole, kind, inner.node, inner.module, inner.scope)
            case _:
                pass

    def canonical(self, name: str, followed: int = 0, *, variable: bool = False) -> str:
        """`name` as the module spells it that defines it; of a `variable` the place, not what it holds."""
        parts = name.split(".")
        for end in range(len(parts) - 1, 0, -1):
            prefix = ".".join(parts[:end])
            module = self.modules.get(prefix) or self.modules.get(self._short.get(prefix, ""))
            if module is None:
                continue
            attr, call = parts[end].removesuffix("()"), "()" * parts[end].endswith("()")
            rest = "".join(f".{part}" for part in parts[end + 1 :])
            here = f"{module.name}.{attr}"
            target = module.scope.bindings.get(attr)
            if isinstance(target, ast.expr):
                target = None if variable else module.scope.resolve(ast.Name(attr))
            if target is None or target == here or followed > _REEXPORTS_MAX:
                return f"{here}{call}{rest}"
            return self.canonical(f"{target}{call}{rest}", followed + 1, variable=variable)
        return name

    def function(self, name: str | None) -> Function | None:
        """The function of the project that `name` is, if it is one."""
        return None if name is None else self._method(self.canonical(name).replace("()", ""), 0)

    def _method(self, name: str, followed: int) -> Function | None:
        found = self.functions.get(name)
        if found is not None or followed > _REEXPORTS_MAX:
            return found
        owner, _, method = name.rpartition(".")
        for base in self.bases.get(owner, ()):
            found = self._method(f"{self.canonical(base)}.{method}", followed + 1)
            if found is not None:
                return found
        return None

    def made_by(self, name: str | None) -> Iterator[Function]:
        """What runs when the class `name` is called."""
        whole = "" if name is None else self.canonical(name)
        if whole in self.bases:
            for method in ("__init__", "__post_init__"):
                found = self._method(f"{whole}.{method}", 0)
                if found is not None:
                    yield found


def _kind(decorators: set[str]) -> Kind:
    if decorators & _WORKFLOW:
        return Kind.WORKFLOW
    return Kind.STEP if decorators & _STEP else Kind.PLAIN


def load(paths: Iterable[Path]) -> Program:
    """Read every source file under `paths`; none of them is executed."""
    program = Program()
    for path in sorted(set(paths)):
        if path.is_dir():
            for file in sorted(path.rglob("*.py")):
                # Neither version control nor virtual environments are the project's own code.
                folders = file.relative_to(path).parts[:-1]
                if "site-packages" not in folders and not any(folder.startswith(".") for folder in folders):
                    _read(program, file, path)
        else:
            _read(program, path, path.parent)
    program.define()
    return program


def _read(program: Program, file: Path, base: Path) -> None:
    if any(folder.name == "fluxo" and (folder / "py.typed").is_file() for folder in file.absolute().parents):
        # What fluxo does inside is its own business; its public names are what workflows may use.
        return
    base = base.absolute()
    while (base / "__init__.py").is_file():
        base = base.parent
    package = file.name == "__init__.py"
    whole = file.absolute()
    name = ".".join((whole.parent if package else whole.with_suffix("")).relative_to(base).parts)
    if name in program.modules:
        # Two folders that know nothing of each other may both have a flow.py.
        name = f"{name}@{len(program.modules)}"
    try:
        source = file.read_bytes()
        tree = ast.parse(source, str(file))
        text = decode_source(source)
    except SyntaxError as problem:
        unreadable = Unreadable(str(file), problem.lineno or 1, problem.offset or 1, problem.msg)
        program.unreadable.append(unreadable)
        return
    except (ValueError, RecursionError) as problem:
        program.unreadable.append(Unreadable(str(file), 1, 1, str(problem)))
        return
    scope = Scope(name, package=package)
    scope.bind(tree.body)
    program.add(Module(name, str(file), text, tree, scope))
