"""
An order desk whose worker is killed again and again, and which loses nothing.

Run it with ``make demo`` or ``python -m examples.orders``. Each order of a CSV order book becomes one run of one
workflow. Read `flow` first: that is all an application writes. The rest is the world around it:

    orders        what an order is, and the CSV files it comes from
    flow          the steps and the workflow
    ledger        the outside world: every effect is one line, keyed by its idempotency key
    stock         the warehouse's own database
    worker        the process that executes, and that gets killed
    supervisor    takes in the orders, plays the carrier, kills the worker
    audit         compares the log with the ledger, afterwards
    screen        how it looks

Must not know how fluxo works inside: everything here uses its public names.
"""
