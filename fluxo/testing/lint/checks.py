"""
What one workflow, or one plain function that a workflow calls, does wrong.

Owns: the visit of a function's body. Must not know files or comments. Theory: a step's result is in the log, all else
is computed again; so only steps may look at the world, and their order may depend on the log alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from fluxo.replay import advice as rules
from fluxo.testing.lint.names import FunctionNode, Scope, own_nodes
from fluxo.testing.lint.program import Function, Kind, Program
from fluxo.testing.lint.state import written_state
from fluxo.testing.lint.traits import Traits

__all__ = ["Check", "Place", "checked"]

Place = tuple[int, int, rules.Rule, str]
_STARTS_TASK = {"create_task", "ensure_future", "submit"}
_SHIELDS = {"fluxo.shield", "asyncio.shield"}
_FAN_IN = {"gather", "wait_any", "as_completed", "wait"}


class Check(ast.NodeVisitor):
    """The findings in one function, and the functions it uses."""

    def __init__(self, program: Program, traits: Traits, state: set[str], function: Function) -> None:
        self.program = program
        self.traits = traits
        self.state = state
        self.function = function
        self.scope: Scope = function.scope
        self.places: list[Place] = []
        self.uses: list[Function] = []
        self.in_finally = False
        self.shielded = False
        for statement in function.node.body:
            self.visit(statement)

    def found(self, node: ast.expr | ast.stmt | ast.excepthandler, rule: rules.Rule, what: str) -> None:
        """Note a finding at `node`."""
        self.places.append((node.lineno, node.col_offset + 1, rule, what))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A nested function is looked at where it is used; only its defaults are evaluated here."""
        self._defaults(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """As `visit_FunctionDef`."""
        self._defaults(node)

    def _defaults(self, node: FunctionNode) -> None:
        for default in (*node.args.defaults, *(default for default in node.args.kw_defaults if default)):
            self.visit(default)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """A lambda's body counts where it stands."""
        outer, self.scope = self.scope, self.scope.child(node)
        self.visit(node.body)
        self.scope = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """An annotation is not evaluated."""
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        """A name that breaks a rule, or a function that is used."""
        self._reference(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """As `visit_Name`, for the whole chain of dots at once."""
        if not self._reference(node):
            self.visit(node.value)

    def _reference(self, node: ast.Name | ast.Attribute) -> bool:
        """Look at a name; whether there is nothing left to look at below it."""
        variable = self.scope.variable(node)
        if variable is not None and self.program.canonical(variable, variable=True) in self.state:
            self.found(node, rules.STATE, variable)
            return True
        name = self.scope.resolve(node)
        if name is None:
            return False
        canonical = self.program.canonical(name)
        used = self.program.function(canonical)
        if used is not None and used.kind is Kind.PLAIN:
            self.uses.append(used)
        self.uses.extend(self.program.made_by(canonical))
        rule = rules.rule_for(canonical)
        if rule is not None and isinstance(node.ctx, ast.Load):
            self.found(node, rule, canonical.replace("()", "").removeprefix("builtins."))
            return True
        return False

    def visit_For(self, node: ast.For) -> None:
        """A loop over a set whose body acts."""
        if self.traits.unordered(node.iter, self.scope) and self.traits.act(node.body, self.scope):
            self.found(node.iter, rules.SETS, "this loop")
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """A comprehension over a set whose element acts."""
        self._comprehension(node, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """As `visit_ListComp`."""
        self._comprehension(node, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """As `visit_ListComp`."""
        self._comprehension(node, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """As `visit_ListComp`."""
        self._comprehension(node, [node.key, node.value])

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, elements: list[ast.expr]
    ) -> None:
        conditions = [condition for generator in node.generators for condition in generator.ifs]
        if self.traits.act([*elements, *conditions], self.scope):
            for generator in node.generators:
                if self.traits.unordered(generator.iter, self.scope):
                    self.found(generator.iter, rules.SETS, "this comprehension")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """A call: of a step in finally, with a set, or of what gives no order."""
        name = self.program.canonical(self.scope.resolve(node.func) or "")
        outer = self.shielded
        self.shielded = outer or name in _SHIELDS
        if self.in_finally and not self.shielded and self.traits.calls_step(node, self.scope):
            self.found(node, rules.FINALLY, name.replace("()", "").rpartition(".")[2] or "a call")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor":
            self.found(node, rules.THREADS, "run_in_executor")
        if name == "random.Random" and not node.args and not node.keywords:
            self.found(node, rules.RANDOM, "random.Random() without a seed")
        if name == "asyncio.as_completed" and node.args and self._holds_coroutines(node.args[0]):
            self.found(node, rules.NO_ORDER, name)
        self._sets_in(node, name)
        self.generic_visit(node)
        self.shielded = outer

    def _sets_in(self, node: ast.Call, name: str) -> None:
        last = name.rpartition(".")[2]
        if last == "map" and self.traits.step(node, self.scope) is not None:
            given: list[ast.expr] = node.args
        elif name.startswith(("fluxo.", "asyncio.")) and last in _FAN_IN - {"wait"}:
            given = [arg.value if isinstance(arg, ast.Starred) else arg for arg in node.args]
        else:
            given = []
        for argument in given:
            # A comprehension that acts itself is found by itself.
            inner = argument.generators if isinstance(argument, ast.ListComp | ast.SetComp | ast.GeneratorExp) else []
            reported = self.traits.act([argument], self.scope) and any(
                self.traits.unordered(generator.iter, self.scope) for generator in inner
            )
            if self.traits.unordered(argument, self.scope) and not reported:
                self.found(argument, rules.SETS, f"an argument of {last}")
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr="pop"), args=[]):
                if self.traits.unordered(value, self.scope, itself=True):
                    self.found(node, rules.SETS, "set.pop")
            case _:
                pass

    def _holds_coroutines(self, argument: ast.expr) -> bool:
        return any(
            isinstance(element, ast.Call) and _last(element.func) not in _STARTS_TASK
            for element in self._elements(argument)
        )

    def _elements(self, node: ast.expr) -> Iterable[ast.expr]:
        match self.traits.value(node, self.scope):
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return elements
            case ast.ListComp(elt=element) | ast.SetComp(elt=element) | ast.GeneratorExp(elt=element):
                return [element]
            case _:
                return ()

    def visit_Expr(self, node: ast.Expr) -> None:
        """A statement that is a call: what it starts must not be dropped."""
        if isinstance(node.value, ast.Call) and self.traits.dropped(node.value, self.scope, self.function.is_async):
            name = (self.scope.resolve(node.value.func) or "").split(".")
            self.found(node, rules.UNAWAITED, ".".join(name[-2:]).replace("()", "") + "(...)")
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        """What the handlers catch, and what runs in finally."""
        acts = self.traits.act(node.body, self.scope)
        for handler in node.handlers:
            if acts and self._catches_all(handler.type) and not _reraises(handler.body):
                self.found(handler, rules.EXCEPT, "except:" if handler.type is None else "except BaseException")
        for part in (node.body, node.orelse):
            self._visit_all(part)
        for handler in node.handlers:
            self._visit_all(handler.body)
        outer, self.in_finally = self.in_finally, True
        self._visit_all(node.finalbody)
        self.in_finally = outer

    def visit_TryStar(self, node: ast.TryStar) -> None:
        """As `visit_Try`."""
        self.visit_Try(ast.Try(node.body, node.handlers, node.orelse, node.finalbody))

    def _catches_all(self, caught: ast.expr | None) -> bool:
        if isinstance(caught, ast.Tuple):
            return any(self._catches_all(each) for each in caught.elts)
        return caught is None or self.scope.resolve(caught) == "builtins.BaseException"

    def visit_With(self, node: ast.With) -> None:
        """What a shield protects, and what ``suppress(BaseException)`` catches."""
        outer = self.shielded
        for item in node.items:
            self.visit(item.context_expr)
            match item.context_expr:
                case ast.Call(func=func, args=args):
                    name = self.program.canonical(self.scope.resolve(func) or "")
                    self.shielded = self.shielded or name == "fluxo.shield"
                    suppresses = name == "contextlib.suppress" and any(self._catches_all(arg) for arg in args)
                    if suppresses and self.traits.act(node.body, self.scope):
                        self.found(item.context_expr, rules.EXCEPT, "suppress(BaseException)")
                case _:
                    pass
        self._visit_all(node.body)
        self.shielded = outer

    def _visit_all(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.visit(statement)


def _last(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _reraises(body: list[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Raise) for node in own_nodes(body))


def checked(program: Program) -> Iterator[tuple[Function, Function, list[Place]]]:
    """Each function that workflows reach, with one workflow that reaches it, and what is found in it."""
    traits = Traits(program)
    state = written_state(program)
    seen: set[FunctionNode] = set()
    roots = [function for function in program.functions.values() if function.kind is Kind.WORKFLOW]
    for root in sorted(roots, key=lambda function: (function.module.path, function.node.lineno, function.name)):
        waiting = [root]
        while waiting:
            function = waiting.pop()
            if function.node not in seen:
                seen.add(function.node)
                check = Check(program, traits, state, function)
                waiting.extend(check.uses)
                yield function, root, check.places
