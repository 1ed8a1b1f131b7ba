"""
The process table, as far as workers need it to tell the dead from the living.

Owns: this process's identity on its host, and whether another one still runs there. Must not know workers. Theory:
PROTOCOL rule 10: boot id and pid namespace name a host, start time tells a process from a later one with its pid.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

__all__ = ["Processes", "SystemProcesses"]


class Processes(Protocol):
    """The processes of one host, and which of them this one is."""

    def host(self) -> str:
        """Names the process table; empty where there is none that could be looked into."""
        ...

    def pid(self) -> int:
        """The caller's own process."""
        ...

    def started(self, pid: int) -> int:
        """When that process started, in the host's ticks; 0 if there is none, or if it only waits to be buried."""
        ...


class SystemProcesses:
    """The operating system's, where it shows them under /proc."""

    def host(self) -> str:
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
        except OSError:
            return ""

    def pid(self) -> int:
        return os.getpid()

    def started(self, pid: int) -> int:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0
        return 0 if fields[0] in ("Z", "X") else int(fields[19])
