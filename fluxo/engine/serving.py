"""
A process that works until it is told to stop.

Owns: the handlers of SIGTERM and SIGINT while an engine serves, and the waiting for them. Must not know what is opened
or closed in between. The system may give a signal to any thread, and a main thread that waits for a lock would not
notice; it waits on a socket instead, to which Python itself writes for every signal.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable

__all__ = ["serve_until_told"]

_STOPS = (signal.SIGTERM, signal.SIGINT)


def serve_until_told(begin: Callable[[], None], end: Callable[[], None]) -> None:
    """
    Call `begin`, wait for SIGTERM or SIGINT, call `end`; a second signal ends the process at once. Main thread only.

    Raises:
        Exception: what `begin` or `end` raised.
    """
    asked: list[int] = []
    problems: list[BaseException] = []
    waking, woken = socket.socketpair()
    waking.setblocking(False)

    def on_signal(number: int, _: object) -> None:
        if asked:
            os._exit(128 + number)
        asked.append(number)

    def close() -> None:
        try:
            end()
        except BaseException as problem:
            problems.append(problem)
        finally:
            waking.send(b"\0")

    handlers = {number: signal.signal(number, on_signal) for number in _STOPS}
    standing_fd = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    try:
        begin()
        while not asked:
            woken.recv(16)
        # On a thread, so that this one stays free for a second signal.
        closing = threading.Thread(target=close, name="fluxo-closing")
        closing.start()
        while closing.is_alive() and b"\0" not in woken.recv(16):
            pass
        closing.join()
    finally:
        signal.set_wakeup_fd(standing_fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        waking.close()
        woken.close()
    for problem in problems:
        raise problem
