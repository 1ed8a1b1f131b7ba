"""
What fluxo costs on this machine, and what the machine itself costs.

Owns: the figures of `python -m bench` (and of `python -m bench.peers`, beside another library). Must not be imported
by fluxo. One file per theme; `timing` holds the method, `raw` what the machine can do without fluxo, `mini` what an
engine of the same idea costs when it does nothing else.

Method: only ratios travel between machines and hours, so every figure is taken beside its raw baseline, in the same
process, in short slices of random order, and quoted as the median over rounds. A round runs every variant once.
Databases lie in a directory under this checkout, on whatever disk that is; figures of memory and of start-up come
from child processes. This package loads nothing of fluxo by itself: a child that measures start-up must not either.
"""
