"""
Corners of the codec that ordinary values never reach.

Owns: annotations, classes and stored forms that defend or contradict themselves. Must not know steps or runs.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import typing
from typing import Any, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from fluxo.codec import ArgumentsCodec, codec_for, error_of, failure_of
from fluxo.codec.annotations import substituted
from fluxo.codec.containers import Tagged
from fluxo.codec.event import chain, verify
from fluxo.codec.payload import TypeCodec
from fluxo.codec.records import Keys
from fluxo.codec.scalars import PLAIN
from fluxo.codec.shape import Shape, Unsupported
from fluxo.errors import DecodeError, EncodeError, HistoryCorruptError, UsageError
from fluxo.model.failure import Failure
from fluxo.model.options import WorkflowOptions, changed

WHERE = "step 'pack'"
T = TypeVar("T")


class TestAnnotations:
    def test_a_bare_wrapper_promises_nothing(self) -> None:
        codec = codec_for(typing.Final)
        assert codec.decode(codec.encode([1], WHERE), WHERE) == [1]

    def test_a_field_annotated_with_the_object_none_holds_none(self) -> None:
        empty = dataclasses.make_dataclass("empty", [("nothing", None), ("unknown", "Nowhere")])
        assert codec_for(empty).encode(empty(None, 1), WHERE) == b'{"nothing":null,"unknown":1}'
        with pytest.raises(EncodeError, match=r"\.nothing"):
            codec_for(empty).encode(empty(1, 1), WHERE)

    def test_a_class_with_broken_annotations_has_none(self) -> None:
        broken = dataclasses.make_dataclass("broken", [("x", int)])
        broken.__annotations__ = 5  # type: ignore[assignment]
        codec = codec_for(broken)
        assert codec.decode(codec.encode(broken(1), WHERE), WHERE) == broken(1)

    def test_an_alias_that_takes_no_arguments_stays_as_it_is(self) -> None:
        class Stubborn:
            __parameters__ = (T,)

        alias = Stubborn()
        assert substituted(alias, {T: int}) is alias

    def test_an_annotation_that_cannot_be_looked_at_refuses_every_value(self) -> None:
        class Hostile:
            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError("do not look")

            def __str__(self) -> str:
                return "hostile"

        with pytest.raises(EncodeError, match="hostile, which is not data"):
            codec_for(Hostile()).encode(1, WHERE)


class TestArguments:
    def test_text_that_is_no_unicode_is_refused_by_the_name_of_its_parameter(self) -> None:
        def greet(name: str) -> None: ...

        codec = ArgumentsCodec(inspect.signature(greet), {"name": str})
        with pytest.raises(EncodeError, match="name"):
            codec.encode(("\ud800",), {}, WHERE)


class Odd(Shape):
    """Writes a list; what it reads is `answer`, or an error."""

    label = "odd"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def lower(self, value: Any, depth: int) -> Any:
        if value == "unwritable":
            raise EncodeError("", "", "cannot be written", "do not")
        return [value]

    def lift(self, wire: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestStoredForms:
    @pytest.mark.parametrize(
        "answer", [DecodeError("", "no"), "another", "unwritable"], ids=["refused", "another", "unwritable"]
    )
    def test_a_value_whose_stored_form_does_not_give_it_back_is_refused_at_once(self, answer: Any) -> None:
        with pytest.raises(EncodeError):
            TypeCodec(Odd(answer)).roundtrip([5], WHERE)

    def test_an_annotation_that_msgspec_refuses_is_read_by_the_shape(self) -> None:
        class Claims(Odd):
            native = list[int] | tuple[int, ...]

        assert TypeCodec(Claims(5)).decode(b"[5]", WHERE) == 5

    def test_a_tuple_names_the_place_of_what_does_not_fit(self) -> None:
        with pytest.raises(DecodeError, match=r"\[1\]"):
            codec_for(tuple[int, set[int]]).decode(b"[1, 2]", WHERE)

    def test_a_tuple_is_promised_and_a_list_is_none(self) -> None:
        with pytest.raises(EncodeError, match="list"):
            codec_for(tuple[int, set[int]]).encode([1, {2}], WHERE)

    def test_a_tagged_shape_reads_its_own_tag_only(self) -> None:
        assert Tagged("~n", PLAIN[int]).lift({"~n": 5}) == 5
        with pytest.raises(DecodeError):
            Tagged("~n", PLAIN[int]).lift(5)

    def test_a_plain_value_may_stand_under_a_tag(self) -> None:
        assert PLAIN[str].untag("x") == "x"

    def test_what_is_no_data_is_never_ordinary(self) -> None:
        assert Unsupported("a socket").ordinary() is None
        assert Keys(dict, {"a": Unsupported("a socket")}, frozenset()).ordinary() is None

    def test_a_typed_dict_with_parts_of_its_own_forms_forgets_keys_it_no_longer_has(self) -> None:
        class Tags(TypedDict):
            tags: set[int]
            counts: dict[int, int]

        codec = codec_for(Tags)
        body = codec.encode({"tags": {2, 1}, "counts": {1: 2}}, WHERE)
        assert codec.decode(body, WHERE) == {"tags": {1, 2}, "counts": {1: 2}}
        more = json.loads(body) | {"gone": 1}
        assert codec.decode(json.dumps(more).encode(), WHERE) == {"tags": {1, 2}, "counts": {1: 2}}
        with pytest.raises(DecodeError, match=r"\.tags"):
            codec.decode(b'{"tags":5}', WHERE)


class Slotted(Exception):
    __slots__ = ("set_late",)


class TestErrors:
    def test_a_slot_that_was_never_set_is_left_unset(self) -> None:
        again = error_of(failure_of(Slotted("x"), WHERE), "pack")
        assert type(again) is Slotted
        assert not hasattr(again, "set_late")

    def test_a_record_that_would_make_an_error_of_another_class_is_no_such_error(self) -> None:
        made = codec_for(Any).encode({"args": (2, "gone"), "dict": {}}, WHERE)
        with pytest.raises(DecodeError, match="OSError"):
            error_of(Failure("builtins", "OSError", "gone", made), "pack")

    def test_a_group_with_a_member_whose_module_is_not_loaded_names_that_module(self) -> None:
        module = types.ModuleType("brief_module")
        sys.modules["brief_module"] = module
        module.Brief = type("Brief", (Exception,), {"__module__": "brief_module"})  # type: ignore[attr-defined]
        failure = failure_of(ExceptionGroup("all", [module.Brief("x")]), WHERE)
        del sys.modules["brief_module"]
        with pytest.raises(DecodeError, match="brief_module"):
            error_of(failure, "pack")


class TestModels:
    def test_a_model_with_a_reference_to_a_later_class_is_completed(self) -> None:
        class Order(pydantic.BaseModel):
            lines: list[LaterLine]

        assert not Order.__pydantic_complete__
        globals()["LaterLine"] = type("LaterLine", (pydantic.BaseModel,), {"__annotations__": {"sku": str}})
        try:
            codec = codec_for(Order)
            order = Order(lines=[{"sku": "a"}])  # type: ignore[list-item]
            assert codec.decode(codec.encode(order, WHERE), WHERE) == order
        finally:
            del globals()["LaterLine"]

    def test_a_field_of_a_type_that_pydantic_cannot_write_is_refused(self) -> None:
        class Socket:
            pass

        class Holder(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
            socket: Socket

        with pytest.raises(EncodeError, match="Socket, which pydantic cannot write"):
            codec_for(Holder).encode(Holder(socket=Socket()), WHERE)

    def test_a_model_whose_fields_were_all_given_stores_nothing_beside_them(self) -> None:
        class Point(pydantic.BaseModel):
            x: int
            y: int = 0

        codec = codec_for(Point)
        assert "~unset" not in json.loads(codec.encode(Point(x=1, y=2), WHERE))
        assert json.loads(codec.encode(Point(x=1), WHERE))["~unset"] == ["y"]


def test_a_row_of_the_log_proves_its_place() -> None:
    with pytest.raises(HistoryCorruptError, match="the next row has seq 3"):
        verify("run", 2, 0, (3, 7, 0, b"x"))
    digest = chain(0, 7, b"x")
    assert verify("run", 1, 0, (1, 7, digest, b"x")) == digest


def test_an_option_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="workflow 'w' has no option 'colour'"):
        changed(WorkflowOptions("w"), "workflow 'w'", {"colour": "red"})


def test_msgspec_structs_are_data() -> None:
    class Point(msgspec.Struct):
        x: int

    assert codec_for(Point).decode(b'{"x":1}', WHERE) == Point(1)


if typing.TYPE_CHECKING:

    class LaterLine(pydantic.BaseModel):
        sku: str
