"""
Engines that live with their process: serving, stopping by signal, forking.

Owns: `serve` and what signals to the process do. Must not know crashes (`tests/crash`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import fluxo
from fluxo import Engine, RunStatus, UsageError

ROOT = Path(__file__).parents[2]

SERVED = """
import asyncio, os, sys, threading
import fluxo
from fluxo import Engine, step, workflow

store, way = sys.argv[1:]
engine = Engine(store)

@step(name="slow step")
def slow() -> str:
    print("started", flush=True)
    sys.stdin.readline()
    # The signal was sent before the line; the step ends once the engine has heard it.
    while not engine._node.core.draining:
        threading.Event().wait(0.01)
    return "slow"

@step(name="second step")
def second() -> str:
    print("second", flush=True)
    return "second"

@workflow(name="served")
def served() -> list[str]:
    return [slow(), second()]

async def main() -> None:
    async with engine.aio as serving:
        asyncio.get_running_loop().call_soon(lambda: print("serving", flush=True))
        await serving.serve()

if way == "async":
    asyncio.run(main())
else:
    print("serving", flush=True)
    engine.serve()
print("drained", flush=True)
"""

FORKED = """
import os, sys
from fluxo import Engine, UsageError, workflow

@workflow(name="one")
def one() -> int:
    return 1

engine = Engine(sys.argv[1])
assert engine.run(one) == 1
sys.stdout.flush()
child = os.fork()
if child == 0:
    try:
        engine.run(one)
    except UsageError as error:
        print(error, flush=True)
        with Engine(sys.argv[1]) as own:
            print(own.run(one), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(engine.run(one), flush=True)
engine.close()
"""


@fluxo.workflow(name="served")
def served() -> list[str]:
    raise AssertionError("executed by the server alone")


class Server:
    """A process that serves one store, and what it says."""

    def __init__(self, store: str, way: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVED, store, way],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def hears(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == line

    def says(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture(params=["sync", "async"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, str]]:
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    server = Server(store, request.param)
    server.hears("serving")
    yield server, store
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_step_finish_and_hands_the_run_back(
    server: tuple[Server, str], number: signal.Signals
) -> None:
    process, store = server
    with Engine(store, worker=False) as client:
        handle = client.start(served)
        process.hears("started")
        process.process.send_signal(number)
        process.says("go on")
        process.hears("drained")
        assert process.process.wait(10) == 0
        assert (handle.status(), handle.info().owner) == (RunStatus.PENDING, None)
        assert [type(event).__name__ for event in handle.history()] == ["RunStarted", "RunClaimed", "StepCompleted"]
        assert client.stats().workers == 0


def test_a_second_signal_exits_at_once(server: tuple[Server, str]) -> None:
    process, store = server
    with Engine(store, worker=False) as client:
        handle = client.start(served)
        process.hears("started")
        process.process.send_signal(signal.SIGTERM)
        process.process.send_signal(signal.SIGINT)
        assert process.process.wait(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
        assert [type(event).__name__ for event in handle.history()] == ["RunStarted", "RunClaimed"]


def test_serving_needs_the_main_thread_and_a_worker() -> None:
    errors: list[str] = []

    def serve() -> None:
        try:
            Engine("memory://").serve()
        except UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert errors == ["engine.serve() installs signal handlers: call it from the main thread"]
    with pytest.raises(UsageError, match="leave worker= at True"):
        Engine("memory://", worker=False).serve()


def test_embedding_an_engine_leaves_signal_handlers_alone() -> None:
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    with Engine("memory://"):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_an_engine_made_before_a_fork_is_refused_in_the_child_and_works_on_in_the_parent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, f"sqlite:///{tmp_path / 'runs.db'}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, child, parent = done.stdout.splitlines()
    assert refused == "this engine was made before a fork: make a new one in the child process"
    assert (child, parent) == ("1", "1")
