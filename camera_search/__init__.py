"""Stage 2: the camera of every key frame, and every mesh transformed into the video camera's space."""

import v2m4  # noqa: F401  # before torch: sets how idle threads wait
from camera_search.learned_parts import describe
from camera_search.stage import run
from camera_search.user_mesh import pose_user_mesh

__all__ = ["describe", "pose_user_mesh", "run"]
