"""Camera proposals from a network's point maps (VGGT, DUSt3R) of the frame and of renders, all in one space of its own.

The renders' pixels have known positions on the mesh, so a robust fit of these correspondences gives the similarity
transform from the network's space to the mesh's. But a network sometimes mistakes a front for a back, in some views or
in the frame; so the transform is also estimated by ICP with the surface, without correspondences, and the frame's
points are tried after a half-turn, too. Each transform gives one camera, by perspective n-point from the frame's points
and pixels. The search renders them all and keeps the one of highest similarity.

Source: V2M4 section 3.2 (chamfer distance from one start, half a turn at three quarters, then re-projection).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from camera_search.pointmap import FrameAndRenders, PointMapNetwork, PointMaps, drawn_seed
from camera_search.robust_alignment import (
    align_to_surface,
    fit_robustly,
    half_turns,
    restarts,
    thinned,
    turned_about,
)
from camera_search.views import rotations
from v2m4.camera import Orbit, orbit_from_extrinsics
from v2m4.rotation import angles_between, half_turn, rotation_exp
from v2m4.similarity_transform import SimilarityTransform

log = logging.getLogger("v2m4.camera_search")

MAX_ROLL = math.radians(80)  # radians; a solution with more roll than this is wrong
MAX_RESIDUAL = 0.1  # of the object's size: above this median residual of the correspondences, the network is wrong
MIN_KERNEL_SCALE = 1e-5  # lower bound of the Cauchy kernel's scale, tangent of an angle
SAME_ANGLE, SAME_POSITION = 0.05, 0.05  # radians, and of the distance: within these two cameras are equal


@dataclass(frozen=True)
class PointMapProposer:
    """Proposals by alignment of a network's point maps with the mesh.

    Attributes:
        network: predicts the maps.
        trusted: share of each image's pixels that are used, those of the highest confidence: depth is smeared at
            outlines.
        matches: pixels of all renders used at most.
        points: pixels of the frame used at most.
        min_pixels: pixels needed in the frame, and in all renders together.
    """

    network: PointMapNetwork
    trusted: float = 0.7
    matches: int = 6000
    points: int = 3000
    min_pixels: int = 50

    @property
    def size(self) -> int:
        """Side of the images that the network takes, pixels."""
        return self.network.size

    def propose(self, scene: FrameAndRenders, generator: torch.Generator) -> Tensor:
        """Extrinsics (K, 4, 4), the likeliest first; K is 0 where the frame or the renders show too few pixels."""
        images = np.concatenate([scene.frame[None], scene.renders])[..., :3]
        maps = self.network.predict(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
        orbits = self.cameras(maps, scene, generator)
        log.debug("point maps: %d cameras", len(orbits))
        return torch.cat([orbit.camera().extrinsics for orbit in orbits]) if orbits else torch.zeros(0, 4, 4)

    def cameras(self, maps: PointMaps, scene: FrameAndRenders, generator: torch.Generator) -> list[Orbit]:
        """Distinct cameras of the frame, one for each alignment of the maps with the mesh, the likeliest first.

        Args:
            maps: of the frame and the renders, in this order.
            scene: the frame and renders that the maps were predicted from.
            generator: for the random samples of robust fits.

        Raises:
            ValueError: the maps' shape is not the images'.
        """
        expected = (1 + len(scene.renders), *scene.frame.shape[:2], 3)
        if tuple(maps.points.shape) != expected:
            raise ValueError(f"point maps: expected {expected}, got {tuple(maps.points.shape)}")
        points, confidence = maps.points.double().numpy(), maps.confidence.double().numpy()
        on_frame = self._confident(scene.frame[..., 3] > 0.5, points[0], confidence[0])
        on_renders = [self._confident(*view) for view in zip(scene.visible, points[1:], confidence[1:], strict=True)]
        if on_frame.sum() < self.min_pixels or sum(confident.sum() for confident in on_renders) < self.min_pixels:
            return []
        rows, columns = np.nonzero(on_frame)
        pixels = thinned(np.stack([columns, rows], 1) + 0.5, self.points)
        frame_points = thinned(points[0][rows, columns], self.points)
        orbits: list[Orbit] = []
        for transform in self._transforms(points[1:], on_renders, scene, frame_points, generator):
            orbit = resect(transform(frame_points), pixels, scene.intrinsics, generator)
            if orbit is not None and not any(_equal(orbit, other) for other in orbits):
                orbits.append(orbit)
        return orbits

    def _confident(self, visible: np.ndarray, points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Pixels (h, w) that show the object and are among the ``trusted`` share of highest confidence."""
        visible = visible & np.isfinite(points).all(-1) & np.isfinite(confidence)
        if not visible.any():
            return visible
        return visible & (confidence >= np.quantile(confidence[visible], 1 - self.trusted))

    def _transforms(
        self,
        points: np.ndarray,
        trusted: list[np.ndarray],
        scene: FrameAndRenders,
        frame: np.ndarray,
        generator: torch.Generator,
    ) -> Iterator[SimilarityTransform]:
        """Ways from the network's space to the mesh's, the likeliest first.

        Args:
            points: (B, h, w, 3) of the renders, the network's space.
            trusted: B times (h, w), which of them count.
            scene: gives the positions of the renders' pixels on the mesh.
            frame: (N, 3) of the frame, the network's space.
            generator: for the robust fits.
        """
        parts = [
            (thinned(point[good], share), thinned(place[good], share))
            for point, place, good in zip(points, scene.positions, trusted, strict=True)
            if good.sum() >= self.min_pixels
            for share in (max(self.min_pixels, self.matches // len(points)),)
        ]
        if not parts:
            return
        source = np.concatenate([part[0] for part in parts])
        target = np.concatenate([part[1] for part in parts]).astype(np.float64)
        center = (target.min(0) + target.max(0)) / 2
        draw = np.random.default_rng(drawn_seed(generator))
        whole = fit_robustly(source, target, np.ones(len(source)), draw)
        yield whole
        yield align_to_surface(source, target, half_turns(whole, center))[0]
        apart = np.median(np.linalg.norm(whole(source) - target, axis=1))
        if (
            apart > MAX_RESIDUAL * np.ptp(target, axis=0).max()
        ):  # inconsistent correspondences: ICP with the surface, from all rotations
            yield align_to_surface(source, target, restarts(source, target))[0]
        behind = turned_about(whole, half_turn(np.array([0.0, 1.0, 0.0])), center)
        for start in (whole, behind):  # the frame may stand otherwise than the renders; it shows but a part
            yield align_to_surface(frame, target, [start], both_ways=False)[0]
        for own_source, own_target in parts:
            yield fit_robustly(own_source, own_target.astype(np.float64), np.ones(len(own_source)), draw)


def resect(
    points: np.ndarray,
    pixels: np.ndarray,
    intrinsics: np.ndarray,
    generator: torch.Generator,
    tolerance: float = 0.01,
) -> Orbit | None:
    """Upright camera from correspondences of points and pixels with outliers (perspective n-point).

    Initial solution by RANSAC (EPnP); then robust nonlinear least squares (trust region) over yaw, pitch and the
    camera's position, with a Cauchy kernel whose scale is the median residual: outliers are spread evenly about the
    object, and without the kernel the object would come out too small.

    Args:
        points: (N, 3) in the world.
        pixels: (N, 2); the first pixel's centre is at (0.5, 0.5).
        intrinsics: (3, 3).
        generator: for the random samples.
        tolerance: half the error of a RANSAC inlier, as the tangent of an angle.

    Returns:
        The camera (batch of 1), ``look_at`` at the points' median depth, or None where there is no solution.
    """
    focal = (intrinsics[0, 0] + intrinsics[1, 1]) / 2
    rays = np.linalg.solve(intrinsics.astype(np.float64), np.concatenate([pixels, np.ones_like(pixels[:, :1])], 1).T)
    tangents = rays[:2].T
    start = _sampled_camera(points, pixels, intrinsics.astype(np.float64), 2 * tolerance * focal, generator)
    if start is None:
        return None
    middle = np.median(points, axis=0)

    def camera_space(parameters: np.ndarray) -> np.ndarray:
        return (points - parameters[2:]) @ _upright(parameters[0], parameters[1]).T

    def residuals(parameters: np.ndarray) -> np.ndarray:
        in_camera = camera_space(parameters)
        return (in_camera[:, :2] / np.maximum(in_camera[:, 2:], 1e-3) - tangents).ravel()

    for _ in range(3):  # the kernel's scale follows from the solution
        scale = max(float(np.median(np.abs(residuals(start)))), MIN_KERNEL_SCALE)
        solved = least_squares(residuals, start, loss="cauchy", f_scale=scale)
        start = solved.x
    if not np.isfinite(solved.x).all() or np.median(camera_space(solved.x)[:, 2]) <= 0:
        return None
    yaw, pitch, *place = solved.x
    rotation = _upright(yaw, pitch)
    depth = float(rotation[2] @ (middle - np.array(place)))
    if depth <= 0 or abs(pitch) > math.pi / 2:
        return None
    return Orbit.of(yaw, pitch, depth, tuple(np.array(place) + depth * rotation[2]))


def _sampled_camera(
    points: np.ndarray, pixels: np.ndarray, intrinsics: np.ndarray, tolerance: float, generator: torch.Generator
) -> np.ndarray | None:
    """Yaw, pitch and position (5,) of the camera by RANSAC (EPnP), its roll dropped; None without a solution."""
    cv2.setRNGSeed(drawn_seed(generator))
    solved, turn, shift, _ = cv2.solvePnPRansac(
        points, pixels, intrinsics, None, iterationsCount=300, reprojectionError=tolerance, flags=cv2.SOLVEPNP_EPNP
    )
    if not solved or not (np.isfinite(turn).all() and np.isfinite(shift).all()):
        return None
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation_exp(turn[:, 0]), shift[:, 0]
    orbit = orbit_from_extrinsics(torch.from_numpy(extrinsics)[None], 0.0)
    upright = _upright(float(orbit.yaw), float(orbit.pitch))
    roll = math.acos(min(1.0, max(-1.0, float(upright[0] @ extrinsics[0, :3]))))
    if roll > MAX_ROLL:
        return None
    return np.array([float(orbit.yaw), float(orbit.pitch), *orbit.look_at[0].tolist()])


def _upright(yaw: float, pitch: float) -> np.ndarray:
    """World to camera rotation (3, 3) of an upright camera."""
    angles = torch.tensor([[yaw], [pitch]], dtype=torch.float64)
    return rotations(angles[0], angles[1])[0].numpy()


def _equal(first: Orbit, second: Orbit) -> bool:
    """Whether two cameras (batches of 1) are equal within ``SAME_ANGLE`` and ``SAME_POSITION``."""
    poses = [orbit.camera().extrinsics[0] for orbit in (first, second)]
    angle = angles_between(poses[0][:3, :3], poses[1][:3, :3])
    away = (poses[0][:3, 3] - poses[1][:3, 3]).norm() / poses[0][:3, 3].norm().clamp_min(1e-6)
    return bool(angle < SAME_ANGLE) and bool(away < SAME_POSITION)
