"""
Every exception fluxo raises, in one tree.

Owns: the classes, their fields and their messages. Each message says what happened, to which run
or value, and what to do next. Must not know anything else of fluxo: this module imports only the
standard library, so that any layer can raise any error.

::

    FluxoError(Exception)
    ├─ ConfigurationError          wrong before anything runs
    │  ├─ UsageError               right function, wrong spelling or place
    │  ├─ UnknownWorkflowError · UnknownStepError · DuplicateNameError
    │  └─ MissingExtraError        names the extra to install
    ├─ RunError                    .run_id
    │  ├─ RunNotFoundError · RunExistsError
    │  ├─ RunFailedError           __cause__ is the original error
    │  ├─ RunCancelledError · RunBlockedError
    │  └─ ResultTimeoutError · RunTimeoutError          (also TimeoutError)
    ├─ StepError                   .step
    │  ├─ StepFailedError          the original class cannot be rebuilt
    │  └─ StepTimeoutError         (also TimeoutError)
    ├─ SignalTimeoutError          (also TimeoutError)
    ├─ ReplayError                 blocks the run, never fails it
    │  ├─ NonDeterminismError      .seq .expected .actual
    │  └─ HistoryCorruptError · LimitExceededError
    ├─ StoreError
    │  ├─ ConflictError · LeaseLostError · SchemaVersionError
    │  └─ StoreUnavailableError
    ├─ CodecError ─ EncodeError · DecodeError
    └─ FluxoInternalError          our bug
    Control flow, derived from BaseException so that ``except Exception`` lets it pass:
    Suspend · Cancelled

Bases are never raised. Every class pickles: its constructor arguments are ``args``.
"""

from __future__ import annotations


class FluxoError(Exception):
    """Base of every error fluxo raises."""


class ConfigurationError(FluxoError):
    """Something is wrong before anything runs; the message names the setting and the cure."""


class UsageError(ConfigurationError):
    """A fluxo name was used in the wrong place or spelling; the message gives the right one."""


class UnknownWorkflowError(ConfigurationError):
    """No workflow of this name and version is registered in this process."""

    def __init__(self, name: str, version: str, *, run_id: str | None = None) -> None:
        super().__init__(name, version)
        self.name, self.version, self.run_id = name, version, run_id

    def __str__(self) -> str:
        run = f" (run {self.run_id!r})" if self.run_id else ""
        return (
            f"no workflow {self.name!r} version {self.version!r} is registered here{run}; "
            "import the module that decorates it before the engine starts. The run is left for other workers."
        )


class UnknownStepError(ConfigurationError):
    """No step of this name is registered in this process."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no step {self.name!r} is registered here; import the module that decorates it first"


class DuplicateNameError(ConfigurationError):
    """Two different functions were registered under one (name, version)."""

    def __init__(self, kind: str, name: str, version: str, first: str, second: str) -> None:
        super().__init__(kind, name, version, first, second)
        self.kind, self.name, self.version, self.first, self.second = kind, name, version, first, second

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name!r} version {self.version!r} is already registered from {self.first}; "
            f"{self.second} needs another name= or version="
        )


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(what, extra)
        self.what, self.extra = what, extra

    def __str__(self) -> str:
        return f"{self.what} needs an optional dependency: pip install 'fluxo-durable[{self.extra}]'"


class RunError(FluxoError):
    """An error about one run; `run_id` names it."""

    run_id: str


class RunNotFoundError(RunError, LookupError):
    """No run has this id in this namespace."""

    def __init__(self, run_id: str, namespace: str) -> None:
        super().__init__(run_id, namespace)
        self.run_id, self.namespace = run_id, namespace

    def __str__(self) -> str:
        return (
            f"no run {self.run_id!r} in namespace {self.namespace!r}; "
            "check the id, the namespace and the store, or whether it was purged"
        )


class RunExistsError(RunError):
    """The id is taken by a run of another workflow, or with another input."""

    def __init__(self, run_id: str, differs: str) -> None:
        super().__init__(run_id, differs)
        self.run_id, self.differs = run_id, differs

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} exists already with another {self.differs}; "
            "use another id, or the same workflow and input to get the existing run"
        )


class RunFailedError(RunError):
    """The run ended with an error; `__cause__` is that error, rebuilt."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(run_id, reason)
        self.run_id, self.reason = run_id, reason

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} failed: {self.reason}; after the cause is put right, resume it with engine.resume()"
        )


class RunCancelledError(RunError):
    """The run was cancelled."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} was cancelled; start it again under another id if that was a mistake"


class RunBlockedError(RunError):
    """The engine refuses to go on with the run until someone acts; nothing is lost."""

    def __init__(self, run_id: str, reason: str, report: str) -> None:
        super().__init__(run_id, reason, report)
        self.run_id, self.reason, self.report = run_id, reason, report

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} is blocked ({self.reason}): {self.report}\n"
            "Nothing is lost: put the cause right, then call engine.resume()."
        )


class ResultTimeoutError(RunError, TimeoutError):
    """The caller stopped waiting for a result; the run goes on."""

    def __init__(self, run_id: str, timeout_s: float) -> None:
        super().__init__(run_id, timeout_s)
        self.run_id, self.timeout_s = run_id, timeout_s

    def __str__(self) -> str:
        return f"run {self.run_id!r} has no result after {self.timeout_s:g} s; it goes on, ask again later"


class RunTimeoutError(RunError, TimeoutError):
    """The run did not end within its workflow's `timeout`."""

    def __init__(self, run_id: str, timeout_s: float) -> None:
        super().__init__(run_id, timeout_s)
        self.run_id, self.timeout_s = run_id, timeout_s

    def __str__(self) -> str:
        return f"run {self.run_id!r} did not end within its timeout of {self.timeout_s:g} s"


class StepError(FluxoError):
    """An error fluxo raises inside workflow code on behalf of a step; `step` names it."""

    step: str


class StepFailedError(StepError):
    """A step failed with an error whose class cannot be rebuilt from data; the text is kept."""

    def __init__(self, step: str, error_type: str, message: str) -> None:
        super().__init__(step, error_type, message)
        self.step, self.error_type, self.message = step, error_type, message

    def __str__(self) -> str:
        return (
            f"step {self.step!r} raised {self.error_type}: {self.message} "
            f"(kept as text because {self.error_type} cannot be rebuilt from its args; "
            "give it data-only args and a __str__ built from them to catch it by class)"
        )


class StepTimeoutError(StepError, TimeoutError):
    """One attempt of a step ran longer than the step's `timeout`; its late result is dropped."""

    def __init__(self, step: str, timeout_s: float) -> None:
        super().__init__(step, timeout_s)
        self.step, self.timeout_s = step, timeout_s

    def __str__(self) -> str:
        return (
            f"an attempt of step {self.step!r} did not finish within {self.timeout_s:g} s and was abandoned; "
            "raise its timeout=, or give it retry=Retry(...)"
        )


class SignalTimeoutError(FluxoError, TimeoutError):
    """No awaited signal came before the deadline."""

    def __init__(self, names: str, timeout_s: float) -> None:
        super().__init__(names, timeout_s)
        self.names, self.timeout_s = names, timeout_s

    def __str__(self) -> str:
        return (
            f"signal {self.names} did not arrive within {self.timeout_s:g} s; "
            "catch SignalTimeoutError to go on without it"
        )


class ReplayError(FluxoError):
    """The history and the code, or the history and itself, do not fit; blocks the run."""


class NonDeterminismError(ReplayError):
    """Replay produced other commands than the history holds."""

    def __init__(self, run_id: str, seq: int, expected: str, actual: str, report: str) -> None:
        super().__init__(run_id, seq, expected, actual, report)
        self.run_id, self.seq, self.expected, self.actual, self.report = run_id, seq, expected, actual, report

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} left its recorded path at event {self.seq}: "
            f"recorded {self.expected}, produced {self.actual}\n{self.report}"
        )


class HistoryCorruptError(ReplayError):
    """An event of this run is damaged or missing; other runs are not affected."""

    def __init__(self, run_id: str, seq: int, problem: str) -> None:
        super().__init__(run_id, seq, problem)
        self.run_id, self.seq, self.problem = run_id, seq, problem

    def __str__(self) -> str:
        return (
            f"history of run {self.run_id!r} is damaged at event {self.seq}: {self.problem}; "
            "restore the row from a backup, then resume the run. Other runs are not affected."
        )


class LimitExceededError(ReplayError):
    """A bound of `fluxo.limits` would be passed; nothing was written."""

    def __init__(self, what: str, size: int, limit: int, cure: str) -> None:
        super().__init__(what, size, limit, cure)
        self.what, self.size, self.limit, self.cure = what, size, limit, cure

    def __str__(self) -> str:
        return f"{self.what} is {self.size:,}, the limit is {self.limit:,}; {self.cure}"


class StoreError(FluxoError):
    """An error about the store; drivers' own errors are its `__cause__`."""


class ConflictError(StoreError):
    """Another writer owns the next event of this run; the caller must re-read."""

    def __init__(self, run_id: str, seq: int) -> None:
        super().__init__(run_id, seq)
        self.run_id, self.seq = run_id, seq

    def __str__(self) -> str:
        return (
            f"event {self.seq} of run {self.run_id!r} was written by someone else; read the run again and decide anew"
        )


class LeaseLostError(StoreError):
    """Another worker took the run over; whatever this worker still does to it is refused."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} was taken over by another worker; its handle still leads to the result"


class SchemaVersionError(StoreError):
    """The database was not made by a version of fluxo that this one understands."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}; nothing was written"


class StoreUnavailableError(StoreError, ConnectionError):
    """The store did not do what was asked; nothing was written unless the message says otherwise."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


class CodecError(FluxoError):
    """A value and its encoded form do not fit."""


class EncodeError(CodecError):
    """A value cannot be stored so that it comes back the same; nothing was written."""

    def __init__(self, where: str, path: str, problem: str, cure: str) -> None:
        super().__init__(where, path, problem, cure)
        self.where, self.path, self.problem, self.cure = where, path, problem, cure

    def __str__(self) -> str:
        return f"{self.where}: {self.path} {self.problem}; {self.cure}"


class DecodeError(CodecError):
    """Stored bytes cannot be read back as the type the code asks for."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return (
            f"{self.where}: {self.problem}; put the annotation back or register the missing module, then resume the run"
        )


class FluxoInternalError(FluxoError):
    """A rule that fluxo promises itself was broken: a bug in fluxo."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"fluxo broke its own rule: {self.what}; please report this with the traceback"


class Suspend(BaseException):
    """
    Leaves a workflow body that has to wait, or whose run another worker took over.

    Not an error and not an `Exception`: let it pass. A body that swallows it is found out at its next
    command, its outcome is discarded, and a warning names it.
    """


class Cancelled(BaseException):
    """Raised once at the current wait of a sync workflow whose run is being cancelled."""
