"""Stage 3: registration of the key frames' meshes to one topology, or of one mesh to all frames of the video."""

from registration.correspondences.point_trackers import describe
from registration.keyframes.stage import run
from registration.video.stage import fit_inbetweens, track_video

__all__ = ["describe", "fit_inbetweens", "run", "track_video"]
