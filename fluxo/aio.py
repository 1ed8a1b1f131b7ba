"""
The awaitable spelling of what an async workflow calls: ``fluxo.aio.sleep``, ``fluxo.aio.wait_signal`` …

Owns: the names only. Plain asyncio (sleep, gather, TaskGroup, timeout, Queue, Lock, Event) is durable as it is.
"""

from fluxo.authoring.fan_out import async_as_completed as as_completed
from fluxo.authoring.fan_out import async_wait as wait
from fluxo.authoring.flow import async_signal as signal
from fluxo.authoring.flow import async_sleep as sleep
from fluxo.authoring.flow import async_sleep_until as sleep_until
from fluxo.authoring.flow import async_wait_any_signal as wait_any_signal
from fluxo.authoring.flow import async_wait_signal as wait_signal

__all__ = ["as_completed", "signal", "sleep", "sleep_until", "wait", "wait_any_signal", "wait_signal"]
