"""
A cluster of engines in one thread, on virtual time, ordered by one seed.

Owns: the scheduler of fibers (`fibers`), the ports that make an engine run on it (`ports`, `loop`), the simulated store
(`store`), what goes wrong and when (`faults`), the processes (`cluster`), and what must hold after every step
(`invariants`). Must not know workflows. Theory: DESIGN §6; the engine under test is the very code that runs in
production, down to its driver loops: only what it stands on is replaced.
"""
