"""
The pure part: a history and a workflow go in, the commands that are not in the history yet come out.

Owns: the rules by which a history is applied to code. Must not know clocks, threads, sockets, randomness
or stores; payloads are opaque bytes here. Numbered scheduling rules (`fluxo.model.events.SEMANTICS`, now 1):

1. Events are delivered one at a time, in the order of the log, and only when the workflow cannot go on
   by itself: a sync workflow blocks in a call, an async one has no ready callback left.
2. A command is identified by (scope path, position in that scope). The main flow has the empty scope;
   each task gets its parent's path and its number among the parent's children, in order of creation.
3. A recorded step that is the very next event, while nothing else is ready, is answered without
   suspending: that is what rule 1 would have done.
4. Time inside the workflow is the recorded time of the last delivered event; before the first, the time of
   the start, or of the first claim when it was a claim that began it (a timeout must not run out in the queue).
5. A command that was given up (a cancelled wait) keeps its identity; its late event is checked and dropped.
"""
