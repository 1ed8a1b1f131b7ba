"""
A virtual environment for a peer.

Owns: making it once, from the package index that pip is configured for. Must not touch fluxo's own environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.setting import ROOT

__all__ = ["python_with"]


def python_with(requirement: str) -> str:
    """
    The interpreter of an environment that has this one requirement, such as ``dbos==3.4.0``.

    Raises:
        subprocess.CalledProcessError: it could not be installed; pip's own words stand on stderr.
    """
    directory = ROOT / "bench" / ".peers" / requirement.replace("==", "-")
    python = directory / "bin" / "python"
    done = directory / "installed"
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.parent.mkdir(exist_ok=True)
        print(f"making an environment with {requirement} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, requirement], check=True, stdout=subprocess.DEVNULL)
        done.write_text(requirement + "\n", encoding="utf-8")
    return str(Path(python))
