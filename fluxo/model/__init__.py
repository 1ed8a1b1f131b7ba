"""
Plain frozen structs that every layer speaks: events, commands, runs, options, retries, failures.

Owns: the shapes and the tables of legal transitions. Must not know stores, threads, loops or clocks;
there is no behaviour here beyond validation and arithmetic.
"""
