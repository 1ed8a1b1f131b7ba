"""
What may be decorated, under which names and with which options.

Owns: the checks at decoration and the registry's rule. Must not know runs.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fluxo import (
    AsyncStep,
    AsyncWorkflow,
    ConfigurationError,
    DuplicateNameError,
    Retry,
    Step,
    UsageError,
    Workflow,
    step,
    workflow,
)
from fluxo.authoring.registry import find_workflow

SOURCE = """
from fluxo import step, workflow

@step(name="module under reload: step")
def one() -> int:
    return 1

@workflow(name="module under reload")
def flow() -> int:
    return one()
"""


@pytest.fixture
def module_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "module_under_reload.py"
    path.write_text(SOURCE.replace("under reload", f"under reload in {tmp_path.name}"))
    yield path
    sys.modules.pop("module_under_reload", None)


def load(path: Path, name: str = "module_under_reload") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_colour_of_the_function_is_the_colour_of_what_it_becomes() -> None:
    def plain() -> None: ...

    async def later() -> None: ...

    assert type(step(plain)) is Step
    assert type(step(later)) is AsyncStep
    assert type(workflow(plain)) is Workflow
    assert type(workflow(later)) is AsyncWorkflow
    assert type(step(timeout=1)(plain)) is Step
    assert type(workflow(version="2")(later)) is AsyncWorkflow


def test_the_default_name_is_the_qualified_name() -> None:
    @step
    def pack() -> None: ...

    assert pack.name == "test_the_default_name_is_the_qualified_name.<locals>.pack"


def test_the_same_source_registered_again_replaces_silently(module_file: Path) -> None:
    first = load(module_file)
    second = load(module_file)
    assert first.flow is not second.flow
    assert find_workflow(first.flow.name, "1") is second.flow


def test_a_module_run_as_main_is_the_same_source(module_file: Path) -> None:
    imported = load(module_file)
    main = load(module_file, "another_name_for_it")
    assert find_workflow(imported.flow.name, "1") is main.flow
    del sys.modules["another_name_for_it"]


def test_another_function_under_a_taken_workflow_name_is_refused() -> None:
    @workflow(name="taken workflow")
    def first() -> None: ...

    def second() -> None: ...

    with pytest.raises(
        DuplicateNameError, match="workflow 'taken workflow' version '1' is already registered"
    ) as refused:
        workflow(name="taken workflow")(second)
    assert "first (" in str(refused.value)
    assert "second (" in str(refused.value)
    assert str(Path(__file__)) in str(refused.value)
    assert find_workflow("taken workflow", "1") is first


def test_another_version_is_another_workflow() -> None:
    @workflow(name="versioned")
    def old() -> None: ...

    @workflow(name="versioned", version="2")
    def new() -> None: ...

    assert find_workflow("versioned", "1") is old
    assert find_workflow("versioned", "2") is new


def test_another_function_under_a_taken_step_name_is_refused() -> None:
    @step(name="taken step")
    def first() -> None: ...

    def second() -> None: ...

    with pytest.raises(DuplicateNameError, match="step 'taken step'"):
        step(name="taken step")(second)
    assert first.name == "taken step"


def test_functions_behind_one_decorator_are_told_apart() -> None:
    def logged(fn: Any) -> Any:
        @functools.wraps(fn)
        def call(*args: Any) -> Any:
            return fn(*args)

        return call

    @logged
    def first() -> None: ...

    @logged
    def second() -> None: ...

    second.__qualname__ = first.__qualname__
    assert step(name="behind a decorator")(first)() is None
    with pytest.raises(DuplicateNameError, match="behind a decorator"):
        step(name="behind a decorator")(second)


def test_attributes_of_the_function_are_kept_and_hide_nothing() -> None:
    def pack() -> str:
        return "packed"

    pack.owner, pack.fn, pack.bound = "Ada", "not this", "nor this"  # type: ignore[attr-defined]
    decorated: Any = step(pack)
    assert decorated.owner == "Ada"
    assert decorated() == "packed"


def test_a_step_and_a_workflow_may_share_a_name() -> None:
    @step(name="shared name")
    def one() -> None: ...

    @workflow(name="shared name")
    def two() -> None: ...

    assert one.name == two.name


@pytest.mark.parametrize("decorator", [step, workflow])
def test_what_is_no_function_is_refused(decorator: Any) -> None:
    with pytest.raises(UsageError, match="decorates functions and methods, not type"):
        decorator(int)
    with pytest.raises(UsageError, match="not partial"):
        decorator(functools.partial(print, "x"))
    with pytest.raises(UsageError, match="not str"):
        decorator("name")


@pytest.mark.parametrize("decorator", [step, workflow])
def test_generators_are_refused(decorator: Any) -> None:
    def one_by_one() -> Any:
        yield 1

    async def one_by_one_later() -> Any:
        yield 1

    for generator in (one_by_one, one_by_one_later):
        with pytest.raises(UsageError, match="cannot decorate a generator: return a list"):
            decorator(generator)


@pytest.mark.parametrize("decorator", [step, workflow])
def test_class_methods_are_refused_in_either_order(decorator: Any) -> None:
    with pytest.raises(UsageError, match="use a @staticmethod"):

        class Below:
            @classmethod
            @decorator
            def make(cls) -> None: ...

    with pytest.raises(UsageError, match="@classmethod is not supported at all"):

        class Above:
            @decorator
            @classmethod
            def make(cls) -> None: ...


@pytest.mark.parametrize("decorator", [step, workflow])
def test_a_class_in_place_of_an_instance_is_refused(decorator: Any) -> None:
    class Shop:
        @decorator
        def make(klass) -> None: ...  # noqa: N805 - a class method that the decorator could not tell

    # What @classmethod asks for up to Python 3.12.
    with pytest.raises(UsageError, match=r"use a @staticmethod"):
        Shop.__dict__["make"].__get__(Shop, Shop)


@pytest.mark.parametrize("decorator", [step, workflow])
def test_a_static_method_is_decorated_below(decorator: Any) -> None:
    with pytest.raises(UsageError, match=r"must stand below @staticmethod"):

        class Shop:
            @decorator
            @staticmethod
            def pack() -> None: ...


def test_options_return_a_copy_and_leave_the_original() -> None:
    @step(retry=Retry(max_attempts=2), timeout=5)
    def charge() -> None: ...

    quick = charge.options(timeout=timedelta(seconds=1))
    assert quick is not charge
    assert (quick.options_.timeout_s, charge.options_.timeout_s) == (1.0, 5.0)
    assert quick.options_.retry is charge.options_.retry
    assert type(quick) is Step


def test_options_of_a_workflow_do_not_mix_with_its_arguments() -> None:
    @workflow(queue="slow", timeout=60)
    def flow(id: str, queue: str) -> str:
        return id + queue

    vip = flow.options(id="order-42", queue="vip")
    assert (vip.options_.id, vip.options_.queue, vip.options_.timeout_s) == ("order-42", "vip", 60.0)
    assert (flow.options_.id, flow.options_.queue) == (None, "slow")
    assert vip("a", queue="b") == "ab"


@pytest.mark.parametrize("name", ["", " ", "a ", "\n", "a\nb", "x" * 256, "\ud800"])
def test_names_that_cannot_serve_are_refused(name: str) -> None:
    def pack() -> None: ...

    with pytest.raises(UsageError, match="is not usable: 1 to 255 characters"):
        workflow(name=name or " ")(pack)
    with pytest.raises(UsageError, match="is not usable"):
        workflow(pack).options(id=name)
    with pytest.raises(UsageError, match="is not usable"):
        workflow(pack).options(queue=name)


def test_a_name_that_is_no_string_is_refused() -> None:
    def pack() -> None: ...

    with pytest.raises(UsageError, match="step name must be a string, not int"):
        step(name=7)(pack)  # type: ignore[call-overload]


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), timedelta(0), "5", True])
def test_timeouts_that_cannot_be_meant_are_refused(timeout: Any) -> None:
    def pack() -> None: ...

    for decorator in (step, workflow):
        with pytest.raises(ConfigurationError, match="timeout= of "):
            decorator(timeout=timeout)(pack)


def test_a_retry_that_is_none_is_refused_by_name() -> None:
    def pack() -> None: ...

    with pytest.raises(UsageError, match=r"retry= of step .* must be a fluxo\.Retry, not int"):
        step(retry=3)(pack)  # type: ignore[call-overload]
