"""Stage 3: the meshes of all key frames become one mesh that moves."""

from registration.moving import fill, move
from registration.stage import run
from registration.tracking import describe

__all__ = ["describe", "fill", "move", "run"]
