"""
Spans of time as tests like to write them.

Owns: ``"3d"``, ``"1h30m"``, seconds and timedelta, in seconds. Must not know clocks.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from fluxo.errors import UsageError

__all__ = ["Span", "seconds_of"]

Span = float | timedelta | str
"""Seconds, a timedelta, or units in falling order: ``"2w"``, ``"3d"``, ``"1h30m"``, ``"45s"``, ``"20ms"``."""

_UNITS_S: Final = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_TEXT: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)w)?" + "".join(rf"(?:(\d+(?:\.\d+)?){u})?" for u in ("d", "h", "m(?!s)", "s", "ms"))
)


def seconds_of(span: Span) -> float:
    """
    A span in seconds.

    Raises:
        UsageError: negative, or not readable.
    """
    if isinstance(span, str):
        match = _TEXT.fullmatch(span.replace(" ", ""))
        if match is None or not any(match.groups()):
            raise UsageError(f"{span!r} is no span of time: write seconds, a timedelta, or units as in '3d' or '1h30m'")
        return sum(
            float(number) * unit for number, unit in zip(match.groups(), _UNITS_S.values(), strict=True) if number
        )
    total_s = span.total_seconds() if isinstance(span, timedelta) else float(span)
    if not 0 <= total_s < float("inf"):
        raise UsageError(f"a span of time must not be negative or endless, and {span!r} is")
    return total_s
