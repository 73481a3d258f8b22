"""The multi-view tracking energy: distances of the template's projected points from their tracks in rendered views."""

from __future__ import annotations

from torch import Tensor

from registration.keyframes.energy import State
from registration.keyframes.lifted_tracks import SurfaceTracks

PIXELS = 512  # side of V2M4's rendered views, the unit of distances


class MultiviewTracks:
    """L1 distance between projected points and their tracks, in pixels of a 512 x 512 view (V2M4's tracking loss).

    As in V2M4: L1 of x and y, mean over a view's points, mean over the views (V2M4 puts the weight 1e-3 before each
    view's mean, which is the same), in image space. Unlike V2M4, tracks are weighted by their confidence, so that
    occluded points do not count, and positions outside of the image are not clamped to its border.

    Args:
        weight: factor in the sum.
        ends: positions of the template's tracks at one key frame, K = 1, see ``SurfaceTracks.at``.
        faces: (F, 3) of the template.
    """

    name = "tracking"

    def __init__(self, weight: float, ends: SurfaceTracks, faces: Tensor) -> None:
        self.weight, self.ends, self.faces = weight, ends, faces
        view_weights = 1.0 / (ends.counts * len(ends.counts)).clamp_min(1)
        self.point_weight = (view_weights.index_select(0, ends.view) * ends.confidence[0]).to(ends.extrinsics)

    def __call__(self, state: State) -> Tensor:
        """The mean over x and y, over a view's points, over the views."""
        projected = self.ends.project(self.ends.points.on(state.vertices, self.faces))
        return PIXELS * ((projected - self.ends.positions[0]).abs().mean(1) * self.point_weight).sum()
