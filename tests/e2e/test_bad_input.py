"""
What is wrong before, beside and inside a run: each a clear error, nothing written, nothing lost.

Owns: the table of bad input. Must not know how good input is handled.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fluxo import (
    ConfigurationError,
    EncodeError,
    Engine,
    LimitExceededError,
    MissingExtraError,
    RunFailedError,
    RunNotFoundError,
    SchemaVersionError,
    StoreUnavailableError,
    UsageError,
    limits,
    step,
    workflow,
)
from tests.e2e.places import Place


@step
def weigh(pieces: int) -> int:
    return pieces * 2


@workflow
def order(item: str, pieces: int, price: Decimal = Decimal(1)) -> int:
    return weigh(pieces)


@workflow
async def order_later(item: str, pieces: int, price: Decimal = Decimal(1)) -> int:
    return await weigh.aio(pieces)


BOTH = pytest.mark.parametrize("flow", [order, order_later], ids=["sync", "async"])


@contextmanager
def nothing_written(engine: Engine) -> Iterator[None]:
    before = engine.stats()
    yield
    after = engine.stats()
    assert (after.runs, after.events, after.messages_unconsumed) == (
        before.runs,
        before.events,
        before.messages_unconsumed,
    )


@pytest.mark.parametrize(
    "url, message",
    [
        ("mysql://host/db", "no store has the scheme 'mysql'; known are memory://"),
        ("orders.db", "a bare path needs sqlite:/// before it"),
        ("", "a store URL must begin with one of"),
        ("sqlite://host/orders.db", "a sqlite URL names no host"),
        ("sqlite:///orders.db?mode=ro", "takes no parameters"),
        ("sqlite:///", "in memory is gone with its connection"),
        ("sqlite:///:memory:", "in memory is gone with its connection"),
        ("memory://name", "memory:// takes no path"),
    ],
)
def test_a_url_that_names_no_store_is_refused_when_the_engine_is_made(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Engine(url)


@pytest.mark.parametrize(
    "scheme, driver, extra",
    [
        ("postgresql", "psycopg", "postgres"),
        ("redis", "redis", "redis"),
        ("rediss", "redis", "redis"),
        ("mongodb", "pymongo", "mongo"),
    ],
)
def test_a_store_whose_driver_is_not_installed_says_what_to_install(scheme: str, driver: str, extra: str) -> None:
    code = f"import sys; sys.modules[{driver!r}] = None; import fluxo; fluxo.Engine('{scheme}://user:secret@host/db')"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert failed.stderr.splitlines()[-1].startswith("fluxo.errors.MissingExtraError: ")
    assert f"pip install 'fluxo-durable[{extra}]'" in failed.stderr
    assert "secret" not in failed.stderr.splitlines()[-1]


@pytest.mark.parametrize("store", [Path("orders.db"), 42, {"url": "memory://"}, b"memory://"])
def test_what_is_no_store_is_refused_when_the_engine_is_made(store: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"store must be a URL or a store object, not \w+"):
        Engine(store)


def test_a_missing_extra_is_named_with_what_to_install() -> None:
    error = MissingExtraError("the PostgreSQL store", "postgres")
    assert str(error) == "the PostgreSQL store needs an optional dependency: pip install 'fluxo-durable[postgres]'"
    assert isinstance(error, ImportError)
    assert isinstance(error, ConfigurationError)


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with (
        pytest.raises(StoreUnavailableError, match=r"the directory .*missing does not exist"),
        Engine(f"sqlite:///{missing / 'runs.db'}"),
    ):
        raise AssertionError("opened")
    assert not missing.exists()


def test_a_directory_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreUnavailableError, match="is a directory; give the path of a file in it"),
        Engine(f"sqlite:///{tmp_path}"),
    ):
        raise AssertionError("opened")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.db"
    refused = PermissionError(13, "Permission denied")

    def deny(*_: Any) -> int:
        raise refused

    monkeypatch.setattr("fluxo.stores.sql.sqlite.opening.os.open", deny)
    with (
        pytest.raises(StoreUnavailableError, match=r"cannot be created \(Permission denied\)") as unavailable,
        Engine(f"sqlite:///{path}"),
    ):
        raise AssertionError("opened")
    assert unavailable.value.__cause__ is refused
    assert isinstance(unavailable.value, ConnectionError)


def test_a_database_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE accounts (id INTEGER)")
        connection.commit()
    before = path.read_bytes()
    with (
        pytest.raises(SchemaVersionError, match=r"belongs to another application.*nothing was written"),
        Engine(f"sqlite:///{path}"),
    ):
        raise AssertionError("opened")
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ada, this is no database, and it is longer than a header of one hundred bytes. " * 3)
    before = path.read_bytes()
    with (
        pytest.raises(
            SchemaVersionError, match="is not a SQLite database; give the store another path; nothing was written"
        ),
        Engine(f"sqlite:///{path}"),
    ):
        raise AssertionError("opened")
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Engine(f"sqlite:///{path}") as engine:
        engine.run(order, "chair", 1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("UPDATE fluxo_meta SET schema_version = 99")
        connection.commit()
    with (
        pytest.raises(SchemaVersionError, match="has schema 99, this fluxo knows up to 1; install the newer"),
        Engine(f"sqlite:///{path}"),
    ):
        raise AssertionError("opened")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT schema_version FROM fluxo_meta").fetchall() == [(99,)]


def test_the_file_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with Engine(f"sqlite:///{path}"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_the_store_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUXO_STORE", "nonsense://")
    with pytest.raises(ConfigurationError, match="no store has the scheme 'nonsense'"):
        Engine()
    monkeypatch.setenv("FLUXO_STORE", f"sqlite:///{tmp_path / 'runs.db'}")
    with Engine() as engine:
        assert engine.run(order, "chair", 1) == 2


@BOTH
@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((), {}, "missing a required argument: 'item'"),
        (("chair",), {}, "missing a required argument: 'pieces'"),
        (("chair", 1, Decimal(1), "more"), {}, "too many positional arguments"),
        (("chair", 1), {"colour": "red"}, "got an unexpected keyword argument 'colour'"),
        (("chair", 1), {"item": "table"}, "multiple values for argument 'item'"),
    ],
)
def test_a_wrong_argument_count_is_refused_at_start(
    place: Place, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with place.engine() as engine, nothing_written(engine):
        with pytest.raises(UsageError, match=message):
            engine.start(flow, *args, **kwargs)
        with pytest.raises(UsageError, match=message):
            engine.run(flow, *args, **kwargs)


@BOTH
@pytest.mark.parametrize(
    "args, path",
    [
        (("chair", "two"), "pieces"),
        ((7, 1), "item"),
        (("chair", 1.0), "pieces"),
        (("chair", True), "pieces"),
        (("chair", 1, 1.5), "price"),
        (("chair", None), "pieces"),
        (("chair", object()), "pieces"),
    ],
)
def test_a_wrong_argument_type_is_refused_at_start(place: Place, flow: Any, args: tuple[Any, ...], path: str) -> None:
    with place.engine() as engine, nothing_written(engine), pytest.raises(EncodeError) as refused:
        engine.start(flow, *args)
    assert flow.name in str(refused.value)
    assert path in refused.value.path
    assert refused.value.cure != ""


def test_an_error_about_a_value_does_not_show_the_value(place: Place) -> None:
    with place.engine() as engine, pytest.raises(EncodeError) as refused:
        engine.start(order, "chair", "4111-1111-1111")  # type: ignore[arg-type]
    assert "4111" not in str(refused.value)


@BOTH
def test_an_input_over_the_limit_is_refused_at_start(place: Place, flow: Any) -> None:
    text = "x" * (limits.PAYLOAD_BYTES_MAX + 1)
    with (
        place.engine() as engine,
        nothing_written(engine),
        pytest.raises(LimitExceededError, match="the limit is 2,097"),
    ):
        engine.start(flow, text, 1)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_result_over_the_limit_fails_the_step_and_nothing_before_it_is_lost(place: Place, colour: str) -> None:
    @step
    def huge() -> str:
        return "x" * (limits.PAYLOAD_BYTES_MAX + 1)

    @workflow
    def flow() -> int:
        try:
            return weigh(1) + len(huge())
        except LimitExceededError:
            return weigh(2)

    @workflow
    async def flow_later() -> int:
        try:
            return await weigh.aio(1) + len(await huge.aio())
        except LimitExceededError:
            return await weigh.aio(2)

    with place.engine() as engine:
        assert engine.run(flow if colour == "sync" else flow_later) == 4


def test_an_argument_over_the_limit_is_refused_before_the_step_runs(place: Place) -> None:
    ran: list[int] = []

    @step
    def take(text: str) -> None:
        ran.append(len(text))

    @workflow
    def flow() -> None:
        take("x" * (limits.PAYLOAD_BYTES_MAX + 1))

    with place.engine() as engine, pytest.raises(RunFailedError, match="LimitExceededError"):
        engine.run(flow)
    assert ran == []


def test_a_workflow_result_that_is_not_data_fails_the_run_and_names_it(place: Place) -> None:
    @workflow
    def gives_object() -> Any:
        weigh(1)
        return object()

    with place.engine() as engine:
        handle = engine.start(gives_object)
        with pytest.raises(RunFailedError, match=r"EncodeError: workflow .*gives_object") as failed:
            handle.result(timeout=10)
        assert isinstance(failed.value.__cause__, EncodeError)
        assert [type(event).__name__ for event in handle.history()] == ["RunStarted", "StepCompleted", "RunFailed"]


def test_a_workflow_result_of_another_type_than_promised_fails_the_run(place: Place) -> None:
    @workflow
    def promises() -> int:
        return "seven"  # type: ignore[return-value]

    with place.engine() as engine, pytest.raises(RunFailedError, match="EncodeError"):
        engine.run(promises)


@pytest.mark.parametrize("ask", ["get", "history", "cancel", "resume"])
def test_an_unknown_run_is_named(place: Place, ask: str) -> None:
    with place.engine() as engine, nothing_written(engine):
        with pytest.raises(RunNotFoundError, match=r"no run 'nobody'.*check the id, the namespace and the store"):
            getattr(engine, ask)("nobody")
        with pytest.raises(RunNotFoundError):
            engine.signal("nobody", "go")


@pytest.mark.parametrize("run_id", ["", "a\n", " a", "x" * 256, 7, None])
def test_what_cannot_be_an_id_is_refused(place: Place, run_id: Any) -> None:
    with place.engine() as engine, pytest.raises(UsageError, match="run id"):
        engine.get(run_id)


def test_a_signal_to_a_finished_run_is_refused(place: Place) -> None:
    with place.engine() as engine:
        handle = engine.start(order, "chair", 1)
        handle.result(timeout=10)
        with nothing_written(engine), pytest.raises(UsageError, match="has ended"):
            handle.signal("go")
