"""
Programs that show fluxo at work.

Owns: nothing but the name; each example is a package of its own, run as ``python -m examples.<name>``.
"""
