"""
Conformance: appending events.

Owns: what `append` without `new`, `read` and `tail` must do (PROTOCOL rules 1, 2, 4, 19). Must not know any store.
"""

from __future__ import annotations

from fluxo.limits import PAYLOAD_BYTES_MAX
from fluxo.model.run import RunStatus
from fluxo.store import Append, Committed, Conflict
from fluxo.testing.conformance.suite import (
    Activation,
    StoreSuite,
    at_once,
    chain,
    expect,
    message,
    new_run,
    projection,
    record_of,
)

__all__ = ["AppendConformance"]


class AppendConformance(StoreSuite):
    """A log grows at its end only, by one writer at a time, all of an append or nothing."""

    def test_an_append_at_the_tail_is_committed(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            expect("answer", run.append(), Committed(run.key))
            expect("log", run.log(), chain(0, 0, 1, 2))

    def test_several_events_go_in_together(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            expect("answer", run.append(100), Committed(run.key))
            expect("log", run.log(), chain(0, 0, 1, 101))

    def test_an_append_at_a_taken_place_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            zombie = run.takeover(nonce=2)
            run.append()
            expect("answer", zombie.append(), Conflict())
            expect("log", run.log(), chain(0, 0, 1, 2))

    def test_an_append_behind_a_gap_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            ahead = Activation(store, run.key, 1, run.seq + 1, run.digest)
            expect("answer", ahead.append(), Conflict())
            expect("log", run.log(), chain(0, 0, 1, 1))

    def test_an_append_behind_another_predecessor_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            astray = Activation(store, run.key, 1, run.seq, run.digest ^ 1)
            expect("answer", astray.append(), Conflict())
            expect("log", run.log(), chain(0, 0, 1, 1))

    def test_an_append_to_an_unknown_key_is_a_conflict(self) -> None:
        with self.opened() as store:
            expect("answer", Activation(store, 4711, 1, 1, 1).append(), Conflict())
            expect("log", store.read(4711, 0, 10), [])
            expect("tail", store.tail(4711), None)

    def test_an_append_that_begins_a_log_without_a_run_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            expect("no such run", Activation(store, run.key + 1, 1, 0, 0).append(), Conflict())
            expect("a run with a log", Activation(store, run.key, 9, 0, 0).append(), Conflict())

    def test_the_loser_of_several_events_leaves_none(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            zombie = run.takeover(nonce=2)
            run.append()
            expect("answer", zombie.append(3), Conflict())
            expect("log", run.log(), chain(0, 0, 1, 2))

    def test_an_append_sent_again_is_answered_as_committed(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            append = run.next()
            expect("answers", store.append([append]) + store.append([append]), [Committed(run.key)] * 2)
            expect("log", run.log(), chain(0, 0, 1, 2))

    def test_an_append_sent_again_after_others_writes_nothing(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            append = run.next(2, projection=projection(RunStatus.WAITING, wake_at_us=5))
            store.append([append])
            run.moved_past(append)
            run.append(projection=projection(RunStatus.RUNNING, owner="w", nonce=1))
            before = record_of(store), run.log()
            expect("answer", store.append([append]), [Committed(run.key)])
            expect("row and log", (record_of(store), run.log()), before)

    def test_an_append_that_stands_in_part_only_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            append = run.next(3)
            store.append([Append(run.key, append.prev_seq, append.prev_digest, append.events[:2])])
            expect("answer", store.append([append]), [Conflict()])
            expect("log", run.log(), chain(0, 0, 1, 3))

    def test_the_same_place_by_the_same_writer_with_another_digest_is_a_conflict(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.append([run.next(body=b"one")])
            expect("answer", store.append([run.next(body=b"other")]), [Conflict()])
            expect("body", run.log()[-1][3], b"one")

    def test_one_loser_does_not_disturb_the_rest_of_its_batch(self) -> None:
        with self.opened() as store:
            runs = [Activation.of_new(store, new_run(f"run {n}")) for n in range(150)]
            for loser in (runs[0], runs[70], runs[149]):
                loser.takeover(nonce=2).append()
            appends = [run.next(1 + n % 3) for n, run in enumerate(runs)]
            outcomes = store.append(appends)
            for n, (run, append, outcome) in enumerate(zip(runs, appends, outcomes, strict=True)):
                lost = n in (0, 70, 149)
                expect(f"answer {n}", outcome, Conflict() if lost else Committed(run.key))
                stands = run.log()[1:]
                expect(f"log {n}", [row[1] for row in stands] if lost else stands, [2] if lost else append.events)

    def test_each_way_to_lose_is_found_in_a_batch_too(self) -> None:
        def taken(run: Activation) -> None:
            run.takeover(nonce=2).append()

        def gap(run: Activation) -> None:
            run.seq += 1

        def astray(run: Activation) -> None:
            run.digest ^= 1

        def unknown(run: Activation) -> None:
            run.key += 1000

        with self.opened() as store:
            for n, way in enumerate((taken, gap, astray, unknown)):
                runs = [Activation.of_new(store, new_run(f"{way.__name__} {m}")) for m in range(12)]
                way(runs[n])
                outcomes = store.append([run.next() for run in runs])
                expect(way.__name__, [m for m, outcome in enumerate(outcomes) if outcome == Conflict()], [n])
                expect("the others", [len(run.log()) for m, run in enumerate(runs) if m != n], [2] * 11)
                assert all(nonce == 2 for seq, nonce, _, _ in runs[n].log() if seq > 1), "the loser left an event"

    def test_a_batch_may_mix_all_kinds_of_appends(self) -> None:
        with self.opened() as store:
            plain, loser, again, ending = (Activation.of_new(store, new_run(run_id)) for run_id in "abcd")
            loser.takeover(nonce=2).append()
            resent = again.next()
            store.append([resent])
            created = Append(0, 0, 0, chain(0, 0, 3, 2), new=new_run("e", nonce=3))
            ended = ending.next(2, projection=projection(RunStatus.COMPLETED))
            outcomes = store.append([plain.next(), loser.next(), resent, created, ended])
            key = record_of(store, "e").key
            keys = [plain.key, None, again.key, key, ending.key]
            expect("answers", outcomes, [Conflict() if key is None else Committed(key) for key in keys])
            expect("events", [len(store.read(key, 0, 9)) for key in keys if key], [2, 2, 2, 3])
            expect("ended", record_of(store, "d").status, RunStatus.COMPLETED)

    def test_an_empty_batch_has_no_answers(self) -> None:
        with self.opened() as store:
            expect("answers", store.append([]), [])

    def test_a_projection_comes_with_its_event(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            created = record_of(store)
            run.append(2, projection=projection(RunStatus.WAITING, wake_at_us=9, consumed=4, owner="w", nonce=8))
            row = record_of(store)
            expect(
                "row",
                (row.status, row.wake_at_us, row.consumed, row.owner, row.nonce, row.tail_seq, row.tail_digest),
                (RunStatus.WAITING, 9, 4, "w", 8, run.seq, run.digest),
            )
            expect("created_at_us", row.created_at_us, created.created_at_us)
            assert row.updated_at_us >= created.updated_at_us, "updated_at_us must not go back"
            run.append(projection=projection(RunStatus.RUNNING))
            expect("cleared", (record_of(store).owner, record_of(store).wake_at_us), (None, None))

    def test_a_lost_event_leaves_the_projection_alone(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            zombie = run.takeover(nonce=2)
            run.append()
            before = record_of(store)
            expect("answer", zombie.append(projection=projection(RunStatus.FAILED, owner="z", nonce=2)), Conflict())
            expect("row", record_of(store), before)

    def test_a_plain_event_leaves_the_row_alone(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(status=RunStatus.RUNNING, owner="w"))
            before = record_of(store)
            run.append(3)
            expect("row", record_of(store), before)

    def test_a_lost_event_consumes_no_message(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            zombie = run.takeover(nonce=2)
            store.deliver([message("k")])
            run.append()
            zombie.append(consumed=((1, 2),))
            expect("inbox", [item.n for item in store.inbox(run.key, 0)], [1])

    def test_of_two_claims_at_one_tail_exactly_one_wins(self) -> None:
        with self.opened() as store:
            for n in range(20):
                run = Activation.of_new(store, new_run(f"run {n}"))
                claims = [
                    run.takeover(nonce).next(projection=projection(RunStatus.RUNNING, owner=f"w{nonce}", nonce=nonce))
                    for nonce in (11, 12)
                ]
                answers = at_once(*(lambda claim=claim: store.append([claim])[0] for claim in claims))
                expect("winners", sorted(isinstance(answer, Committed) for answer in answers), [False, True])
                winner = 11 if isinstance(answers[0], Committed) else 12
                row = record_of(store, f"run {n}")
                expect("owner", (row.owner, row.nonce, run.log()[-1][1]), (f"w{winner}", winner, winner))

    def test_threads_on_different_runs_do_not_disturb_each_other(self) -> None:
        with self.opened() as store:
            runs = [Activation.of_new(store, new_run(f"run {n}")) for n in range(4)]

            def extend(run: Activation) -> list[bool]:
                return [isinstance(run.append(), Committed) for _ in range(25)]

            answers = at_once(*(lambda run=run: extend(run) for run in runs))
            expect("all committed", answers, [[True] * 25] * 4)
            expect("logs", [run.log() for run in runs], [chain(0, 0, 1, 26)] * 4)

    def test_bodies_come_back_byte_for_byte(self) -> None:
        bodies = [b"", b"\x00", bytes(range(256)), "żółć 🚀".encode(), b"x" * PAYLOAD_BYTES_MAX]
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            for body in bodies:
                expect("answer", run.append(body=body), Committed(run.key))
            back = [row[3] for row in run.log()[1:]]
            expect("lengths", [len(body) for body in back], [len(body) for body in bodies])
            assert back == bodies, "a body must come back as it was given"

    def test_the_largest_nonce_and_digest_come_back(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(nonce=2**63 - 1))
            largest = (2, 2**63 - 1, 2**32 - 1, b"")
            store.append([Append(run.key, run.seq, run.digest, [largest])])
            expect("tail", store.tail(run.key), largest)
            expect("nonce of the row", record_of(store).nonce, 2**63 - 1)
            run.seq, run.digest = 2, 2**32 - 1
            expect("an append behind it", run.append(), Committed(run.key))

    def test_reading_pages_through_the_log(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(), events=10)
            whole = chain(0, 0, 1, 10)
            expect("first page", store.read(run.key, 0, 4), whole[:4])
            expect("next page", store.read(run.key, 4, 4), whole[4:8])
            expect("last page", store.read(run.key, 8, 4), whole[8:])
            expect("behind the end", store.read(run.key, 10, 4), [])
            expect("tail", store.tail(run.key), whole[-1])

    def test_what_is_read_is_the_readers_own(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(), events=3)
            store.read(run.key, 0, 10).clear()
            expect("log", run.log(), chain(0, 0, 1, 3))
