"""
Publish and subscribe on Redis.

Owns: the listening connection. Must not know what changed. Scripts publish in the same step as they write; what a store
has published itself it does not hear.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

__all__ = ["PubSubLine"]


class PubSubLine:
    """Hears other stores' publications."""

    def __init__(self, client: Any, channel: str, own: bytes) -> None:
        self._own = own
        self._subscription = client.pubsub(ignore_subscribe_messages=True)
        self._subscription.subscribe(channel)
        self._hung_up = False

    def hear(self, timeout_s: float) -> bool:
        # redis-py's socket cannot be woken by another thread: short waits, so that hanging up is noticed.
        for _ in range(round(timeout_s / 0.5)):
            message = self._subscription.get_message(timeout=0.5)
            if self._hung_up:
                return False
            if message is not None and message["data"] != self._own:
                return True
        self._subscription.check_health()
        return False

    def hang_up(self) -> None:
        self._hung_up = True
        with suppress(Exception):
            self._subscription.connection.disconnect()

    def close(self) -> None:
        with suppress(Exception):
            self._subscription.close()
