"""Stage 3: the meshes of all key frames become one mesh that moves."""

from registration.stage import run
from registration.tracking import describe, require

__all__ = ["describe", "require", "run"]
