"""Stage 3: the meshes of all key frames become one mesh that moves."""

from registration.correspondences.point_trackers import describe
from registration.keyframes.stage import run
from registration.video.stage import fill, move

__all__ = ["describe", "fill", "move", "run"]
