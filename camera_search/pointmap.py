"""Camera proposals from renders with known cameras: protocols, and the one by optical flow and perspective n-point.

The paper aligns point maps of a network (DUSt3R, VGGT) with the mesh, see ``pointmap_alignment``. The twin without
weights finds correspondences between the frame and the best renders by optical flow, takes the positions of the
matched pixels on the mesh from the renders' position maps, and solves the perspective n-point problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from camera_search.comparison import RenderComparison
from v2m4.optical_flow import MEDIUM, dense_flow
from v2m4.render import render_mesh
from v2m4.rotation import rotation_exp


@dataclass(frozen=True)
class FrameAndRenders:
    """The frame and B renders of the mesh from known cameras, all in one window.

    Attributes:
        frame: (h, w, 4) premultiplied sRGB and coverage.
        renders: (B, h, w, 4) the same of the renders.
        positions: (B, h, w, 3) positions on the mesh, canonical pose.
        visible: (B, h, w) bool, pixels of a render that show the mesh.
        intrinsics: (3, 3) of the window's camera, pixels.
    """

    frame: np.ndarray
    renders: np.ndarray
    positions: np.ndarray
    visible: np.ndarray
    intrinsics: np.ndarray

    @classmethod
    def of_views(cls, comparison: RenderComparison, views: Tensor, size: int) -> FrameAndRenders:
        """Renders of views (B, 5) of the comparison's mesh, and its frame, ``size`` pixels square."""
        camera = comparison.camera(views.detach())
        with torch.no_grad():
            rendering = render_mesh(comparison.mesh, camera, size, channels=("color", "mask", "position"))
        reference = comparison.reference(size)
        return cls(
            frame=torch.cat([reference.color, reference.mask], -1)[0].cpu().numpy(),
            renders=torch.cat([rendering.color, rendering.mask], -1).cpu().numpy(),
            positions=rendering.position.cpu().numpy(),
            visible=(rendering.triangle >= 0).cpu().numpy(),
            intrinsics=camera.intrinsics((size, size)).cpu().numpy(),
        )


@dataclass(frozen=True)
class PointMaps:
    """Positions of the pixels of N images, all in one space of unknown translation, rotation and scale.

    Attributes:
        points: (N, h, w, 3), on the CPU.
        confidence: (N, h, w), only its order within an image is used.
    """

    points: Tensor
    confidence: Tensor


class PointMapNetwork(Protocol):
    """A network that predicts point maps (``vggt.py``, ``dust3r.py``)."""

    @property
    def size(self) -> int:
        """Side of the images that the network was trained for, pixels."""
        ...

    def predict(self, images: Tensor) -> PointMaps:
        """Point maps of images (N, 3, h, w), sRGB in [0, 1] on black, N at least 2."""
        ...


class CameraProposer(Protocol):
    """Proposes cameras of the frame from renders with known cameras."""

    @property
    def size(self) -> int:
        """Side of the images that it takes, pixels; 0 for the search's."""
        ...

    def propose(self, scene: FrameAndRenders, generator: torch.Generator) -> Tensor:
        """K proposals of the frame's camera as extrinsics (K, 4, 4); K may be 0."""
        ...


@dataclass(frozen=True)
class FlowPnpProposer:
    """Proposals by dense optical flow from each render to the frame and perspective n-point.

    Attributes:
        tolerance: forward-backward error of the flow allowed, and reprojection error of an inlier, pixels.
        points: correspondences used at most, spread evenly over all.
        min_matches: correspondences needed.
        size: see ``CameraProposer``.
    """

    tolerance: float = 2.0
    points: int = 600
    min_matches: int = 20
    size: int = 0

    def propose(self, scene: FrameAndRenders, generator: torch.Generator) -> Tensor:
        """Extrinsics (K, 4, 4), one for each render with enough consistent correspondences."""
        extrinsics = []
        for render, position, visible in zip(scene.renders, scene.positions, scene.visible, strict=True):
            pixels, frame_pixels = flow_matches(render, scene.frame, visible, self.tolerance)
            on_mesh = position[pixels[:, 1], pixels[:, 0]]
            solved = solve_camera(on_mesh, frame_pixels, scene.intrinsics, self, generator)
            if solved is not None:
                extrinsics.append(solved)
        return torch.from_numpy(np.stack(extrinsics)) if extrinsics else torch.zeros(0, 4, 4)


def flow_matches(
    render: np.ndarray, frame: np.ndarray, visible: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Correspondences between a render and the frame by forward-backward checked optical flow.

    Args:
        render: (h, w, 4) premultiplied colour and coverage.
        frame: (h, w, 4) the same.
        visible: (h, w) bool, pixels of the render to match.
        tolerance: forward-backward error allowed, pixels.

    Returns:
        Pixels (N, 2) of the render as (column, row) integers, and their correspondences (N, 2) in the frame, where the
        first pixel's centre is at (0.5, 0.5).
    """
    first, second = _gray(render), _gray(frame)
    height, width = visible.shape
    still = np.zeros((height, width, 2), np.float32)
    forward, backward = dense_flow(first, second, MEDIUM, still), dense_flow(second, first, MEDIUM, still)
    source = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    target = source + forward
    returned = target + cv2.remap(backward, target[..., 0], target[..., 1], cv2.INTER_LINEAR, borderValue=(1e6, 1e6))
    in_mask = cv2.remap(np.ascontiguousarray(frame[..., 3]), target[..., 0], target[..., 1], cv2.INTER_LINEAR) > 0.5
    valid = visible & in_mask & (np.abs(returned - source).max(-1) < tolerance)
    rows, columns = np.nonzero(valid)
    return np.stack([columns, rows], 1), target[rows, columns] + 0.5


def drawn_seed(generator: torch.Generator) -> int:
    """A seed for a library that has its own random numbers."""
    return int(torch.randint(2**31 - 1, (), generator=generator))


def solve_camera(
    positions: np.ndarray,
    pixels: np.ndarray,
    intrinsics: np.ndarray,
    options: FlowPnpProposer,
    generator: torch.Generator,
) -> np.ndarray | None:
    """Camera from correspondences of positions and pixels, by RANSAC (EPnP) and Levenberg-Marquardt.

    Args:
        positions: (N, 3) on the mesh.
        pixels: (N, 2); the first pixel's centre is at (0.5, 0.5).
        intrinsics: (3, 3).
        options: tolerance and numbers of correspondences.
        generator: for the samples.

    Returns:
        Extrinsics (4, 4) float32, or None with too few inliers.
    """
    if len(positions) < options.min_matches:
        return None
    chosen = np.linspace(0, len(positions) - 1, min(options.points, len(positions))).astype(np.int64)
    positions, pixels = positions[chosen].astype(np.float64), pixels[chosen].astype(np.float64)
    cv2.setRNGSeed(drawn_seed(generator))
    solved, turn, shift, inliers = cv2.solvePnPRansac(
        positions,
        pixels,
        intrinsics.astype(np.float64),
        None,
        iterationsCount=200,
        reprojectionError=options.tolerance,
        flags=cv2.SOLVEPNP_EPNP,
    )
    if not solved or inliers is None or len(inliers) < options.min_matches:
        return None
    inside = inliers[:, 0]
    turn, shift = cv2.solvePnPRefineLM(
        positions[inside], pixels[inside], intrinsics.astype(np.float64), None, turn, shift
    )
    extrinsics = np.eye(4, dtype=np.float32)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation_exp(turn[:, 0]), shift[:, 0]
    return extrinsics if np.isfinite(extrinsics).all() else None


def _gray(image: np.ndarray) -> np.ndarray:
    """Brightness (h, w) uint8 over a background of middle grey."""
    gray = image[..., :3] @ np.array([0.3, 0.59, 0.11], np.float32) + 0.5 * (1 - image[..., 3])
    return np.ascontiguousarray(np.clip(255 * gray, 0, 255).astype(np.uint8))
