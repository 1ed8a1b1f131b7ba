"""
The error tree: drawn as it is, every class picklable, every message filled.

Owns: what holds for each error alike. Must not know when an error is raised. The tree is read from the
docstring of `fluxo.errors`, so that drawing and classes cannot part.
"""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import re
import typing

import pytest

from fluxo import errors

CLASSES: list[type[BaseException]] = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)
]
SAMPLES: dict[object, object] = {str: "order-42", int: 7, float: 1.5, str | None: "run-1"}
CONTROL_FLOW = {"Suspend", "Cancelled"}

_ENTRY = re.compile(r"^ *(?P<branches>[│├└─ ]*)(?P<names>[A-Z]\w+(?:\(\w+\))?(?: [·─] [A-Z]\w+)*)(?P<rest>.*)$")
_STEP = 3
"""Columns per level of the drawing."""


def an_error(cls: type[BaseException]) -> BaseException:
    """An instance, its arguments chosen by the annotations of the constructor."""
    if "__init__" not in vars(cls):
        return cls("what happened; what to do next")
    hints = typing.get_type_hints(cls.__init__)
    chosen = {name: SAMPLES[hints[name]] for name in inspect.signature(cls).parameters}
    return cls(**chosen)


def drawn() -> dict[str, tuple[str, str | None]]:
    """Each class of the drawing with its parent and the further base its line names, if any."""
    text = inspect.cleandoc(errors.__doc__ or "").partition("::\n\n")[2].partition("\n\n")[0]
    tree: dict[str, tuple[str, str | None]] = {}
    above: list[str] = []
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry is None or line.strip().startswith("Control flow"):
            above = []
            continue
        depth = len(entry["branches"]) // _STEP
        parents, _, children = entry["names"].rpartition(" ─ ")
        also = re.search(r"\(also (\w+)\)", entry["rest"])
        parent = above[depth - 1] if depth else "BaseException"
        if parents:
            tree[parents] = (parent, None)
            parent = parents
        for name in children.split(" · "):
            name, _, base = name.rstrip(")").partition("(")
            tree[name] = (base or parent, also[1] if also else None)
            above[depth:] = [name]
    return tree


def named(name: str) -> type[BaseException]:
    found: object = getattr(errors, name, None) or getattr(builtins, name)
    assert isinstance(found, type)
    assert issubclass(found, BaseException)
    return found


DRAWN = drawn()


def test_the_drawing_shows_every_error_once() -> None:
    assert sorted(DRAWN) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("name", sorted(DRAWN))
def test_an_error_derives_from_what_is_drawn_above_it(name: str) -> None:
    parent, also = DRAWN[name]
    assert named(parent) in named(name).__bases__
    assert also is None or named(also) in named(name).__bases__


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling_and_copying(cls: type[BaseException]) -> None:
    error = an_error(cls)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - what pickle makes of it is the point
        assert type(twin) is cls
        assert twin.args == error.args
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_has_a_message_that_names_what_it_was_given(cls: type[BaseException]) -> None:
    error = an_error(cls)
    message = str(error)
    assert message.strip()
    assert all(str(value) in message for value in error.args)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_says_in_its_docstring_when_it_is_raised(cls: type[BaseException]) -> None:
    assert (vars(cls).get("__doc__") or "").strip()


@pytest.mark.parametrize("cls", CLASSES)
def test_only_control_flow_passes_through_except_exception(cls: type[BaseException]) -> None:
    assert issubclass(cls, errors.FluxoError) is (cls.__name__ not in CONTROL_FLOW)
    assert issubclass(cls, Exception) is (cls.__name__ not in CONTROL_FLOW)
