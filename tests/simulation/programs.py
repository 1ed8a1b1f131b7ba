"""
Random workflow programs, and what may come of them.

Owns: the generator and the oracle, a reference interpreter that shares no code with the engine. Must not know how a
program is executed durably (`tests.simulation.renderings`). A program is data, nested lists, so that it travels as a
workflow's input and shrinks as a list does. Every program maps a small number to a small number or an error.

    ["step", n]             n + 3 × what came before, mod 97
    ["flaky", n, k]         as step, but its first k attempts fail; three are allowed
    ["fails", n]            a ValueError
    ["slow", n, s]          as step, after s seconds where it can wait (async only)
    ["huge", n]             the length of a long text, mod 97
    ["sleep", s]            a timer
    ["signal", name, s]     its payload, or 90 after s seconds without one
    ["seq", [p…]]           one after the other
    ["loop", p]             p as often as (what came before) mod 3
    ["gather", [leaf…]]     all at once; the results weighted by place
    ["race", [leaf…]]       all at once; the first result
    ["map", k]              a step per item
    ["try", p, handler]     errors of p are handled
    ["finally", p, last]    last follows however p ends
    ["timeout", s, p]       p, or 91 once s seconds have passed (async; a sync program has no such scope)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Program = list[Any]
Draw = Callable[[int], int]
"""How many choices there are → one of them."""
Result = tuple[int | None, str]
"""(value, "") or (None, name of the error)."""

MODULUS = 97
TIMED_OUT = 90
CUT_SHORT = 91
HUGE = 20_000
ATTEMPTS = 3
SIGNALS = {"early": 11, "never": None}
"""Signals by what is sent: `early` before the run begins to wait, `never` not at all."""

_LEAVES = ("step", "step", "flaky", "fails", "slow", "huge", "flaky")
_DEPTH_MAX = 4


def drawn(draw: Draw, depth: int = 0, budget: int = 7) -> Program:
    """A program of at most about `budget` leaves."""
    kinds = ("seq", "seq", "gather", "race", "map", "try", "finally", "loop", "timeout", "sleep", "signal", "step")
    kind = "step" if depth >= _DEPTH_MAX or budget <= 1 else kinds[draw(len(kinds))]
    if kind == "step":
        return _leaf(draw)
    if kind == "sleep":
        return ["sleep", (1, 3600)[draw(2)]]
    if kind == "signal":
        return ["signal", ("early", "never")[draw(2)], (5, 600)[draw(2)]]
    if kind == "map":
        return ["map", 1 + draw(3)]
    if kind in ("gather", "race"):
        return [kind, [_leaf(draw) for _ in range(2 + draw(2))]]
    if kind == "seq":
        count = 1 + draw(3)
        return ["seq", [drawn(draw, depth + 1, budget // count) for _ in range(count)]]
    if kind == "loop":
        return ["loop", drawn(draw, depth + 1, budget // 2)]
    if kind == "timeout":
        return ["timeout", (2, 7200)[draw(2)], drawn(draw, depth + 1, budget // 2)]
    return [kind, drawn(draw, depth + 1, budget // 2), drawn(draw, depth + 1, budget // 2)]


def _leaf(draw: Draw) -> Program:
    kind = _LEAVES[draw(len(_LEAVES))]
    if kind == "flaky":
        return ["flaky", draw(9), 1 + draw(ATTEMPTS)]
    if kind == "slow":
        return ["slow", draw(9), (1, 30)[draw(2)]]
    return [kind, draw(9)]


def computed(n: int, before: int) -> int:
    """What a step makes of its argument."""
    return (n + 3 * before) % MODULUS


def weighted(values: Sequence[int]) -> int:
    """Results of a gather in one number that depends on their places."""
    return sum((place + 1) * value for place, value in enumerate(values)) % MODULUS


def permitted(program: Program, before: int, *, late: bool = False) -> set[Result]:
    """
    Everything that may come of a program; more than one where a race, or who fails first, decides.

    `late` says that messages may be: then a wait may end either way.
    """
    kind = program[0]
    if kind in ("step", "slow", "flaky", "fails", "huge"):
        return {_leaf_result(program, before)}
    if kind == "sleep":
        return {(before, "")}
    if kind == "signal":
        payload = SIGNALS[program[1]]
        in_time: set[Result] = set() if payload is None else {(payload, "")}
        return in_time | {(TIMED_OUT, "")} if late or payload is None else in_time
    if kind == "map":
        return {(weighted([computed(item, before) for item in range(program[1])]), "")}
    if kind == "gather":
        results = [_leaf_result(leaf, before) for leaf in program[1]]
        failed = {result for result in results if result[1]}
        return failed or {(weighted([value for value, _ in results if value is not None]), "")}
    if kind == "race":
        return {_leaf_result(leaf, before) for leaf in program[1]}
    return _permitted_compound(program, before, late)


def _permitted_compound(program: Program, before: int, late: bool) -> set[Result]:
    kind = program[0]
    if kind == "seq":
        return _in_turn(program[1], before, late)
    if kind == "loop":
        return _in_turn([program[1]] * (before % 3), before, late)
    if kind == "try":
        return {
            after
            for result in permitted(program[1], before, late=late)
            for after in (permitted(program[2], before, late=late) if result[1] else {result})
        }
    if kind == "finally":
        outcomes: set[Result] = set()
        for result in permitted(program[1], before, late=late):
            for last in permitted(program[2], before, late=late):
                outcomes.add(last if last[1] else result)
        return outcomes
    # How far a scope comes in its time is not computed here: it is cut short, or it is not.
    return permitted(program[2], before, late=late) | {(CUT_SHORT, "")}


def _in_turn(programs: Sequence[Program], before: int, late: bool) -> set[Result]:
    results: set[Result] = {(before, "")}
    for program in programs:
        results = {
            after
            for value, error in results
            for after in ({(value, error)} if value is None else permitted(program, value, late=late))
        }
    return results


def _leaf_result(leaf: Program, before: int) -> Result:
    kind, n = leaf[0], leaf[1]
    if kind == "fails":
        return None, "ValueError"
    if kind == "flaky" and leaf[2] >= ATTEMPTS:
        return None, "ConnectionError"
    if kind == "huge":
        return HUGE % MODULUS, ""
    return computed(n, before), ""


def smaller(program: Program) -> list[Program]:
    """Programs with something left out, the smallest first: for shrinking."""
    kind = program[0]
    found: list[Program] = []
    if kind not in ("step", "sleep"):
        found.append(["step", 0])
    if kind == "seq":
        items = program[1]
        found += items
        found += [["seq", items[:place] + items[place + 1 :]] for place in range(len(items)) if len(items) > 1]
        found += [
            ["seq", [*items[:place], less, *items[place + 1 :]]]
            for place in range(len(items))
            for less in smaller(items[place])
        ]
    elif kind in ("gather", "race"):
        leaves = program[1]
        found += leaves
        found += [[kind, leaves[:place] + leaves[place + 1 :]] for place in range(len(leaves)) if len(leaves) > 2]
    elif kind in ("try", "finally"):
        found += program[1:]
        found += [[kind, less, program[2]] for less in smaller(program[1])]
        found += [[kind, program[1], less] for less in smaller(program[2])]
    elif kind == "loop":
        found += [program[1], *(["loop", less] for less in smaller(program[1]))]
    elif kind == "timeout":
        found += [program[2], *(["timeout", program[1], less] for less in smaller(program[2]))]
    elif kind == "map" and program[1] > 1:
        found.append(["map", program[1] - 1])
    return found


def shapes() -> dict[str, Program]:
    """A corpus in which every kind stands alone, in a sequence, and inside each kind of block."""
    leaves: dict[str, Program] = {
        "step": ["step", 1],
        "flaky": ["flaky", 2, 2],
        "exhausted": ["flaky", 2, 3],
        "fails": ["fails", 3],
        "slow": ["slow", 4, 30],
        "huge": ["huge", 5],
        "sleep": ["sleep", 3600],
        "signal": ["signal", "early", 600],
        "timed out": ["signal", "never", 5],
        "gather": ["gather", [["step", 1], ["flaky", 2, 1], ["slow", 3, 1]]],
        "failing gather": ["gather", [["step", 1], ["fails", 2]]],
        "race": ["race", [["slow", 1, 30], ["step", 2]]],
        "map": ["map", 3],
    }
    corpus = dict(leaves)
    for name, leaf in leaves.items():
        corpus[f"{name} in a sequence"] = ["seq", [["step", 1], leaf, ["step", 2]]]
        corpus[f"{name} handled"] = ["seq", [["try", leaf, ["seq", [["step", 7], ["sleep", 1]]]], ["step", 2]]]
    corpus["last steps after an error"] = ["finally", ["seq", [["step", 1], ["fails", 2]]], ["step", 3]]
    corpus["last steps after a wait"] = ["finally", ["signal", "early", 600], ["map", 2]]
    corpus["a loop over a result"] = ["seq", [["step", 2], ["loop", ["seq", [["step", 1], ["sleep", 1]]]]]]
    corpus["cut short"] = ["seq", [["timeout", 2, ["seq", [["step", 1], ["sleep", 3600]]]], ["step", 2]]]
    corpus["in time"] = ["seq", [["timeout", 7200, ["seq", [["step", 1], ["sleep", 3600]]]], ["step", 2]]]
    corpus["a scope around a race"] = ["timeout", 2, ["race", [["slow", 1, 30], ["slow", 2, 30]]]]
    return corpus
