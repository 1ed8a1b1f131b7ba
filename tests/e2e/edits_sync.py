"""
Sync programs and edits of them; see `tests.e2e.edits`.

Owns: one program per row of the table of edits that engines were probed with. Must not know how they are checked.
"""

from __future__ import annotations

import random
import time
from typing import Any

import fluxo
from fluxo import Retry
from tests.e2e.edits import HOUR_S, add, flaky, reported, take, tolerated, unrecorded


def go() -> Any:
    return fluxo.wait_signal("go")


@reported("arguments, from byte")
def argument_changed(edited: bool) -> Any:
    add(1)
    return [add(3 if edited else 2), go()]  # recorded and produced


@reported("arguments, from byte")
def random_argument(edited: bool) -> Any:
    chance = random if edited else random.Random(1)
    return [add(chance.random()), go()]  # recorded and produced


@reported("arguments, from byte")
def wall_clock_in_an_argument(edited: bool) -> Any:
    now_s = time.time() if edited else 5.0
    return [add(now_s), go()]  # recorded and produced


@reported("arguments, from byte")
def set_iterated_in_another_order(edited: bool) -> Any:
    numbers = (2, 3, 1) if edited else (1, 2, 3)
    return [[add(number) for number in numbers], go()]  # recorded and produced


@reported("arguments, from byte")
def two_of_one_name_swapped_in_sequence(edited: bool) -> Any:
    if edited:
        second = add(2)  # produced
        first = add(1)
    else:
        first = add(1)  # recorded
        second = add(2)
    return [first, second, go()]


@reported("arguments, from byte")
def two_of_one_name_swapped_in_parallel(edited: bool) -> Any:
    futures = [add.submit(number) for number in ((2, 1) if edited else (1, 2))]  # recorded and produced
    return [fluxo.gather(*futures), go()]


@reported("name: recorded 'edits.add', produced 'edits.plus'")
def step_renamed(edited: bool) -> Any:
    renamed = add.options(name="edits.plus") if edited else add
    return [renamed(1), go()]  # recorded and produced


@reported("kind: recorded step, produced timer")
def step_became_a_sleep(edited: bool) -> Any:
    fluxo.sleep(1) if edited else add(1)  # recorded and produced
    return go()


@reported("kind: recorded step, produced signal")
def step_became_a_wait(edited: bool) -> Any:
    fluxo.wait_signal("other") if edited else add(1)  # recorded and produced
    return go()


@reported("kind: recorded timer, produced step")
def sleep_became_a_step(edited: bool) -> Any:
    take(1) if edited else fluxo.sleep(0)  # recorded and produced
    return go()


@reported("kind: recorded signal, produced timer")
def wait_became_a_sleep(edited: bool) -> Any:
    add(1)
    return fluxo.sleep(1) if edited else fluxo.wait_signal("go")  # recorded and produced


@reported("name: recorded 'edits.add', produced 'edits.take'")
def step_removed_with_others_following(edited: bool) -> Any:
    add(1)
    if not edited:
        add(2)  # recorded
    return [take(3), go()]  # produced


@reported("the workflow ended before this event", produced="returned")
def trailing_steps_removed(edited: bool) -> Any:
    first = add(1)
    return [first] if edited else [first, add(2), add(3), go()]  # recorded


@reported("the workflow ended before this event", produced="returned")
def wait_removed_at_the_end(edited: bool) -> Any:
    first = add(1)
    return [first] if edited else [first, fluxo.wait_signal("go")]  # recorded


@reported("the workflow ended before this event")
def error_raised_early(edited: bool) -> Any:
    first = add(1)
    if edited:
        raise LookupError("a bug in the new code")  # produced
    return [first, add(2), go()]  # recorded


@reported("name: recorded 'edits.add', produced 'edits.take'")
def step_inserted_before_recorded_ones(edited: bool) -> Any:
    if edited:
        take(9)  # produced
    return [add(1), add(2), go()]  # recorded


@reported("kind: recorded signal, produced step")
def step_inserted_where_only_a_wait_follows(edited: bool) -> Any:
    add(1)
    if edited:
        take(9)  # produced
    return fluxo.wait_signal("go")  # recorded


@reported("arguments, from byte")
def timer_that_fired_changed(edited: bool) -> Any:
    fluxo.sleep(5 if edited else 0)  # recorded and produced
    return go()


@reported("arguments, from byte")
def timer_still_waiting_changed(edited: bool) -> Any:
    add(1)
    fluxo.sleep(2 * HOUR_S if edited else HOUR_S)  # recorded and produced
    return go()


@reported("arguments, from byte")
def deadline_of_a_wait_changed(edited: bool) -> Any:
    return fluxo.wait_signal("go", timeout=HOUR_S if edited else 9 * HOUR_S)  # recorded and produced


@reported("name: recorded 'go', produced 'other'")
def awaited_signal_renamed(edited: bool) -> Any:
    return fluxo.wait_signal("other" if edited else "go")  # recorded and produced


@reported("kind: recorded signal, produced step")
def map_over_a_longer_list(edited: bool) -> Any:
    results = add.map([1, 2, 3, 4] if edited else [1, 2, 3], concurrency=1)  # produced
    return [results, fluxo.wait_signal("go")]  # recorded


@reported("kind: recorded step, produced signal")
def map_over_a_shorter_list(edited: bool) -> Any:
    results = add.map([1, 2] if edited else [1, 2, 3], concurrency=1)  # recorded
    return [results, fluxo.wait_signal("go")]  # produced


@reported("arguments, from byte")
def argument_of_a_step_that_waits_for_its_retry(edited: bool) -> Any:
    return [flaky(2 if edited else 1), go()]  # recorded and produced


@tolerated
def code_after_the_last_event(edited: bool) -> Any:
    answer = [add(1), go()]
    if edited:
        take(2)
    return answer


@tolerated
def code_between_the_same_steps(edited: bool) -> Any:
    if edited:
        total = add(1)
        total += add(2)
    else:
        total = sum([add(1), add(2)])
    go()
    return total


@tolerated
def options_of_a_step(edited: bool) -> Any:
    patient = add.options(retry=Retry(max_attempts=9), timeout=60) if edited else add
    return [patient(1), go()]


@tolerated
def arguments_that_are_not_recorded(edited: bool) -> Any:
    return [unrecorded(2 if edited else 1), go()]


@tolerated
def arguments_no_longer_recorded(edited: bool) -> Any:
    return [add.options(record_args=not edited)(1), flaky.options(record_args=not edited)(1), go()]


@tolerated
def annotation_of_an_awaited_signal(edited: bool) -> Any:
    return fluxo.wait_signal("go", str if edited else Any)
