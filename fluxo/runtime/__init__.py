"""
Advances runs: drives workflows against their histories, executes step attempts, commits what happened.

Owns: the two drivers over one shared core, the group committer, threads and the host loop. Must not know
how runs are found or claimed (`fluxo.engine`), nor which store is behind the contract.
"""
