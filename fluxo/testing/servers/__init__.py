"""
Throw-away database servers for tests and demos: the real thing, from pip alone.

Owns: finding a server's program, starting it on a free port with a folder of its own, killing and restarting it. Must
not know stores or engines. Where one is looked for, in this order: the URL in the environment (then nothing is
started), a program on PATH or in Debian's place, a wheel. They listen on this machine only and die with the process
that started them. A server that cannot be had is an error that says how to get it, never a skip.
"""

from __future__ import annotations

from fluxo.testing.servers.mongo import MongoServer
from fluxo.testing.servers.postgres import PostgresServer
from fluxo.testing.servers.process import Server
from fluxo.testing.servers.redis import RedisServer

__all__ = ["MongoServer", "PostgresServer", "RedisServer", "Server"]
