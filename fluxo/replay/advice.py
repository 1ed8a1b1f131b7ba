"""
What a workflow must not use, and what to write instead.

Owns: the table from qualified names to rules, and the wording. Must not know who finds a use: the static check reads
it, the guard hears of it at the call. Theory: a replay runs the
workflow's code again, so everything the code sees must come from the log or be computed from what came from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "EXCEPT",
    "FINALLY",
    "NO_ORDER",
    "RANDOM",
    "SETS",
    "STATE",
    "SYNTAX",
    "THREADS",
    "UNAWAITED",
    "Rule",
    "rule_for",
]


@dataclass(frozen=True)
class Rule:
    """A code, what is wrong in a few words, and the safe spelling."""

    code: str
    what: str
    safe: str


_IN_STEP: Final = "do it in a @step and use the result"
SYNTAX: Final = Rule("FX001", "cannot be read as Python", "correct the file; nothing in it was checked")
CLOCK: Final = Rule("FX101", "reads the wall clock", "fluxo.now()")
SLEEP: Final = Rule(
    "FX101", "waits in this process only", "fluxo.sleep(...), or asyncio.sleep(...) in an async workflow"
)
RANDOM: Final = Rule("FX102", "draws chance that no replay repeats", "fluxo.random()")
UUID: Final = Rule("FX103", "makes an id that no replay repeats", "fluxo.uuid4()")
ENVIRONMENT: Final = Rule("FX104", "reads the environment of one process", f"{_IN_STEP}, or pass it as an argument")
FILES: Final = Rule("FX105", "uses the file system or the terminal", _IN_STEP)
SOCKETS: Final = Rule("FX106", "uses the network or a database", _IN_STEP)
THREADS: Final = Rule(
    "FX107", "uses threads, processes or another loop", "call a @step, with .submit(...) to run several"
)
NO_ORDER: Final = Rule(
    "FX108", "completes in an order no replay repeats", "fluxo.aio.as_completed([step.submit(...), ...])"
)
SETS: Final = Rule("FX201", "the order of a set decides the order of steps", "sorted(...)")
EXCEPT: Final = Rule("FX202", "catches cancellation and suspension", "except Exception, or end the handler with raise")
UNAWAITED: Final = Rule("FX203", "is neither awaited nor kept", "await it, or keep the future and take its result")
FINALLY: Final = Rule(
    "FX204",
    "a step in finally is cut short by a cancellation",
    "with fluxo.shield(): ..., or await asyncio.shield(...)",
)
STATE: Final = Rule(
    "FX205", "module state that functions change", "keep it in a local variable, or read and write it in a @step"
)

# A name that ends with a dot stands for everything below it; "()" means an instance of the class before it.
_NAMES: Final[dict[Rule, str]] = {
    CLOCK: """
        time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns
        time.process_time time.process_time_ns time.thread_time time.localtime time.gmtime time.ctime time.strftime
        datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today
        asyncio.get_running_loop().time asyncio.get_event_loop().time
    """,
    SLEEP: "time.sleep",
    RANDOM: """
        random.random random.randint random.randrange random.uniform random.choice random.choices random.sample
        random.shuffle random.gauss random.normalvariate random.triangular random.betavariate random.expovariate
        random.getrandbits random.randbytes random.seed random.SystemRandom os.urandom os.getrandom secrets.
        numpy.random.
    """,
    UUID: "uuid.uuid1 uuid.uuid4 uuid.uuid6 uuid.uuid7 uuid.uuid8 uuid.getnode",
    ENVIRONMENT: """
        os.environ os.environ. os.environb os.environb. os.getenv os.getenvb os.putenv os.unsetenv os.getpid os.getppid
        os.getcwd os.getlogin os.uname os.cpu_count sys.argv sys.argv. platform. getpass. locale.getlocale
    """,
    FILES: """
        builtins.open builtins.input io.open os.open os.read os.write os.listdir os.scandir os.walk os.stat os.remove
        os.unlink os.rename os.replace os.mkdir os.makedirs os.rmdir os.removedirs os.chdir os.chmod os.truncate
        os.path.exists os.path.isfile os.path.isdir os.path.getsize os.path.getmtime os.path.getctime
        os.path.realpath os.path.abspath os.path.expanduser shutil. tempfile. glob. sqlite3.connect
        pathlib.Path.cwd pathlib.Path.home pathlib.Path().open pathlib.Path().read_text pathlib.Path().read_bytes
        pathlib.Path().write_text pathlib.Path().write_bytes pathlib.Path().exists pathlib.Path().is_file
        pathlib.Path().is_dir pathlib.Path().stat pathlib.Path().unlink pathlib.Path().mkdir pathlib.Path().rmdir
        pathlib.Path().touch pathlib.Path().rename pathlib.Path().replace pathlib.Path().iterdir pathlib.Path().glob
        pathlib.Path().rglob pathlib.Path().resolve pathlib.Path().absolute pathlib.Path().expanduser sys.stdin.
    """,
    SOCKETS: """
        socket. ssl. select. selectors. http.client. urllib.request. smtplib. ftplib. imaplib. poplib. xmlrpc.client.
        socketserver. requests. httpx. aiohttp. urllib3. websockets. boto3. psycopg. psycopg2. asyncpg. redis. pymongo.
        asyncio.open_connection asyncio.start_server asyncio.open_unix_connection asyncio.start_unix_server
    """,
    THREADS: """
        threading. _thread. multiprocessing. concurrent.futures.ThreadPoolExecutor
        concurrent.futures.ProcessPoolExecutor subprocess. os.fork os.system os.popen os.kill signal. asyncio.to_thread
        asyncio.run asyncio.new_event_loop asyncio.run_coroutine_threadsafe asyncio.create_subprocess_exec
        asyncio.create_subprocess_shell queue.
    """,
}
_RULES: Final = {name: rule for rule, names in _NAMES.items() for name in names.split()}


def rule_for(name: str) -> Rule | None:
    """The rule that the use of the qualified `name` breaks, if it breaks one."""
    if name in _RULES:
        return _RULES[name]
    if "()" in name:
        return None
    parts = name.split(".")
    return next((found for n in range(1, len(parts)) if (found := _RULES.get(".".join(parts[:n]) + "."))), None)
