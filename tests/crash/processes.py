"""
Real processes for crash tests, a few milliseconds each.

Owns: a helper process that has imported everything and forks children on request, the line protocol with
them, their signals and ends. Must not know fluxo. The helper has one thread and no open database, so that what it
forks is as good as a process started from nothing; a child's death shows as the end of its stream.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["Child", "Nursery", "hear", "tell"]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def tell(line: str) -> None:
    """In a child: one line for the parent."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hear() -> str:
    """In a child: wait for the parent's next line."""
    return sys.stdin.readline().rstrip("\n")


class Child:
    """A process under test, as its parent sees it: they talk in lines."""

    def __init__(self, nursery: Nursery, pid: int, stream: socket.socket) -> None:
        self.pid = pid
        self._nursery = nursery
        self._stream = stream
        self._heard = b""
        self._status: int | None = None

    def line(self, timeout_s: float = PATIENCE_S) -> str:
        """The next line the child told; fails if it dies or stays silent."""
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            more = self._receive(deadline_s)
            assert more, f"the child ended ({self.ended()}) instead of telling a line"
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()

    def lines(self) -> list[str]:
        """Wait for its end; the lines not read yet."""
        self.ended()
        rest, self._heard = self._heard, b""
        return rest.decode().splitlines()

    def say(self, line: str) -> None:
        """Send the line that the child will hear."""
        self._stream.sendall(line.encode() + b"\n")

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        if self._status is None:
            deadline_s = time.monotonic() + timeout_s
            with self._stream:
                while more := self._receive(deadline_s):
                    self._heard += more
            self._status = os.waitstatus_to_exitcode(self._nursery.ask(wait=self.pid))
        return self._status

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal; harmless once the end was awaited."""
        if self._status is None:
            os.kill(self.pid, number)

    def stopped(self) -> None:
        """Wait until it is stopped (by itself or by SIGSTOP), all its threads at once."""
        status = self._nursery.ask(wait=self.pid, stopped=True)
        assert os.WIFSTOPPED(status), f"the child ended with status {status} instead of stopping"

    def _receive(self, deadline_s: float) -> bytes:
        ready, _, _ = select.select([self._stream], [], [], max(0.0, deadline_s - time.monotonic()))
        assert ready, f"the child (process {self.pid}) was silent for too long"
        try:
            return self._stream.recv(65536)
        except ConnectionResetError:
            return b""


class Nursery:
    """The helper process; `close` kills every child that is left."""

    def __init__(self, *preload: str) -> None:
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(PATIENCE_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", __name__, str(theirs.fileno()), *preload],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        self.children: list[Child] = []

    def fork(self, target: Callable[..., None], *args: Any, **environment: str) -> Child:
        """Run ``target(*args)`` (a module's function, plain data) in a process of its own."""
        request = {"target": [target.__module__, target.__qualname__], "args": args, "environment": environment}
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = Child(self, self.ask(theirs, **request), ours)
            except BaseException:
                ours.close()
                raise
        self.children.append(child)
        return child

    def ask(self, gift: socket.socket | None = None, **request: Any) -> int:
        """One request to the helper and its answer."""
        message = json.dumps(request).encode() + b"\n"
        if gift is None:
            self._channel.sendall(message)
        else:
            socket.send_fds(self._channel, [message], [gift.fileno()])
        answer = self._channel.recv(64)
        assert answer, "the helper process died"
        return int(answer)

    def clear(self) -> None:
        """Kill the children of one test."""
        for child in self.children:
            child.kill()
        while self.children:
            self.children.pop().ended()

    def close(self) -> None:
        """Kill what is left and end the helper."""
        self._channel.close()
        self._process.wait(PATIENCE_S)


def _serve(channel: socket.socket) -> None:
    alive: set[int] = set()
    while True:
        message, files, _, _ = socket.recv_fds(channel, 65536, 1)
        if not message:
            break
        request = json.loads(message)
        if "wait" in request:
            pid, answer = os.waitpid(request["wait"], os.WUNTRACED if request.get("stopped") else 0)
            if not os.WIFSTOPPED(answer):
                alive.discard(pid)
        else:
            answer = os.fork()
            if answer == 0:
                channel.close()
                _live(files[0], **request)
            alive.add(answer)
            os.close(files[0])
        channel.sendall(b"%d" % answer)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _live(stream: int, target: list[str], args: list[Any], environment: dict[str, str]) -> NoReturn:
    """The life of a child."""
    code = 1
    try:
        os.dup2(stream, 0)
        os.dup2(stream, 1)
        os.close(stream)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        os.environ.update(environment)
        getattr(importlib.import_module(target[0]), target[1])(*args)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    for module in sys.argv[2:]:
        importlib.import_module(module)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        _serve(channel)
