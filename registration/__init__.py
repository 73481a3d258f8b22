"""Stage 3: the meshes of all key frames become one mesh that moves."""

from registration.stage import run

__all__ = ["run"]
