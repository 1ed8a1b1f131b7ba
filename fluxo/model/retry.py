"""
When a failed attempt is tried again.

Owns: `Retry` and its arithmetic. Must not know clocks or random sources: the jitter's draw is an
argument, so that it can be recorded once and replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fluxo.errors import ConfigurationError
from fluxo.limits import DURATION_S_MAX

__all__ = ["NO_RETRY", "Retry", "seconds"]


def seconds(what: str, value: float | timedelta) -> float:
    """
    A duration as seconds.

    Raises:
        ConfigurationError: negative, not finite, too long, or neither a number nor a timedelta.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{what} must be seconds or a timedelta, not {type(value).__name__}")
    if not 0 <= value < float("inf"):
        raise ConfigurationError(f"{what} must be zero or more and finite")
    if value > DURATION_S_MAX:
        raise ConfigurationError(f"{what} must be at most {DURATION_S_MAX:g} seconds, a hundred years")
    return float(value)


@dataclass(frozen=True, slots=True)
class Retry:
    """
    How often, when and for which errors a step is tried again.

    Attributes:
        max_attempts: All tries together, from 1.
        initial: Delay before the second attempt, seconds or timedelta.
        multiplier: Growth of the delay from attempt to attempt, at least 1.
        maximum: Upper bound of a delay, seconds or timedelta.
        jitter: A delay is drawn from ± this fraction of itself, 0 to 1.
        retry_on: Only errors of these classes are retried.
        give_up_on: Errors of these classes never are.
    """

    max_attempts: int = 3
    initial: float | timedelta = 1.0
    multiplier: float = 2.0
    maximum: float | timedelta = 60.0
    jitter: float = 0.1
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ConfigurationError("Retry.max_attempts must be a whole number from 1")
        object.__setattr__(self, "initial", seconds("Retry.initial", self.initial))
        object.__setattr__(self, "maximum", seconds("Retry.maximum", self.maximum))
        if not 1 <= self.multiplier < float("inf"):
            raise ConfigurationError("Retry.multiplier must be at least 1 and finite")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError("Retry.jitter must be between 0 and 1")
        for name in ("retry_on", "give_up_on"):
            classes = getattr(self, name)
            if isinstance(classes, type):
                classes = (classes,)
            classes = tuple(classes)
            if not all(isinstance(c, type) and issubclass(c, BaseException) for c in classes):
                raise ConfigurationError(f"Retry.{name} must hold exception classes")
            object.__setattr__(self, name, classes)

    def allows(self, attempt: int, error: BaseException) -> bool:
        """Whether another attempt may follow the `attempt`-th (from 1), which failed with `error`."""
        return (
            attempt < self.max_attempts and isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)
        )

    def delay_us(self, attempt: int, draw: float) -> int:
        """
        Microseconds between the `attempt`-th attempt's failure and the next; `draw` is uniform in [0, 1).

        ``min(maximum, initial · multiplier^(attempt-1)) · (1 + jitter · (2·draw - 1))``
        """
        initial, maximum = seconds("initial", self.initial), seconds("maximum", self.maximum)
        try:
            base = min(maximum, initial * self.multiplier ** (attempt - 1))
        except OverflowError:
            base = maximum
        return round(base * (1 + self.jitter * (2 * draw - 1)) * 1_000_000)


NO_RETRY = Retry(max_attempts=1)
