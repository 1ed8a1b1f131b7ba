"""
fluxo beside another library: ``python -m bench.peers``.

Owns: the same work done by both, in turns, on the same machine in the same minutes. Must not need anything of the peer
in fluxo's own environment: it gets a virtual environment of its own, made on demand under ``bench/.peers``. Each
phase is a fresh process on an empty store; settings are each library's defaults. This module loads nothing, because
the peer's processes import it too.
"""
