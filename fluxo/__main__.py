"""
``python -m fluxo``: the command line.

Owns: nothing but the way there. Must not import what a command needs.
"""

import sys

try:
    from fluxo.cli import main
except ModuleNotFoundError as missing:
    if missing.name != "click":
        raise
    sys.exit("the command line needs an optional dependency: pip install 'fluxo-durable[cli]'")

if __name__ == "__main__":
    main()
