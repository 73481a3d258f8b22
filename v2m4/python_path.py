"""Where Python finds this program: its folder, and the search path of processes that import it."""

from __future__ import annotations

import os
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent  # the folder with main.py


def python_path() -> str:
    """PYTHONPATH for another process: the program's folder, then what this process has."""
    return os.pathsep.join(filter(None, [str(PROGRAM), os.environ.get("PYTHONPATH")]))
