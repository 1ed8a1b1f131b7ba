"""
What users decorate functions with, and what workflow code calls.

Owns: `step`, `workflow`, what they return, the process-wide registry, and the flow functions (sleep,
wait_signal, gather, now …). Must not know engines, stores or event loops: a call asks the context
variable whether a run is under way, and without one it is the plain function.
"""
