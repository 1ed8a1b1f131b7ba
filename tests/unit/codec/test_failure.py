"""
Errors to their portable form and back, live and on replay.

Owns: the rulings about which errors come back as their own class. Must not know how they are rebuilt.
"""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec
import pytest

from fluxo import errors
from fluxo.codec import error_of, failure_of
from fluxo.errors import DecodeError, StepFailedError
from fluxo.limits import FAILURE_CHAIN_MAX, FAILURE_TEXT_CHARS_MAX
from fluxo.model.failure import Failure

WHERE = "step 'pack'"


def again(error: BaseException) -> BaseException:
    """The error as a replay sees it: recorded, stored, read, rebuilt."""
    stored = msgspec.msgpack.encode(failure_of(error, WHERE))
    return error_of(msgspec.msgpack.decode(stored, type=Failure), "pack")


def raised(action: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        action()
    return caught.value


class Declined(Exception):
    def __init__(self, *, code: int, order: str) -> None:
        super().__init__(f"declined with {code}")
        self.code, self.order = code, order


class Formatted(Exception):
    def __init__(self, user: str, limit: int) -> None:
        super().__init__(f"{user} is over {limit}")
        self.user = user


class Counting(Exception):
    made = 0

    def __init__(self, number: int) -> None:
        super().__init__(number)
        type(self).made += 1

    def __new__(cls, *args: object) -> Counting:
        cls.made += 1
        return super().__new__(cls)


class Slotted(Exception):
    __slots__ = ("__code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.__code = code

    def __str__(self) -> str:
        return f"code {self.__code}"


class Unwritable(Exception):
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise TypeError("read-only")


class MissingFile(FileNotFoundError):
    def __init__(self, path: str, *, hint: str) -> None:
        super().__init__(2, "not here", path)
        self.hint = hint


class Both(errors.FluxoError, OSError):
    pass


@dataclass
class Detailed(Exception):
    code: int
    text: str = "details"


class Several(ExceptionGroup):
    def __new__(cls, *errors: Exception) -> Several:
        return super().__new__(cls, "several", list(errors))


class Bomb(Exception):
    def __reduce__(self) -> NoReturn:
        raise SystemExit("reduced")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise SystemExit("reduced")

    def __getattribute__(self, name: str) -> NoReturn:
        raise SystemExit("looked at")


class Mute(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit("asked")


class Addressed(Exception):
    def __str__(self) -> str:
        return f"at {id(self)}"


class Container:
    class Nested(Exception):
        pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("text"),
        KeyError("key"),
        Exception(),
        Exception((1, {2: b"3"}), None),
        Declined(code=51, order="o"),
        Formatted("ann", 3),
        Slotted(5),
        Unwritable("a"),
        MissingFile("/x", hint="look elsewhere"),
        Both(2, "no"),
        Detailed(5),
        Container.Nested("a"),
        raised(lambda: open("/nowhere/at/all")),  # noqa: SIM115
        raised(lambda: int("x")),
        raised(b"\xff".decode),
        raised(lambda: "ä".encode("ascii")),
        raised(lambda: __import__("nowhere.at.all")),
        raised(lambda: json.loads("{")),
        raised(lambda: compile("a b", "file", "exec")),
        raised(lambda: msgspec.json.decode(b"x")),
        raised(lambda: undefined),  # type: ignore[name-defined]  # noqa: F821
        raised(lambda: (0).missing),  # type: ignore[attr-defined]
        subprocess.CalledProcessError(1, ["a", "b"], b"out"),
        StopIteration(3),
        TimeoutError("late"),
        errors.StepFailedError("pack", "Odd", "text"),
        errors.StepTimeoutError("pack", 1.5),
        errors.SignalTimeoutError("approved", 2.0),
        errors.EncodeError(WHERE, "$", "problem", "cure"),
        errors.RunFailedError("run-1", "reason"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_made_of_data_comes_back_as_itself(error: Exception) -> None:
    copy = again(error)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


def test_the_file_name_of_an_os_error_is_kept() -> None:
    copy = again(raised(lambda: open("/nowhere/at/all")))  # noqa: SIM115
    assert isinstance(copy, FileNotFoundError)
    assert (copy.errno, copy.filename) == (2, "/nowhere/at/all")


def test_what_builtin_errors_keep_beside_their_args_is_kept() -> None:
    copy = again(ImportError("no", name="n", path="p"))
    assert isinstance(copy, ImportError)
    assert (copy.name, copy.path, copy.msg) == ("n", "p", "no")


def test_no_constructor_of_the_class_runs_again() -> None:
    error = Counting(1)
    made = Counting.made
    assert type(again(error)) is Counting
    assert Counting.made == made


@pytest.mark.parametrize(
    "error",
    [
        Exception(object()),
        Exception(Declined),
        Exception(float, "a"),
        Addressed("a"),
        Mute(),
        ValueError("a\ud800"),
        KeyboardInterrupt(),
        SystemExit(1),
        GeneratorExit(),
        errors.Cancelled(),
        BaseException("bare"),
        type("Dynamic", (Exception,), {})("a"),
        type("Local", (Exception,), {"__qualname__": "test.<locals>.Local"})("a"),
        ValueError("a" * 3_000_000),
        Exception({1: Declined}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_is_not_data_is_a_step_failed_error_live_and_on_replay(error: BaseException) -> None:
    failure = failure_of(error, WHERE)
    assert failure.state is None
    copy = again(error)
    assert type(copy) is StepFailedError
    assert copy.step == "pack"
    assert copy.error_type.endswith(type(error).__qualname__)
    assert str(again(copy)) == str(copy)


def test_an_error_class_that_its_name_does_not_lead_to_is_a_step_failed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "somewhere_else", module_with(ValueError))
    assert type(again(Odd("a"))) is StepFailedError


def test_states_are_bounded_all_together() -> None:
    error = ValueError("a" * 1_500_000)
    error.__cause__ = ValueError("b" * 1_500_000)
    copy = again(error)
    assert {type(copy), type(copy.__cause__)} == {ValueError, StepFailedError}


def test_an_interrupt_while_an_error_is_recorded_is_not_swallowed() -> None:
    class Interrupting(Exception):
        def __str__(self) -> NoReturn:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failure_of(Interrupting(), WHERE)


def test_an_error_class_inside_a_function_is_a_step_failed_error() -> None:
    class Local(Exception):
        pass

    assert type(again(Local("a"))) is StepFailedError


def test_a_trap_is_recorded_without_being_sprung() -> None:
    copy = again(Bomb("a"))
    assert type(copy) is Bomb
    assert BaseException.__dict__["args"].__get__(copy) == ("a",)


def test_an_error_that_cannot_be_printed_is_recorded() -> None:
    assert failure_of(Mute("a"), WHERE).message == "(its text cannot be read)"


def test_long_and_unstorable_text_is_cut_and_escaped() -> None:
    failure = failure_of(ValueError("start" + "a" * 100_000 + "end\ud800"), WHERE)
    assert len(failure.message) <= FAILURE_TEXT_CHARS_MAX
    assert failure.message.startswith("start")
    assert failure.message.endswith("end\\ud800")
    assert "100,014 characters" in failure.message


def test_notes_come_back() -> None:
    error = Declined(code=1, order="o")
    error.add_note("first")
    error.add_note("second")
    assert again(error).__notes__ == ["first", "second"]


def test_notes_are_bounded_and_need_not_be_text() -> None:
    error = ValueError()
    error.__notes__ = ["a" * 10_000, 5, "b" * 10_000, "c"]  # type: ignore[list-item]
    assert failure_of(error, WHERE).notes == ("a" * 10_000, "5")
    error.__notes__ = 5  # type: ignore[assignment]
    assert failure_of(error, WHERE).notes == ()


def chained() -> BaseException:
    def act() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                raise Declined(code=1, order="second")  # noqa: B904
        except Declined as error:
            raise ValueError("third") from error

    return raised(act)


def test_the_chain_of_causes_and_contexts_comes_back() -> None:
    copy = again(chained())
    assert copy.__suppress_context__
    assert type(copy.__cause__) is Declined
    assert not copy.__cause__.__suppress_context__
    assert type(copy.__cause__.__context__) is KeyError


def test_a_suppressed_context_stays_out() -> None:
    error = chained()
    error.__cause__ = None
    copy = again(error)
    assert copy.__cause__ is None
    assert copy.__context__ is None
    assert copy.__suppress_context__


def test_a_cause_that_is_not_data_is_a_step_failed_error_inside_the_chain() -> None:
    error = ValueError("a")
    error.__cause__ = Exception(object())
    copy = again(error)
    assert type(copy) is ValueError
    assert type(copy.__cause__) is StepFailedError


def test_a_chain_that_closes_on_itself_is_cut() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    copy = again(first)
    assert type(copy.__cause__) is KeyError
    assert copy.__cause__.__cause__ is None


def test_a_long_chain_is_cut() -> None:
    error = ValueError("0")
    for number in range(1, 50):
        outer = ValueError(str(number))
        outer.__cause__ = error
        error = outer
    failure: Failure | None = failure_of(error, WHERE)
    length = 0
    while failure is not None:
        failure, length = failure.cause, length + 1
    assert length == FAILURE_CHAIN_MAX


def test_the_traceback_is_kept_as_text() -> None:
    failure = failure_of(chained(), WHERE)
    assert 'raise ValueError("third") from error' in failure.traceback
    assert failure_of(ValueError(), WHERE).traceback == ""


def test_the_traceback_of_endless_recursion_is_bounded() -> None:
    def endless() -> None:
        endless()

    failure = failure_of(raised(endless), WHERE)
    assert 0 < len(failure.traceback) <= FAILURE_TEXT_CHARS_MAX


def test_a_group_comes_back_with_its_errors() -> None:
    group = ExceptionGroup("outer", [ValueError(1), Several(Declined(code=1, order="o"), Exception(object()))])
    group.exceptions[0].__cause__ = KeyError("cause")
    copy = again(group)
    assert type(copy) is ExceptionGroup
    assert str(copy) == str(group)
    first, inner = copy.exceptions
    assert (first.args, type(first.__cause__)) == ((1,), KeyError)
    assert type(inner) is Several
    assert [type(error) for error in inner.exceptions] == [Declined, StepFailedError]


def test_a_group_that_leads_back_to_itself_is_recorded() -> None:
    inner = ValueError("inner")
    group = ExceptionGroup("group", [inner])
    inner.__cause__ = group
    copy = again(group)
    assert type(copy) is ExceptionGroup
    assert copy.exceptions[0].__cause__ is None


def test_a_group_of_too_many_errors_is_a_step_failed_error() -> None:
    group = ExceptionGroup("group", [ValueError(number) for number in range(100)])
    assert type(again(group)) is StepFailedError


def module_with(error_class: type[Exception]) -> types.ModuleType:
    module = types.ModuleType("somewhere_else")
    module.Odd = error_class  # type: ignore[attr-defined]
    return module


Odd = type("Odd", (Exception,), {"__module__": "somewhere_else", "__qualname__": "Odd"})


def test_an_error_whose_module_is_not_loaded_is_a_decode_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "somewhere_else", module_with(Odd))
    failure = failure_of(Odd("a"), WHERE)
    assert type(error_of(failure, "pack")) is Odd
    monkeypatch.delitem(sys.modules, "somewhere_else")
    with pytest.raises(DecodeError, match=r"somewhere_else\.Odd, but the module somewhere_else is not loaded"):
        error_of(failure, "pack")


@pytest.mark.parametrize("replacement", [None, 5, int, KeyboardInterrupt])
def test_an_error_whose_class_is_gone_is_a_decode_error(monkeypatch: pytest.MonkeyPatch, replacement: Any) -> None:
    module = module_with(Odd)
    monkeypatch.setitem(sys.modules, "somewhere_else", module)
    failure = failure_of(Odd("a"), WHERE)
    module.Odd = replacement  # type: ignore[attr-defined]
    with pytest.raises(DecodeError, match="has no such error"):
        error_of(failure, "pack")


def test_a_module_is_never_imported_and_never_asked() -> None:
    with pytest.raises(DecodeError, match="is not loaded"):
        error_of(Failure("this", "Zen", "", b'{"args":{"~tuple":[]},"dict":{}}'), "pack")
    with pytest.raises(DecodeError, match="has no such error"):
        error_of(Failure("os", "system", "", b'{"args":{"~tuple":["true"]},"dict":{}}'), "pack")
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "state",
    [b"", b"x", b"null", b"[]", b"{}", b'{"args":1,"dict":{}}', b'{"args":{"~tuple":[]},"dict":5}'],
)
def test_a_damaged_state_is_a_decode_error(state: bytes) -> None:
    with pytest.raises(DecodeError):
        error_of(Failure("builtins", "UnicodeDecodeError", "", state), "pack")
    with pytest.raises(DecodeError):
        error_of(Failure("builtins", "ExceptionGroup", "", state), "pack")
