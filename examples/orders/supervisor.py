"""
The order desk around the worker: takes orders in, plays the carrier, and kills the worker.

Owns: the worker process, the kill plan, the progress. Must not know how an order is fulfilled, nor help it along: what
it does to the worker is `kill -9`, and what it does afterwards is to start another one.
"""

from __future__ import annotations

import heapq
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from examples.orders.flow import fulfil
from examples.orders.folder import Folder
from examples.orders.ledger import Entry, LedgerReader
from examples.orders.orders import Book, PickUp
from examples.orders.screen import Screen
from examples.orders.worker import resources_of
from fluxo import Engine

__all__ = ["Stuck", "Supervisor"]

ROOT = Path(__file__).parents[2]
TICK_S = 0.02
PICK_UP_S = (0.5, 2.5)
STALL_S = 60.0
STOP_S = 40.0
OWN_DEATHS_MAX = 3
FINISHED = ("completed", "failed", "cancelled", "blocked")
TRUCKS = ("Vega", "Rigel", "Deneb", "Altair")
DRIVERS = ("Ada", "Bruno", "Chidi", "Daria", "Emil")


class Stuck(Exception):
    """The demo cannot go on: the worker dies by itself, or nothing moves any more."""


class Supervisor:
    """
    One run of the demo.

    Args:
        folder: Fresh; the ledger and the stock are in it.
        book: The orders to be fulfilled.
        kills: How often the worker is killed.
        at_once: Orders taken in and not finished, at most.
        seed: Decides when the kills fall, whom they hit, and how long the carrier takes.
        workers: How many processes execute; none if the log is in memory, where the order desk does it itself.
        screen: Where progress is shown.
    """

    def __init__(
        self, folder: Folder, book: Book, kills: int, at_once: int, seed: int, workers: int, screen: Screen
    ) -> None:
        self._folder = folder
        self._book = book
        self._at_once = at_once
        self._random = random.Random(seed)
        self._workers = workers
        self._screen = screen
        self._ledger = LedgerReader(folder.ledger)
        self._seen = 0
        self._seen_before = 0
        self._started = 0
        self._finished = 0
        self._kill_plan = self._plan(kills)
        self._kills = 0
        self._own_deaths = 0
        self._pick_ups: list[tuple[float, str, str]] = []
        self._begun_s = time.perf_counter()
        self._moved_s = self._begun_s
        self._nothing = threading.Event()

    def run(self) -> tuple[int, float]:
        """
        See every order through; the number of kills, and the seconds it took.

        Raises:
            Stuck: the worker died by itself several times, or nothing happened for a minute.
        """
        alone = self._workers == 0
        resources = resources_of(self._folder) if alone else None
        with Engine(self._folder.store, worker=alone, resources=resources, name="order desk") as desk:
            workers = [self._start_worker() for _ in range(self._workers)]
            try:
                while self._finished < len(self._book.orders):
                    self._take_in(desk)
                    self._follow_ledger()
                    self._send_carrier(desk)
                    self._look_after(workers)
                    self._count(desk)
                    self._nothing.wait(TICK_S)
                wall_s = time.perf_counter() - self._begun_s
                for worker in workers:
                    self._stop(worker)
            finally:
                for worker in workers:
                    worker.kill()
                    worker.wait()
        return self._kills, wall_s

    def _plan(self, kills: int) -> list[int]:
        """
        At how many ledger entries the worker is killed: one random moment in each of as many stretches of the work.

        The last part of the work stays free: how many entries there will be is not known exactly.
        """
        entries = sum(2 * len(order.lines) + 4 for order in self._book.orders)
        stretch = entries * 0.75 / max(1, kills)
        return [round(stretch * (n + self._random.uniform(0.15, 1))) for n in range(kills)]

    def _take_in(self, desk: Engine) -> None:
        while self._started < len(self._book.orders) and self._started - self._finished < self._at_once:
            order = self._book.orders[self._started]
            desk.start(fulfil.options(id=order.id), order)
            self._started += 1

    def _follow_ledger(self) -> None:
        for entry in self._ledger.new():
            self._seen += 1
            self._moved_s = time.perf_counter()
            if entry.step == "call_carrier":
                self._order_truck(entry)

    def _order_truck(self, call: Entry) -> None:
        at_s = time.perf_counter() + self._random.uniform(*PICK_UP_S)
        heapq.heappush(self._pick_ups, (at_s, call.order, call.key))

    def _send_carrier(self, desk: Engine) -> None:
        """Tell each order whose truck has come. A carrier called twice comes twice: the key makes it one signal."""
        while self._pick_ups and self._pick_ups[0][0] <= time.perf_counter():
            _, order_id, key = heapq.heappop(self._pick_ups)
            pick_up = PickUp(self._random.choice(TRUCKS), self._random.choice(DRIVERS))
            desk.signal(order_id, "picked_up", pick_up, key=key)

    def _look_after(self, workers: list[subprocess.Popen[bytes]]) -> None:
        """Kill one of the workers when it is time; start another one for each that is dead."""
        killed: subprocess.Popen[bytes] | None = None
        if workers and self._kill_plan and self._seen >= max(self._kill_plan[0], self._seen_before + 1):
            del self._kill_plan[0]
            self._kills += 1
            killed = self._random.choice(workers)
            killed.kill()
            killed.wait()
            # The next one gets to do something before it is killed in turn.
            self._follow_ledger()
            self._seen_before = self._seen
        for place, worker in enumerate(workers):
            if worker.poll() is not None:
                workers[place] = self._replace(worker, killed=worker is killed)

    def _replace(self, worker: subprocess.Popen[bytes], *, killed: bool) -> subprocess.Popen[bytes]:
        if not killed:
            self._own_deaths += 1
            if self._own_deaths > OWN_DEATHS_MAX:
                raise Stuck(f"the worker died by itself {self._own_deaths} times; see {self._folder.engine_log}")
        successor = self._start_worker()
        how = "killed" if killed else f"ended by itself with {worker.returncode}"
        at_s = time.perf_counter() - self._begun_s
        under_way = self._started - self._finished
        self._screen.say(
            f"{at_s:6.1f} s  worker {worker.pid} {how} with {under_way} orders under way; "
            f"worker {successor.pid} goes on"
        )
        return successor

    def _start_worker(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "examples.orders.worker", str(self._folder.path)]
        with self._folder.engine_log.open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def _stop(self, worker: subprocess.Popen[bytes]) -> None:
        worker.terminate()
        try:
            code = worker.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._screen.say(f"worker {worker.pid} did not stop within {STOP_S:g} s of SIGTERM")
        else:
            if code:
                self._screen.say(f"worker {worker.pid} ended with {code} instead of 0")

    def _count(self, desk: Engine) -> None:
        runs = desk.stats().runs
        finished = sum(runs.get(status, 0) for status in FINISHED)
        if finished != self._finished:
            self._moved_s = time.perf_counter()
        self._finished = finished
        self._screen.progress(finished, len(self._book.orders), f"{self._seen} effects, kills: {self._kills}")
        if time.perf_counter() - self._moved_s > STALL_S:
            raise Stuck(f"nothing happened for {STALL_S:g} s ({dict(runs)}); see {self._folder.engine_log}")
