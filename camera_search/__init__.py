"""Stage 2: the camera of every key frame, and every mesh brought into the video camera's space."""

from camera_search.stage import run

__all__ = ["run"]
