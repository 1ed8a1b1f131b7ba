"""
`fluxo worker`: runs that one process starts and another executes, on every store that processes can share.

Owns: what goes over the store between a client and a worker process: starts, results, signals, cancels, and the end by
signal. Must not know stores.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fluxo import Engine, RunCancelledError, RunFailedError, workflow
from tests.servers import SERVERS, url_of_its_own

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30

APP = """
import os
import fluxo
from fluxo import Engine, step, workflow

@step(name="remote.double")
def double(number: int) -> int:
    return 2 * number

@step(name="remote.halve")
async def halve(number: int) -> int:
    return number // 2

@workflow(name="remote.work")
def work(number: int) -> tuple[int, int]:
    return double(number) + fluxo.wait_signal("more", int), os.getpid()

@workflow(name="remote.awork")
async def awork(number: int) -> int:
    import asyncio
    return sum(await asyncio.gather(*[halve(n) for n in range(number)]))

@workflow(name="remote.fails")
def fails() -> None:
    raise ValueError("no such order")

engine = Engine(os.environ["APP_STORE"], name="the application's own")
not_an_engine = 5
"""


@workflow(name="remote.work")
def work(number: int) -> tuple[int, int]:
    raise AssertionError("executed by the worker alone")


@workflow(name="remote.awork")
async def awork(number: int) -> int:
    raise AssertionError("executed by the worker alone")


@workflow(name="remote.fails")
def fails() -> None:
    raise AssertionError("executed by the worker alone")


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}" if request.param == "sqlite" else url_of_its_own(request.param)


@pytest.fixture
def start_worker(tmp_path: Path, url: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    (tmp_path / "remote_app.py").write_text(APP)
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, store: bool = True) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "APP_STORE": url}
        if store:
            environment["FLUXO_STORE"] = url
        command = [sys.executable, "-m", "fluxo", "worker", *arguments]
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def test_a_client_starts_and_a_worker_of_another_process_executes(
    url: str, start_worker: Callable[..., subprocess.Popen[str]]
) -> None:
    with Engine(url, worker=False) as client:
        before = client.start(work.options(id="before"), 1)
        worker = start_worker("remote_app.py")
        after = client.start(work.options(id="after"), 2)
        for handle in (before, after):
            handle.signal("more", 10)
        assert before.result(PATIENCE_S) == (12, worker.pid)
        assert after.result(PATIENCE_S) == (14, worker.pid)
        assert client.run(awork, 6) == 6
        with pytest.raises(RunFailedError) as failed:
            client.run(fails)
        assert isinstance(failed.value.__cause__, ValueError)
        waiting = client.start(work.options(id="waiting"), 3)
        assert waiting.cancel()
        with pytest.raises(RunCancelledError):
            waiting.result(PATIENCE_S)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 0
        assert client.stats().workers == 0


def test_a_worker_that_is_killed_is_replaced_by_another_one(
    url: str, start_worker: Callable[..., subprocess.Popen[str]]
) -> None:
    with Engine(url, worker=False) as client:
        first = start_worker("remote_app:engine", store=False)
        assert client.run(awork, 4) == 2
        handle = client.start(work.options(id="moved"), 1)
        client.run(awork, 2)
        first.kill()
        first.wait(PATIENCE_S)
        second = start_worker("remote_app:engine", "--concurrency", "2", store=False)
        handle.signal("more", 1)
        assert handle.result(PATIENCE_S) == (3, second.pid)


def test_a_worker_takes_the_queues_it_is_given(url: str, start_worker: Callable[..., subprocess.Popen[str]]) -> None:
    with Engine(url, worker=False) as client:
        vip = start_worker("remote_app.py", "--queues", "vip, urgent")
        plain = start_worker("remote_app.py")
        for queue, worker in (("vip", vip), ("default", plain), ("urgent", vip)):
            handle = client.start(work.options(id=queue, queue=queue), 1)
            handle.signal("more", 1)
            assert handle.result(PATIENCE_S) == (3, worker.pid)


@pytest.mark.parametrize("url", ["memory://"])
@pytest.mark.parametrize(
    "arguments, says",
    [
        (["missing_app"], "cannot import missing_app"),
        (["remote_app:nothing"], "remote_app has no nothing"),
        (["remote_app:not_an_engine"], "remote_app:not_an_engine is int, not a fluxo.Engine"),
        (["remote_app", "--queues", "vip,,urgent"], "queue"),
        (["remote_app", "--concurrency", "0"], "0 is not in the range"),
        (["remote_app", "--store", "mysql://host/db"], "no store has the scheme 'mysql'"),
    ],
)
def test_what_is_no_worker_is_refused_with_a_reason(
    arguments: list[str], says: str, start_worker: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = start_worker(*arguments)
    _, told = worker.communicate(timeout=PATIENCE_S)
    assert says in told
    assert worker.returncode in (2, 5)
