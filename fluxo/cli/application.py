"""
The user's application, by the name given on the command line.

Owns: importing it, so that its workflows are registered. Must not know what is done with them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["attribute_of", "import_application"]


def import_application(name: str) -> None:
    """
    Import ``package.module``, ``package.module:anything`` or ``path/to/file.py``, from the current folder too.

    Raises:
        UsageError: of click's: it cannot be imported; says why.
    """
    sys.path.insert(0, "")
    module = name.partition(":")[0]
    try:
        if module.endswith(".py"):
            _import_file(Path(module))
        else:
            importlib.import_module(module)
    except ImportError as problem:
        raise click.UsageError(f"cannot import {module}: {problem}") from problem


def attribute_of(name: str) -> Any:
    """
    What ``module:attribute`` names, after `import_application`; None if no attribute is named.

    Raises:
        UsageError: of click's: the module has no such attribute.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        return None
    found: Any = sys.modules[Path(module).stem if module.endswith(".py") else module]
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{module} has no {attribute}")
        found = getattr(found, part)
    return found


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise ImportError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not Python")
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
