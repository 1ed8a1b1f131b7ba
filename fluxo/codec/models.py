"""
pydantic models.

Owns: the state of a model beyond its fields, and field types that only pydantic knows. Must not import pydantic:
it is asked for through `sys.modules`, where a model's class proves it to be.

Theory: a model is put back from its state, like a dataclass; no validator runs twice. A field type that names no data
(an e-mail address, a URL) is stored as builtin data if its value is that, else as pydantic's own JSON, and only
if reading that gives an equal value of the same class.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any

from fluxo.codec.records import Field, Record, make, restore
from fluxo.codec.scalars import PLAIN
from fluxo.codec.shape import ANY_OBJECT, Shape, name_of, type_of
from fluxo.codec.tagged import ANY_SHAPE
from fluxo.errors import EncodeError

__all__ = ["Foreign", "Model"]

_EXTRA = {"~extra": "__pydantic_extra__", "~private": "__pydantic_private__"}


class Foreign(Shape):
    """A field type of a pydantic model that is no data by itself."""

    def __init__(self, annotation: Any, label: str) -> None:
        self._annotation = annotation
        self.label = label

    @cached_property
    def _adapter(self) -> Any:
        pydantic: Any = sys.modules["pydantic"]
        return pydantic.TypeAdapter(self._annotation)

    def lower(self, value: Any, depth: int) -> Any:
        try:
            return ANY_SHAPE.lower(value, depth)
        except EncodeError:
            pass
        cure = "store its text or number in the field instead"
        try:
            text = self._adapter.dump_json(value, round_trip=True, warnings="error").decode()
            same = self._adapter.validate_json(text)
            if type(same) is type_of(value) and same == value:
                return {"~foreign": PLAIN[str].lower(text, depth)}
        except Exception as error:
            problem = f"is {name_of(type_of(value))}, which pydantic cannot write and read ({type(error).__name__})"
            raise EncodeError("", "", problem, cure) from None
        raise EncodeError("", "", f"is {name_of(type_of(value))}, which pydantic would read back otherwise", cure)

    def lift(self, wire: Any) -> Any:
        if type_of(wire) is dict and wire.keys() == {"~foreign"}:
            return self._adapter.validate_json(wire["~foreign"])
        return ANY_SHAPE.lift(wire)


class Model(Record):
    """A pydantic model: its fields, which of them were set, extra and private attributes."""

    kinds = frozenset({"object", ANY_OBJECT})

    def __init__(self, cls: type, fields: tuple[Field, ...]) -> None:
        super().__init__(cls, fields, native=False)
        self._spare_slots = ()

    def lower(self, value: Any, depth: int) -> Any:
        wires = super().lower(value, depth)
        unset = sorted(self._names - value.__pydantic_fields_set__)
        if unset:
            wires["~unset"] = unset
        for key, attribute in _EXTRA.items():
            extra = getattr(value, attribute)
            if extra is not None:
                wires[key] = ANY_SHAPE.lower(extra, depth)
        return wires

    def lift(self, wire: Any) -> Any:
        instance = super().lift(wire)
        extra = {key: ANY_SHAPE.lift(wire[key]) if key in wire else None for key in _EXTRA}
        names = (self._names & wire.keys()) - set(wire.get("~unset", ())) | set(extra["~extra"] or ())
        restore(instance, [(attribute, extra[key]) for key, attribute in _EXTRA.items()])
        restore(instance, [("__pydantic_fields_set__", names)])
        return instance

    def build(self, values: list[tuple[str, Any]]) -> Any:
        instance = make(self.cls)
        restore(instance, [("__dict__", dict(values))])
        return instance
