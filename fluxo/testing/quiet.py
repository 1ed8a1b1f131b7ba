"""
Silence while runs are tried out.

Owns: fluxo's own loggers during a trial: what they would say of deaths and takeovers was arranged by the test, and what
a workflow says through `fluxo.logger` it would say once per trial. Must not touch any logger of the user's.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["quiet"]

_LOGGERS = ("fluxo.engine", "fluxo.run")


@contextmanager
def quiet() -> Generator[None]:
    """Nothing from fluxo in the logs meanwhile."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    standing = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, standing, strict=True):
            logger.disabled = disabled
