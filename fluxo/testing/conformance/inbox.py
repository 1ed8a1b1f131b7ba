"""
Conformance: messages.

Owns: what `deliver` and `inbox` must do (PROTOCOL rules 14, 15). Must not know any store.
"""

from __future__ import annotations

from fluxo.limits import INBOX_MESSAGES_MAX, PAYLOAD_BYTES_MAX
from fluxo.model.run import ENDED, RunStatus
from fluxo.store import Delivered, Delivery, Message
from fluxo.testing.conformance.suite import (
    NAMESPACE,
    Activation,
    StoreSuite,
    at_once,
    expect,
    message,
    new_run,
    projection,
    record_of,
)

__all__ = ["InboxConformance"]


class InboxConformance(StoreSuite):
    """A message is numbered once, kept until it is consumed, and its key remembered until the run is purged."""

    def test_a_delivered_message_is_in_the_inbox(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run(owner="w"))
            before_us = store.now_us()
            sent = Message(NAMESPACE, "run", "cancel", "", "key", b"why")
            expect("answer", store.deliver([sent]), [Delivery(Delivered.ACCEPTED, run.key, 1, "w")])
            (item,) = store.inbox(run.key, 0)
            expect(
                "item",
                (item.n, item.kind, item.name, item.dedup_key, item.payload),
                (1, "cancel", "", "key", b"why"),
            )
            assert before_us <= item.at_us <= store.now_us(), "at_us must be the store's time of delivery"

    def test_messages_are_numbered_from_one_in_order(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            answers = store.deliver([message("a"), message("b")]) + store.deliver([message("c")])
            expect("numbers", [answer.n for answer in answers], [1, 2, 3])
            expect(
                "inbox", [(item.n, item.dedup_key) for item in store.inbox(run.key, 0)], [(1, "a"), (2, "b"), (3, "c")]
            )
            expect("behind the second", [item.n for item in store.inbox(run.key, 2)], [3])
            expect("delivered", (record_of(store).delivered, record_of(store).consumed), (3, 0))

    def test_delivery_touches_no_other_field_of_the_row(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run(owner="w", wake_at_us=5))
            before = record_of(store)
            store.deliver([message("k")])
            after = record_of(store)
            for field in before.__struct_fields__:
                if field != "delivered":
                    expect(field, getattr(after, field), getattr(before, field))

    def test_numbers_are_dense_under_two_threads(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            answers = at_once(
                lambda: [store.deliver([message(f"a{n}")])[0].n for n in range(25)],
                lambda: [store.deliver([message(f"b{n}")])[0].n for n in range(25)],
            )
            expect("numbers", sorted(answers[0] + answers[1]), list(range(1, 51)))
            for numbers in answers:
                expect("each sender's order", numbers, sorted(numbers))
            expect("inbox", [item.n for item in store.inbox(run.key, 0)], list(range(1, 51)))

    def test_a_repeated_key_is_answered_with_its_first_number(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.deliver([message("a"), message("b", payload=b"first")])
            again = store.deliver([message("b", name="other", payload=b"second"), message("c"), message("c")])
            verdicts = [(answer.verdict, answer.n) for answer in again]
            expect("answers", verdicts, [(Delivered.REPEATED, 2), (Delivered.ACCEPTED, 3), (Delivered.REPEATED, 3)])
            expect("payload", store.inbox(run.key, 1)[0].payload, b"first")
            expect("delivered", record_of(store).delivered, 3)

    def test_one_key_delivered_by_two_threads_is_accepted_once(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            for n in range(10):
                answers = at_once(*([lambda n=n: store.deliver([message(f"k{n}")])[0]] * 2))
                expect("numbers", {answer.n for answer in answers}, {n + 1})
                verdicts = sorted(answer.verdict for answer in answers)
                expect("verdicts", verdicts, [Delivered.ACCEPTED, Delivered.REPEATED])
            expect("inbox", len(store.inbox(run.key, 0)), 10)

    def test_keys_of_different_runs_are_independent(self) -> None:
        with self.opened() as store:
            for run_id in ("a", "b"):
                Activation.of_new(store, new_run(run_id))
            answers = store.deliver([message("k", "a"), message("k", "b")])
            expect("answers", [(answer.verdict, answer.n) for answer in answers], [(Delivered.ACCEPTED, 1)] * 2)

    def test_an_ended_run_refuses_new_keys_and_knows_the_old(self) -> None:
        for status in sorted(ENDED):
            with self.opened() as store:
                run = Activation.of_new(store, new_run())
                store.deliver([message("old")])
                run.append(projection=projection(status, consumed=1))
                old, new = store.deliver([message("old"), message("new")])
                expect("old key", old, Delivery(Delivered.REPEATED, run.key, 1, None))
                expect("new key", new, Delivery(Delivered.ENDED, run.key, 0, None))
                expect("delivered", record_of(store).delivered, 1)

    def test_a_blocked_run_still_accepts(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            run.append(projection=projection(RunStatus.BLOCKED))
            expect("answer", store.deliver([message("k")])[0].verdict, Delivered.ACCEPTED)

    def test_an_unknown_run_is_not_found(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run(namespace="elsewhere"))
            expect("answer", store.deliver([message("k")]), [Delivery(Delivered.NOT_FOUND)])

    def test_a_refusal_does_not_disturb_the_messages_beside_it(self) -> None:
        with self.opened() as store:
            Activation.of_new(store, new_run())
            answers = store.deliver([message("a", "nobody"), message("b"), message("c", "nobody"), message("d")])
            expect(
                "answers",
                [answer.verdict for answer in answers],
                [Delivered.NOT_FOUND, Delivered.ACCEPTED, Delivered.NOT_FOUND, Delivered.ACCEPTED],
            )
            expect("no messages", store.deliver([]), [])

    def test_consumed_messages_vanish_and_their_keys_stay(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.deliver([message("a"), message("b"), message("c")])
            run.append(consumed=((2, 2),))
            expect("inbox", [item.n for item in store.inbox(run.key, 0)], [1, 3])
            expect("unconsumed", store.stats(NAMESPACE).messages_unconsumed, 2)
            (again,) = store.deliver([message("b")])
            expect("its key", (again.verdict, again.n), (Delivered.REPEATED, 2))
            expect("not back", [item.n for item in store.inbox(run.key, 0)], [1, 3])
            run.append(2, projection=projection(RunStatus.RUNNING, consumed=3), consumed=((1, 3), (3, 4)))
            expect("all consumed", store.inbox(run.key, 0), [])
            expect("next number", store.deliver([message("d")])[0].n, 4)

    def test_consuming_what_is_not_there_does_nothing(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            store.deliver([message("a")])
            run.append(consumed=((7, 2),))
            run.append(consumed=((1, 3),))
            run.append(consumed=((1, 4),))
            expect("inbox", store.inbox(run.key, 0), [])
            expect("number of a later message", store.deliver([message("b")])[0].n, 2)

    def test_a_full_inbox_refuses_until_something_is_consumed(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            for start in range(0, INBOX_MESSAGES_MAX, 1000):
                store.deliver([message(f"k{n}", payload=b"") for n in range(start, start + 1000)])
            full, old = store.deliver([message("one more"), message("k5")])
            expect("one more", full, Delivery(Delivered.FULL, run.key, 0, None))
            expect("an old key", (old.verdict, old.n), (Delivered.REPEATED, 6))
            expect("delivered", record_of(store).delivered, INBOX_MESSAGES_MAX)
            run.append(consumed=((500, 2),))
            room, none = store.deliver([message("one more"), message("yet another")])
            expect("after room", (room.verdict, room.n), (Delivered.ACCEPTED, INBOX_MESSAGES_MAX + 1))
            expect("full again", none.verdict, Delivered.FULL)

    def test_payloads_and_names_come_back_as_given(self) -> None:
        with self.opened() as store:
            run = Activation.of_new(store, new_run("żółw 🐢"))
            payloads = [b"", bytes(range(256)), b"x" * PAYLOAD_BYTES_MAX]
            store.deliver(
                [
                    Message(NAMESPACE, "żółw 🐢", "signal", "имя", f"ключ {n}", payload)
                    for n, payload in enumerate(payloads)
                ]
            )
            items = store.inbox(run.key, 0)
            expect("names", [(item.name, item.dedup_key) for item in items], [("имя", f"ключ {n}") for n in range(3)])
            assert [item.payload for item in items] == payloads, "a payload must come back as it was given"

    def test_keys_of_any_characters_are_told_apart(self) -> None:
        keys = ["\0cancel", "\\0cancel", "\\\0", "0cancel", "$cancel", "%b", "a\0b", "\\", "\\\\"]
        with self.opened() as store:
            run = Activation.of_new(store, new_run())
            first = store.deliver([message(key) for key in keys])
            again = store.deliver([message(key) for key in keys])
            expect("accepted", [delivery.n for delivery in first], list(range(1, len(keys) + 1)))
            expect("repeated", [delivery.n for delivery in again], [delivery.n for delivery in first])
            expect("keys", [item.dedup_key for item in store.inbox(run.key, 0)], keys)

    def test_an_unknown_key_has_an_empty_inbox(self) -> None:
        with self.opened() as store:
            expect("inbox", store.inbox(4711, 0), [])
