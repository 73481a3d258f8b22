"""One more guess of the camera: points of the mesh, seen in renders, are found again in the frame.

The paper aligns point maps of a network (DUSt3R, VGGT) with the mesh, see ``pointmap_alignment``. The twin without
weights matches the frame with the best renders, takes the matched pixels' places on the mesh from the renders' position
maps, and solves for the camera that sees these points at these pixels (perspective n-point).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from camera_search.comparison import Comparison
from v2m4.optical_flow import MEDIUM, dense_flow
from v2m4.render import render_mesh
from v2m4.rotation import rotation_exp


@dataclass(frozen=True)
class Scene:
    """The frame and renders of the mesh from known cameras, all through one window.

    Attributes:
        frame: (h, w, 4) premultiplied colour and coverage.
        renders: (B, h, w, 4) the same of the renders.
        positions: (B, h, w, 3) places on the mesh, canonical pose.
        seen: (B, h, w) where a render sees the mesh.
        intrinsics: (3, 3) pixels of the window.
    """

    frame: np.ndarray
    renders: np.ndarray
    positions: np.ndarray
    seen: np.ndarray
    intrinsics: np.ndarray

    @classmethod
    def of_views(cls, comparison: Comparison, views: Tensor, size: int) -> Scene:
        """Render views (B, 5) of the comparison's mesh beside its frame at ``size`` pixels."""
        camera = comparison.camera(views.detach())
        with torch.no_grad():
            rendering = render_mesh(comparison.mesh, camera, size, channels=("color", "mask", "position"))
        reference = comparison.reference(size)
        return cls(
            frame=torch.cat([reference.color, reference.mask], -1)[0].cpu().numpy(),
            renders=torch.cat([rendering.color, rendering.mask], -1).cpu().numpy(),
            positions=rendering.position.cpu().numpy(),
            seen=(rendering.triangle >= 0).cpu().numpy(),
            intrinsics=camera.intrinsics((size, size)).cpu().numpy(),
        )


@dataclass(frozen=True)
class PointMaps:
    """Where the pixels of pictures lie, all in one space whose place, turn and scale are unknown.

    Attributes:
        points: (N, h, w, 3), on the CPU.
        confidence: (N, h, w), larger is surer; only its order within a picture counts.
    """

    points: Tensor
    confidence: Tensor


class PointMap(Protocol):
    """A network that predicts point maps (``vggt.py``, ``dust3r.py``)."""

    @property
    def size(self) -> int:
        """Pixels (side) of the pictures that it is made for."""
        ...

    def predict(self, pictures: Tensor) -> PointMaps:
        """The maps of pictures (N, 3, h, w), sRGB in [0, 1] on black, N at least 2."""
        ...


class CameraGuess(Protocol):
    """Proposes cameras of the frame from renders whose cameras are known."""

    @property
    def size(self) -> int:
        """Pixels (side) of the pictures that it wants; 0 takes the search's."""
        ...

    def guess(self, scene: Scene) -> Tensor:
        """Extrinsics (K, 4, 4) of the frame's camera, K from 0 (nothing found) to as many as there are renders."""
        ...


@dataclass(frozen=True)
class MatchedPoints:
    """Guesses by dense optical flow from each render to the frame, checked forwards and backwards.

    Attributes:
        tolerance: pixels by which a point may miss its place after going there and back, and in the solution.
        points: matches used at most, spread evenly over those found.
        least: matches needed.
        size: see ``CameraGuess``.
    """

    tolerance: float = 2.0
    points: int = 600
    least: int = 20
    size: int = 0

    def guess(self, scene: Scene) -> Tensor:
        """Extrinsics (K, 4, 4), one for each render that could be matched and solved."""
        found = []
        for render, position, seen in zip(scene.renders, scene.positions, scene.seen, strict=True):
            pixels, at = flow_matches(render, scene.frame, seen, self.tolerance)
            solved = solve_camera(position[pixels[:, 1], pixels[:, 0]], at, scene.intrinsics, self)
            if solved is not None:
                found.append(solved)
        return torch.from_numpy(np.stack(found)) if found else torch.zeros(0, 4, 4)


def flow_matches(
    render: np.ndarray, frame: np.ndarray, seen: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of a render lie in the frame.

    Args:
        render: (h, w, 4) premultiplied colour and coverage.
        frame: (h, w, 4) the same.
        seen: (h, w) pixels of the render to match.
        tolerance: pixels of forward-backward error allowed.

    Returns:
        pixels (N, 2) as (column, row) integers, and their places (N, 2) in the frame; the first pixel's centre is
        (0.5, 0.5).
    """
    first, second = _gray(render), _gray(frame)
    height, width = seen.shape
    still = np.zeros((height, width, 2), np.float32)
    forward, backward = dense_flow(first, second, MEDIUM, still), dense_flow(second, first, MEDIUM, still)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    there = grid + forward
    back = there + cv2.remap(backward, there[..., 0], there[..., 1], cv2.INTER_LINEAR, borderValue=(1e6, 1e6))
    on_object = cv2.remap(np.ascontiguousarray(frame[..., 3]), there[..., 0], there[..., 1], cv2.INTER_LINEAR) > 0.5
    good = seen & on_object & (np.abs(back - grid).max(-1) < tolerance)
    rows, columns = np.nonzero(good)
    return np.stack([columns, rows], 1), there[rows, columns] + 0.5


def solve_camera(
    places: np.ndarray, pixels: np.ndarray, intrinsics: np.ndarray, options: MatchedPoints
) -> np.ndarray | None:
    """The camera that sees points at pixels, in spite of wrong matches.

    Args:
        places: (N, 3) on the mesh.
        pixels: (N, 2), (0.5, 0.5) the first pixel's centre.
        intrinsics: (3, 3).
        options: tolerance and numbers of points.

    Returns:
        Extrinsics (4, 4) float32, or None where too few points agree.
    """
    if len(places) < options.least:
        return None
    chosen = np.linspace(0, len(places) - 1, min(options.points, len(places))).astype(np.int64)
    places, pixels = places[chosen].astype(np.float64), pixels[chosen].astype(np.float64)
    cv2.setRNGSeed(0)
    solved, turn, shift, inliers = cv2.solvePnPRansac(
        places,
        pixels,
        intrinsics.astype(np.float64),
        None,
        iterationsCount=200,
        reprojectionError=options.tolerance,
        flags=cv2.SOLVEPNP_EPNP,
    )
    if not solved or inliers is None or len(inliers) < options.least:
        return None
    inside = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(places[inside], pixels[inside], intrinsics.astype(np.float64), None, turn, shift)
    extrinsics = np.eye(4, dtype=np.float32)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation_exp(turn[:, 0]), shift[:, 0]
    return extrinsics if np.isfinite(extrinsics).all() else None


def _gray(picture: np.ndarray) -> np.ndarray:
    """Brightness over middle grey, (h, w) uint8."""
    gray = picture[..., :3] @ np.array([0.3, 0.59, 0.11], np.float32) + 0.5 * (1 - picture[..., 3])
    return np.ascontiguousarray(np.clip(255 * gray, 0, 255).astype(np.uint8))
