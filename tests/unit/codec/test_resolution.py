"""
Where annotations and processes differ: names for type checkers only, pydantic, hash seeds, imports.

Owns: what the codec needs from outside a value. Must not know how annotations are compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import msgspec
import pydantic
import pytest

from fluxo.codec import codec_for
from fluxo.errors import DecodeError, EncodeError

ROOT = Path(__file__).parents[3]
WHERE = "step 'pack'"


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class User(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    name: str = pydantic.Field(alias="fullName")
    home: Address | None = None
    url: pydantic.HttpUrl | None = None
    friends: list[User] = []
    tags: set[str] = set()
    _seen: int = pydantic.PrivateAttr(default=0)

    @pydantic.field_validator("name")
    @classmethod
    def shout(cls, name: str) -> str:
        return name + "!"


class Secretive(pydantic.BaseModel):
    password: pydantic.SecretStr


def ann() -> User:
    user = User(fullName="Ann", url="https://example.org/x", friends=[User(fullName="Bob")], extra=(1, 2))
    user._seen = 5
    return user


def test_a_pydantic_model_comes_back_without_its_validators_running_again() -> None:
    _, copy = codec_for(User).roundtrip(ann(), WHERE)
    assert copy == ann()
    assert (type(copy), copy.name, copy.extra, copy._seen) == (User, "Ann!", (1, 2), 5)
    assert type(copy.url) is pydantic.HttpUrl
    assert copy.model_fields_set == ann().model_fields_set
    copy.friends[0].name = "still a model"


def test_a_model_inside_other_data_comes_back() -> None:
    value = {"a": [Address(street="s")]}
    assert codec_for(dict[str, list[Address]]).roundtrip(value, WHERE)[1] == value
    assert codec_for(Optional[Address]).roundtrip(None, WHERE)[1] is None  # noqa: UP045 - as users still write it


def test_a_model_field_of_another_type_than_promised_is_refused() -> None:
    user = ann()
    user.home = Address.model_construct(street=5)
    with pytest.raises(EncodeError, match=r"\$\.home\.street is int, promised is str"):
        codec_for(User).encode(user, WHERE)


def test_a_field_that_pydantic_would_not_read_back_is_refused_without_showing_it() -> None:
    with pytest.raises(EncodeError, match=r"\$\.password is SecretStr") as caught:
        codec_for(Secretive).encode(Secretive(password=pydantic.SecretStr("hunter2")), WHERE)
    assert "hunter2" not in str(caught.value)


def test_a_new_field_of_a_model_takes_its_default_and_counts_as_unset() -> None:
    address = codec_for(Address).decode(b'{"street":"s","gone":1}', WHERE)
    assert address == Address(street="s")
    assert address.model_fields_set == {"street"}


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"street":1}', b'{"street":"s","~unset":5}'])
def test_bytes_that_are_no_model_are_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        codec_for(Address).decode(body, WHERE)


def test_importing_the_codec_loads_neither_pydantic_nor_attrs_nor_asyncio() -> None:
    code = "import fluxo.codec, sys; print({'pydantic', 'attr', 'asyncio', 'zoneinfo'} & sys.modules.keys())"
    assert output_of(code) == "set()"


def test_the_bytes_of_a_value_do_not_depend_on_the_hash_seed() -> None:
    code = """
from fluxo.codec import ANY, codec_for
words = {"alpha", "beta", "gamma", ("delta", 1), frozenset({"epsilon", "zeta", 2.5})}
nested = frozenset({frozenset({"a", "b", "c"}), frozenset({"d"}), frozenset()})
print(ANY.encode(words, ""), codec_for(set[str]).encode({"x", "y", "z"}, ""),
      codec_for(frozenset[frozenset[str]]).encode(nested, ""),
      codec_for(set[str | int | bytes]).encode({"x", 1, b"y"}, ""))
"""
    assert len({output_of(code, seed) for seed in ("0", "1", "2")}) == 1


def output_of(code: str, seed: str = "0") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_one_name_that_cannot_be_resolved_does_not_cost_the_other_fields_their_types() -> None:
    namespace: dict[str, Any] = {"__annotations__": {"known": "int", "unknown": "Nowhere"}, "__module__": __name__}
    cls = type("Half", (msgspec.Struct,), namespace)
    assert codec_for(cls).roundtrip(cls(1, (2, 3)), WHERE)[1] == cls(1, (2, 3))
    with pytest.raises(EncodeError, match=r"\$\.known is str, promised is int"):
        codec_for(cls).encode(cls("1", 2), WHERE)
