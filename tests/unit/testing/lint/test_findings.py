"""
Each rule finds the line it is meant for, and leaves the near miss alone.

Owns: one program per rule and more; a comment ``#! CODE`` marks each line where exactly this must be found.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from fluxo.testing.lint import Finding, lint

HEAD = """\
import asyncio, contextlib, os, random, time, uuid
import fluxo
from fluxo import step, workflow
@step
def charge(n: object) -> int: return int(time.time())
@step
async def notify(n: object) -> None: await asyncio.to_thread(print, n)
def pay(n: object) -> int: return charge(n)
"""


def expected(files: dict[str, str]) -> list[tuple[str, int, str]]:
    """Where the marks are."""
    return sorted(
        (name, number, code)
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        for mark in re.findall(r"#! ([FX\d ]+)", line)
        for code in mark.split()
    )


def found(folder: Path, files: dict[str, str]) -> list[Finding]:
    """What is found in `files`, written to `folder`."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return lint([folder])


def places(folder: Path, findings: list[Finding]) -> list[tuple[str, int, str]]:
    return [(Path(f.path).relative_to(folder).as_posix(), f.line, f.code) for f in findings]


def check(folder: Path, body: str) -> list[Finding]:
    """`body` after HEAD has the findings its marks announce, and no others."""
    files = {"flow.py": HEAD + dedent(body)}
    findings = found(folder, files)
    assert places(folder, findings) == expected(files)
    return findings


def body_of(lines: str, color: str = "def") -> str:
    return f"@workflow\n{color} flow(n):\n" + "".join(f"    {line}\n" for line in dedent(lines).strip().splitlines())


USES = {
    "the wall clock": "time.time()  #! FX101",
    "another clock": "time.monotonic()  #! FX101",
    "a real sleep": "time.sleep(1)  #! FX101",
    "an import in the body": "import datetime\ndatetime.datetime.now()  #! FX101",
    "an alias in the body": "import time as t\nt.time()  #! FX101",
    "chance": "random.random()  #! FX102",
    "a name of chance": "from random import choice as pick\npick([1, 2])  #! FX102",
    "chance of the system": "os.urandom(8)  #! FX102",
    "an unseeded generator": "rng = random.Random()  #! FX102\nreturn rng.random()",
    "a random id": "uuid.uuid4()  #! FX103",
    "the environment": "os.environ['HOME']  #! FX104",
    "a method of the environment": "os.environ.get('HOME')  #! FX104",
    "a file": "open('x')  #! FX105",
    "a path": "from pathlib import Path\nhere = Path('x')\n(here / 'y').read_text()  #! FX105",
    "a socket": "import socket\nsocket.create_connection(('x', 1))  #! FX106",
    "a client": "import requests\nrequests.get('x')  #! FX106",
    "a thread": "import threading\nthreading.Thread(target=print)  #! FX107",
    "a process": "import subprocess\nsubprocess.run(['ls'])  #! FX107",
    "a lambda": "draw = lambda: random.random()  #! FX102",
    "a nested function": "def inner():\n    return time.time()  #! FX101\nreturn inner()",
    "a function handed on": "return list(map(os.getenv, n))  #! FX104",
    "a loop over a set": "for each in {1, 2}:  #! FX201\n    charge(each)",
    "a loop whose helper acts": "for each in set(n):  #! FX201\n    pay(each)",
    "a set in a variable": "todo = set(n)\nfor each in list(todo):  #! FX201\n    charge(each)",
    "a comprehension": "return [charge.submit(each) for each in {1, 2}]  #! FX201",
    "a map": "return charge.map(set(n))  #! FX201",
    "a map of a generator": "return charge.map(each + 1 for each in {1, 2})  #! FX201",
    "a gather of futures": "return fluxo.gather(*[charge.submit(each) for each in {1, 2}])  #! FX201",
    "a difference of sets": "for each in set(n) - {1}:  #! FX201\n    charge(each)",
    "any element": "todo = set(n)\nreturn todo.pop()  #! FX201",
    "bare except": "try:\n    charge(n)\nexcept:  #! FX202\n    pass",
    "all exceptions around a wait": "try:\n    fluxo.sleep(1)\nexcept (ValueError, BaseException):  #! FX202\n    pass",
    "all exceptions suppressed": "with contextlib.suppress(BaseException):  #! FX202\n    charge(n)",
    "a real sleep in a group of handlers": "try:\n    charge(n)\nexcept* ValueError:\n    time.sleep(1)  #! FX101",
    "a future dropped": "charge.submit(n)  #! FX203",
    "a step in finally": "try:\n    charge(n)\nfinally:\n    charge(n)  #! FX204",
    "a helper in finally": "try:\n    charge(n)\nfinally:\n    pay(n)  #! FX204",
}

MISSES = {
    "the safe spellings": "return fluxo.now(), fluxo.random().choice([1]), fluxo.uuid4(), fluxo.sleep(1)",
    "a seeded generator": "rng = random.Random(5)\nreturn rng.random()",
    "an id that is computed": "return uuid.UUID(int=5), uuid.uuid5(uuid.NAMESPACE_DNS, 'x')",
    "constants of the system": "return os.sep, os.linesep",
    "some errors suppressed": "with contextlib.suppress(ValueError):\n    charge(n)",
    "a variable that hides a module": "time = n\nreturn time.time()",
    "an annotation": "import threading\nlock: threading.Lock",
    "a time given": "import datetime\nreturn datetime.datetime.fromisoformat(n)",
    "names of paths": "from pathlib import Path\nreturn Path('x').name, os.path.join('a', 'b')",
    "an error that is caught": "import socket\ntry:\n    charge(n)\nexcept socket.timeout:\n    pass",
    "a method of that name": "return n.open(), n.time(), n.random()",
    "a sorted set": "for each in sorted(set(n)):\n    charge(each)",
    "a sorted comprehension": "return charge.map(sorted(each + 1 for each in {1, 2}))",
    "a set tested": "seen = {1}\nif n in seen:\n    charge(n)",
    "a set that orders nothing": "total = sum(each for each in {1, 2})\nfor each in {1}:\n    total += each",
    "a name sorted later": "todo = set(n)\ntodo = sorted(todo)\nfor each in todo:\n    charge(each)",
    "errors only": "try:\n    charge(n)\nexcept Exception:\n    pass",
    "raised again": "try:\n    charge(n)\nexcept BaseException:\n    raise",
    "nothing durable within": "try:\n    int(n)\nexcept:\n    pass",
    "a future kept": "kept = charge.submit(n)\nreturn kept.result()",
    "a step called for its effect": "charge(n)\ncharge.options(timeout=5)(n)",
    "a shield": "try:\n    charge(n)\nfinally:\n    with fluxo.shield():\n        charge(n)",
    "a pure finally": "try:\n    charge(n)\nfinally:\n    n = None",
}

ASYNC_USES = {
    "a thread": "await asyncio.to_thread(print)  #! FX107",
    "an executor": "await asyncio.get_running_loop().run_in_executor(None, print)  #! FX107",
    "coroutines as completed": "for each in asyncio.as_completed([notify(1), notify(2)]):  #! FX108\n    await each",
    "a real sleep": "time.sleep(1)  #! FX101",
    "a gather of a set": "await asyncio.gather(*{notify(1), notify(2)})  #! FX201",
    "a step not awaited": "notify(n)  #! FX203",
    "a sync step not awaited": "charge.aio(n)  #! FX203",
    "a future dropped": "notify.submit(n)  #! FX203",
    "a sleep not awaited": "asyncio.sleep(1)  #! FX203",
    "a step in finally": "try:\n    await notify(n)\nfinally:\n    await notify(n)  #! FX204",
    "bare except around await": "try:\n    await n\nexcept BaseException:  #! FX202\n    pass",
}

ASYNC_MISSES = {
    "asyncio's own": "async with asyncio.timeout(5), asyncio.Lock(), asyncio.TaskGroup() as group:\n"
    "    group.create_task(notify(n))\n    await asyncio.sleep(1)\n    await asyncio.Queue().get()\n"
    "    await asyncio.Event().wait()\n    await asyncio.gather(notify(1), charge.aio(2))",
    "tasks as completed": "for each in asyncio.as_completed([asyncio.create_task(notify(1))]):\n    await each",
    "futures as completed": "async for each in fluxo.aio.as_completed([charge.submit(1)]):\n    await each",
    "a shield": "try:\n    await notify(n)\nfinally:\n    await asyncio.shield(notify(n))",
    "a coroutine kept": "later = notify(n)\nawait later",
}


@pytest.mark.parametrize("lines", USES.values(), ids=USES)
def test_a_workflow_must_not_use(tmp_path: Path, lines: str) -> None:
    assert all(finding.safe and finding.workflow == "flow.flow" for finding in check(tmp_path, body_of(lines)))


@pytest.mark.parametrize("lines", MISSES.values(), ids=MISSES)
def test_a_workflow_may_use(tmp_path: Path, lines: str) -> None:
    check(tmp_path, body_of(lines))


@pytest.mark.parametrize("lines", ASYNC_USES.values(), ids=ASYNC_USES)
def test_an_async_workflow_must_not_use(tmp_path: Path, lines: str) -> None:
    check(tmp_path, body_of(lines, "async def"))


@pytest.mark.parametrize("lines", ASYNC_MISSES.values(), ids=ASYNC_MISSES)
def test_an_async_workflow_may_use(tmp_path: Path, lines: str) -> None:
    check(tmp_path, body_of(lines, "async def"))


def test_module_state_that_functions_change_is_found_where_a_workflow_meets_it(tmp_path: Path) -> None:
    check(
        tmp_path,
        """
        cache: dict[str, int] = {}
        seen = []
        count = 0
        RATES = {"a": 1}
        LIMIT = 5
        def remember(k): cache[k] = 1
        @workflow
        def flow(n):
            global count
            count += 1  #! FX205
            seen.append(n)  #! FX205
            if "a" in cache:  #! FX205
                return RATES["a"] + LIMIT
        @workflow
        def other(n):
            cache = {}
            cache[n] = charge(n)
            return cache
        """,
    )


def test_a_method_can_be_a_workflow_and_call_methods(tmp_path: Path) -> None:
    check(
        tmp_path,
        """
        class Base:
            def stamp(self): return time.time()  #! FX101
        class Shop(Base):
            @fluxo.workflow(name="sell")
            def sell(self, n):
                self.unused = None
                return self.stamp(), self.pay(n)
            @fluxo.step(timeout=5)
            def pay(self, n): return time.time()
            def never_called(self): return time.time()
        """,
    )


def test_only_what_a_workflow_reaches_is_looked_at(tmp_path: Path) -> None:
    check(tmp_path, "def alone(): return time.time()\n@workflow\ndef flow(n): return charge(n)\n")


def test_helpers_that_call_each_other_are_looked_at_once(tmp_path: Path) -> None:
    body = """
    def even(n): return n == 0 or odd(n - 1)
    def odd(n): return time.time() if n else even(n - 1)  #! FX101
    @workflow
    def one(n): return even(n)
    @workflow
    def two(n): return even(n)
    """
    assert [finding.workflow for finding in check(tmp_path, body)] == ["flow.one"]


def test_a_step_may_be_made_by_a_plain_call(tmp_path: Path) -> None:
    check(
        tmp_path,
        """
        def _read(n): return open(n)
        read = step(_read)
        slow = step(timeout=5)(_read)
        @workflow
        def flow(n):
            read.submit(n)  #! FX203
            return read(n), slow(n)
        """,
    )


def test_helpers_are_followed_over_modules(tmp_path: Path) -> None:
    files = {
        "src/shop/__init__.py": "from .steps import charge\nfrom .deep.tools import stamp as mark\n",
        "src/shop/steps.py": "import time, fluxo as f\n@f.step\ndef charge(n): return time.time()\n",
        "src/shop/deep/__init__.py": "",
        "src/shop/deep/tools.py": "from datetime import datetime as dt\nfrom ..state import seen\n"
        "def stamp():\n    seen.add(1)  #! FX205\n    return dt.now()  #! FX101\n",
        "src/shop/state.py": "seen = set()\n",
        "src/shop/flow.py": "from fluxo import workflow as durable\nimport shop, shop.state\n"
        "from shop import charge, mark\n"
        "@durable\nasync def flow(n):\n    charge.submit(n)  #! FX203\n    shop.mark()\n"
        "    shop.state.seen  #! FX205\n    return mark()\n",
    }
    assert places(tmp_path, found(tmp_path, files)) == expected(files)


def test_a_comment_accepts_a_line(tmp_path: Path) -> None:
    check(
        tmp_path,
        """
        @workflow
        def flow(n):
            time.time()  # fluxo: ok
            time.time()  # fluxo: ok FX101
            time.time()  # fluxo: ok FX102  #! FX101
            "# fluxo: ok"; time.time()  #! FX101
        """,
    )


def test_a_file_that_is_not_python_is_a_finding(tmp_path: Path) -> None:
    files = {"bad.py": "x = 1\ndef (:  #! FX001\n", "flow.py": HEAD + body_of("time.time()  #! FX101")}
    assert places(tmp_path, found(tmp_path, files)) == expected(files)


def test_two_folders_may_have_modules_of_one_name(tmp_path: Path) -> None:
    files = {name: HEAD + body_of("time.time()  #! FX101") for name in ("a/flow.py", "b/flow.py")}
    found(tmp_path, files)
    assert places(tmp_path, lint([tmp_path / "b", tmp_path / "a"])) == expected(files)


def test_virtual_environments_are_not_the_project(tmp_path: Path) -> None:
    assert found(tmp_path, {".venv/lib/flow.py": HEAD + body_of("time.time()")}) == []


def test_fluxo_itself_is_not_the_project(tmp_path: Path) -> None:
    files = {
        "fluxo/py.typed": "",
        "fluxo/__init__.py": "from fluxo.flow import sleep\n",
        "fluxo/flow.py": "import time\ndef sleep(n): time.sleep(n)\n",
        "flow.py": HEAD + body_of("fluxo.sleep(1)\ntime.time()  #! FX101"),
    }
    assert places(tmp_path, found(tmp_path, files)) == expected(files)


def test_the_order_of_findings_is_that_of_the_source(tmp_path: Path) -> None:
    findings = check(tmp_path, body_of("return time.time(), random.random()  #! FX101 FX102"))
    assert findings == sorted(findings, key=lambda finding: (finding.path, finding.line, finding.column, finding.code))


def test_nothing_is_executed(tmp_path: Path) -> None:
    assert found(tmp_path, {"flow.py": "raise SystemExit('executed')\n"}) == []


def test_the_projects_own_examples_are_clean() -> None:
    assert lint([Path(__file__).parents[4] / "examples"]) == []
