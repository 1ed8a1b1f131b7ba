"""
`fluxo.logger`: a logger that knows the run and stays silent on replay.

Owns: what is added to records. Must not know handlers or formats. Loaded on first use, because logging is dear to
import.
"""

from __future__ import annotations

import logging
from typing import Any

from fluxo.authoring.context import active

__all__ = ["logger"]


class _RunLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds run_id, workflow and step to records, and stays silent while a workflow is being replayed."""

    def isEnabledFor(self, level: int) -> bool:
        scope = active.get(None)
        return (scope is None or not scope.info().replaying) and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        scope = active.get(None)
        if scope is not None:
            facts = scope.info()
            own = {"run_id": facts.run_id, "workflow": facts.workflow, "step": facts.step, "attempt": facts.attempt}
            kwargs["extra"] = {**own, **(kwargs.get("extra") or {})}
        return msg, kwargs


logger = _RunLogger(logging.getLogger("fluxo.run"), None)
