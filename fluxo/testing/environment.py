"""
`Environment`: an engine on virtual time, for tests of one's own workflows.

Owns: the simulated process that a test drives, its time, and where the test lets it die. Must not know how a trial is
judged. Everything happens in the test's own thread, and only while the test waits: `advance` lets time pass, `result`
skips to the end. Theory: `fluxo.testing.simulation`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, cast, overload

from fluxo.authoring.workflow import AsyncWorkflow, Workflow
from fluxo.clock import from_us
from fluxo.codec.event import decode_event
from fluxo.engine import Engine, Handle
from fluxo.errors import UsageError
from fluxo.model.events import Event, RunWaiting, StepCompleted, StepFailed, StepRetried
from fluxo.model.run import OPEN, RunStatus
from fluxo.store import Append, Committed, Outcome
from fluxo.testing.bodies import Bodies, Call
from fluxo.testing.durations import Span, seconds_of
from fluxo.testing.errors import SimulationStuckError
from fluxo.testing.quiet import quiet
from fluxo.testing.simulation.cluster import Cluster, SimNode
from fluxo.testing.simulation.faults import Fault, Verdict

__all__ = ["Environment", "EnvironmentRun", "StepCalls"]

P = ParamSpec("P")
R = TypeVar("R")

_LEASE_S: Final = 1e7
_WITHIN_S: Final = 3.2e9
_MOMENTS: Final = ("before", "after", "recorded")


class Environment:
    """
    A process with an engine in it, on virtual time; a context manager.

    Args:
        fakes: What stands in for step bodies, by step name: a value, an exception, or a function of the step's
            arguments.
        resources: What steps get from `fluxo.resource`.
        concurrency: Sync runs at once.

    Raises:
        UsageError: a fake for a step that does not exist.

    Attributes:
        on_crash: Called when the process has died, before another is started.
    """

    def __init__(
        self,
        *,
        fakes: Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        concurrency: int = 8,
    ) -> None:
        self._switch = _Switch()
        self._bodies = Bodies(fakes or {}, self._before, self._after)
        self._cluster = Cluster(
            faults=self._switch,
            lease_s=_LEASE_S,
            resources=resources,
            stand_in=self._bodies.stand_in,
            concurrency=concurrency,
        )
        self._cluster.on_crash = self._crashed
        self._cluster.on_appended = self._appended
        self.on_crash: Callable[[], object] | None = None
        self._crashes = 0
        self._closed = False
        self._boot()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    @property
    def engine(self) -> Engine:
        """The engine of the process that lives now; another one after a crash."""
        return self._cluster.nodes[-1].engine

    @property
    def now(self) -> datetime:
        """What time it is here; UTC."""
        return from_us(self._cluster.clock.now_us())

    @property
    def crashes(self) -> int:
        """How often the process has died."""
        return self._crashes

    @overload
    def start(self, workflow: AsyncWorkflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> EnvironmentRun[R]: ...
    @overload
    def start(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> EnvironmentRun[R]: ...
    def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Start a run, and let it go on as far as it comes without time passing; see `Engine.start`."""
        with quiet():
            handle: Handle[Any] = self.engine.start(workflow, *args, **kwargs)
        self.advance(0.0)
        run: EnvironmentRun[Any] = EnvironmentRun(self, handle.id)
        return run

    @overload
    def run(self, workflow: AsyncWorkflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run(self, workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def run(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Start a run, skip to its end, and return its result; see `EnvironmentRun.result`."""
        return self.start(workflow, *args, **kwargs).result()

    def advance(self, span: Span) -> None:
        """Let time pass, and everything happen that is due in it: seconds, a timedelta, or as in ``"3d"``."""
        within_s = seconds_of(span)
        with quiet():
            self._cluster.run(lambda: False, within_s)

    def fake(self, step: str, fake: Any) -> None:
        """
        From now on this stands in for a step's body.

        Raises:
            UsageError: there is no such step.
        """
        self._bodies.fake(step, fake)

    def crash(self) -> None:
        """The process dies now, and another one is started."""
        self._cluster.nodes[-1].die()
        self._crashed(self._cluster.nodes[-1])
        self.advance(0.0)

    def crash_at(self, moment: str, *, times: int = 1) -> None:
        """
        Let the process die when it comes to a moment, and another one be started.

        Args:
            moment: ``"before:charge"``, when the body of step `charge` is about to begin; ``"after:charge"``, when it
                has returned or raised and nothing is recorded; ``"recorded:charge"``, when its outcome is in the log
                and nobody has heard of it.
            times: How often.

        Raises:
            UsageError: no such moment.
        """
        when, separator, step = moment.partition(":")
        if when not in _MOMENTS or not separator or not step:
            raise UsageError(f"{moment!r} is no moment: write one of {', '.join(f'{when}:STEP' for when in _MOMENTS)}")
        self._switch.moments[moment] = self._switch.moments.get(moment, 0) + times

    def close(self) -> None:
        """
        End the process. Idempotent.

        Raises:
            Exception: what came out of the engine's own threads: a defect of fluxo.
        """
        if not self._closed:
            self._closed = True
            for failure in self._cluster.close():
                raise failure

    def until(self, run_id: str, statuses: Collection[RunStatus]) -> None:
        """
        Skip until a run has one of these statuses.

        Raises:
            SimulationStuckError: it never comes to that; the message says what it waits for.
        """

        def reached() -> bool:
            return self.status(run_id) in statuses

        with quiet():
            if not self._cluster.run(reached, _WITHIN_S):
                raise SimulationStuckError(f"run {run_id!r} is {self.status(run_id)}{self._waits(run_id)}")

    def status(self, run_id: str) -> RunStatus:
        """Where a run stands now."""
        return self.engine.get(run_id).status()

    def history(self, run_id: str) -> tuple[Event, ...]:
        """A run's events so far."""
        return self.engine.history(run_id)

    def calls(self, run_id: str, step: str) -> tuple[Call, ...]:
        """All attempts of a step in a run whose body was begun."""
        return tuple(call for call in self._bodies.calls if call.name == step and call.key.startswith(f"{run_id}/"))

    def _waits(self, run_id: str) -> str:
        last = self.history(run_id)[-1]
        if not isinstance(last, RunWaiting) or not last.waits:
            return " and nothing is left to happen"
        waits = ", ".join(f"{wait.kind} {wait.name!r} at {wait.site}" for wait in last.waits)
        return f" and waits for {waits}: send it, with run.signal(...)"

    def _boot(self) -> None:
        node = self._cluster.boot()
        with quiet():
            self._cluster.run(lambda: node.opened)

    def _crashed(self, node: SimNode) -> None:
        self._crashes += 1
        if self.on_crash is not None:
            self.on_crash()
        replacement = self._cluster.boot()
        if self._cluster.scheduler.current is None:
            with quiet():
                self._cluster.run(lambda: replacement.opened)

    def _before(self, call: Call) -> None:
        self._strike(f"before:{call.name}")

    def _after(self, call: Call) -> None:
        self._strike(f"after:{call.name}")

    def _strike(self, moment: str) -> None:
        if self._switch.due(moment):
            self._cluster.nodes[-1].crash()

    def _appended(self, node: SimNode, batch: Sequence[Append], outcomes: Sequence[Outcome]) -> None:
        for append, outcome in zip(batch, outcomes, strict=True):
            for row in append.events:
                event = decode_event(row[3])
                if (
                    isinstance(outcome, Committed)
                    and isinstance(event, StepCompleted | StepFailed | StepRetried)
                    and self._switch.due(f"recorded:{event.name}")
                ):
                    self._switch.strike = True


class EnvironmentRun(Generic[R]):
    """One run of an environment; what `Handle` is elsewhere, and good across crashes."""

    def __init__(self, environment: Environment, run_id: str) -> None:
        self.id = run_id
        self._environment = environment

    def __repr__(self) -> str:
        return f"EnvironmentRun({self.id!r})"

    @property
    def engine(self) -> Engine:
        """The engine that has it now; another one after a crash."""
        return self._environment.engine

    @property
    def status(self) -> RunStatus:
        """Where it stands now."""
        return self._environment.status(self.id)

    def result(self) -> R:
        """
        Skip to its end.

        Raises:
            RunFailedError, RunCancelledError, RunBlockedError: as `Handle.result`.
            SimulationStuckError: it has no end without a signal; the message says which.
        """
        self._environment.until(self.id, [status for status in RunStatus if status not in OPEN])
        return cast(R, self._environment.engine.get(self.id).result())

    def history(self) -> tuple[Event, ...]:
        """Its events so far."""
        return self._environment.history(self.id)

    def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send it a signal, and let it go on as far as it comes without time passing."""
        self._environment.engine.signal(self.id, name, payload, key=key)
        self._environment.advance(0.0)

    def cancel(self, *, force: bool = False) -> bool:
        """Cancel it; see `Engine.cancel`."""
        cancelled = self._environment.engine.cancel(self.id, force=force)
        self._environment.advance(0.0)
        return cancelled

    def resume(self) -> None:
        """Let it go on from where it failed; see `Engine.resume`."""
        self._environment.engine.resume(self.id)
        self._environment.advance(0.0)

    def step(self, name: str) -> StepCalls:
        """What was done of a step."""
        return StepCalls(self._environment.calls(self.id, name))


class StepCalls:
    """
    The attempts of one step in one run.

    Attributes:
        calls: Each attempt whose body was begun, in order; after a crash the same attempt may be there twice.
    """

    def __init__(self, calls: tuple[Call, ...]) -> None:
        self.calls = calls

    @property
    def attempts(self) -> int:
        """How often its body was begun."""
        return len(self.calls)

    @property
    def args(self) -> list[tuple[Any, ...]]:
        """The positional arguments of each attempt."""
        return [call.args for call in self.calls]

    @property
    def results(self) -> list[Any]:
        """What the attempts returned that did."""
        return [call.value for call in self.calls if call.ended and call.error is None]

    @property
    def errors(self) -> list[BaseException]:
        """What the attempts raised that did."""
        return [call.error for call in self.calls if call.error is not None]


class _Switch:
    """
    Faults: none but the deaths that the test has asked for.

    Attributes:
        moments: Which are to come, and how often.
        strike: The append that is being answered is such a moment.
    """

    def __init__(self) -> None:
        self.moments: dict[str, int] = {}
        self.strike = False

    def due(self, moment: str) -> bool:
        """Whether this moment was asked for; counts it."""
        left = self.moments.get(moment, 0)
        if left:
            self.moments[moment] = left - 1
        return left > 0

    def at(self, process: str, point: str) -> Verdict:
        if self.strike and point == "after append":
            self.strike = False
            return Verdict.CRASH
        return Verdict.GO

    def on_call(self, process: str, method: str) -> Fault:
        return Fault.NONE

    def stop_s(self) -> float:
        return 0.0

    def delay_s(self) -> float:
        return 0.0

    def hints(self) -> Collection[float]:
        return (0.0,)
