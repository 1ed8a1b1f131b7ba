"""
The event loop's part in group commit.

Owns: what goes into one tick's batch. Must not know runs: an append here is a number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

from fluxo.runtime.committer import Committer, Request, answer
from fluxo.runtime.host import Host
from fluxo.store import Append, Committed, Outcome


def append(key: int) -> Append:
    return Append(key, 1, 0, [(2, key, 0, b"")])


class Log:
    """A store that only appends, and remembers the keys of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def append(self, batch: Sequence[Append]) -> list[Outcome]:
        self.batches.append([one.key for one in batch])
        return [Committed(one.key) for one in batch]


def host_of(log: Log) -> Host:
    core = SimpleNamespace(committer=Committer(log))  # type: ignore[arg-type]
    return Host(core, asyncio.get_running_loop())  # type: ignore[arg-type]


def test_what_an_answer_queues_waits_for_the_next_tick_so_that_the_rest_of_the_loop_may_join_it() -> None:
    log = Log()

    async def main() -> None:
        host = host_of(log)
        rounds = asyncio.get_running_loop().create_future()

        def answered(request: Request) -> None:
            if request.append.key == 3:
                rounds.set_result(None)
                return
            request.append, request.outcome = append(request.append.key + 1), None
            host.enqueue(request)

        host.enqueue(Request(append(1), None, host.done, answered))
        # A run that needs the loop between its appends, beside one that goes on within its answers.
        for key in (10, 11, 12):
            assert answer(await host.commit(append(key))) == Committed(key)
        await rounds

    asyncio.run(main())
    assert log.batches == [[1, 10], [2, 11], [3, 12]]


def test_runs_that_go_on_within_their_answers_leave_the_loop_its_turns() -> None:
    log = Log()

    async def main() -> int:
        host = host_of(log)

        def answered(request: Request) -> None:
            request.outcome = None
            if len(log.batches) < 1_000:
                host.enqueue(request)

        host.enqueue(Request(append(1), None, host.done, answered))
        for _ in range(5):
            await asyncio.sleep(0)
        return len(log.batches)

    assert asyncio.run(main()) <= 5
    assert len(log.batches) < 1_000


def test_an_append_that_is_answered_in_place_leaves_no_cycle_behind() -> None:
    log = Log()

    async def main() -> object:
        host = host_of(log)
        request = await host.commit(append(1))
        return request.waiter

    assert asyncio.run(main()) is None
