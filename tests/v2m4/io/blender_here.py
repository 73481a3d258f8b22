"""Which Blender the tests use: that of the environment variable V2M4_BLENDER, else that of ``install``."""

import os
from pathlib import Path

import pytest

from v2m4.io.blender_install import INSTALL, VARIABLE, default_folder

BLENDER = Path(os.environ.get(VARIABLE) or default_folder())

needs_blender = pytest.mark.skipif(
    not BLENDER.exists(), reason=f"no Blender at {BLENDER}; {INSTALL}, or set {VARIABLE} to its folder"
)
