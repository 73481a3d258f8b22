"""The energy of point tracks in rendered views: points of the mesh that moves come to lie where they are tracked."""

from __future__ import annotations

from torch import Tensor

from registration.keyframes.energy import State
from registration.keyframes.lifted_tracks import SurfaceTracks

PIXELS = 512  # of the published picture: distances are counted in its pixels


class MultiviewTracks:
    """Distance between projected points and their tracks, in pixels of a 512 x 512 picture (V2M4's tracking loss).

    As in V2M4: L1 of x and y, mean over a view's points, mean over the views (V2M4 puts the weight 1e-3 before each
    view's mean, which is the same), compared in the pictures, not in space. Unlike V2M4, points that the tracker does
    not see count nothing (V2M4 does not ask), and positions outside of the picture are not clamped to its border.

    Args:
        weight: factor in the sum.
        ends: one key frame's ends of the tracks of the mesh that moves, see ``SurfaceTracks.at``.
        faces: (F, 3) of the mesh that moves.
    """

    name = "tracking"

    def __init__(self, weight: float, ends: SurfaceTracks, faces: Tensor) -> None:
        self.weight, self.ends, self.faces = weight, ends, faces
        shares = 1.0 / (ends.counts * len(ends.counts)).clamp_min(1)
        self.share = (shares.index_select(0, ends.view) * ends.confidence[0]).to(ends.extrinsics)

    def __call__(self, state: State) -> Tensor:
        """Mean over x and y, a view's points, the views."""
        found = self.ends.project(self.ends.points.on(state.vertices, self.faces))
        return PIXELS * ((found - self.ends.positions[0]).abs().mean(1) * self.share).sum()
