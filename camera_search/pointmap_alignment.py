"""Cameras from the point maps of a network (VGGT, DUSt3R): the frame and renders in one space of the network's own.

The renders' pixels have known places on the mesh, so most of the way from the network's space to the mesh's is a fit of
matched points. But a network takes a front for a back now and then, for some views or for the frame; so the surface
alone is asked, too, and the frame's points are tried half a turn away. Each answer gives one camera: the one that sees
the frame's points at the frame's pixels. The search renders them all and keeps what looks like the frame.

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

from camera_search.pointmap import PointMap, PointMaps, Scene
from camera_search.transform import (
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

UPSIDE_DOWN = math.radians(80)  # of roll or pitch: no camera of ours stands like that
POOR = 0.1  # parts of the object's size, by which most matches miss their places where a network went wrong
NARROWEST = 1e-5  # tangent of errors that are none
SAME_ANGLE, SAME_PLACE = 0.05, 0.05  # radians, and parts of the distance, within which two cameras are one


@dataclass(frozen=True)
class AlignedPoints:
    """Guesses by a network's point maps, aligned with the mesh.

    Attributes:
        network: predicts the maps.
        trusted: share of each picture's pixels that count, those of the highest confidence: outlines smear in depth.
        matches: pixels of the renders used at most, and samples of the surface.
        points: pixels of the frame used at most.
        least: pixels needed in the frame and in all renders together.
    """

    network: PointMap
    trusted: float = 0.7
    matches: int = 6000
    points: int = 3000
    least: int = 50

    @property
    def size(self) -> int:
        """Pixels (side) of the pictures that the network wants."""
        return self.network.size

    def guess(self, scene: Scene) -> Tensor:
        """Extrinsics (K, 4, 4), the likeliest first; none where the frame or the renders show too little."""
        pictures = np.concatenate([scene.frame[None], scene.renders])[..., :3]
        maps = self.network.predict(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous())
        orbits = self.cameras(maps, scene)
        log.debug("point maps: %d cameras", len(orbits))
        return torch.cat([orbit.camera().extrinsics for orbit in orbits]) if orbits else torch.zeros(0, 4, 4)

    def cameras(self, maps: PointMaps, scene: Scene) -> list[Orbit]:
        """The frame's camera by each way of bringing the maps to the mesh, the likeliest first, none twice.

        Args:
            maps: of the frame and the renders, in this order.
            scene: what the maps were made of.

        Raises:
            ValueError: the maps' shape is not the pictures'.
        """
        expected = (1 + len(scene.renders), *scene.frame.shape[:2], 3)
        if tuple(maps.points.shape) != expected:
            raise ValueError(f"point maps: expected {expected}, got {tuple(maps.points.shape)}")
        points, confidence = maps.points.double().numpy(), maps.confidence.double().numpy()
        on_frame = self._trusted(scene.frame[..., 3] > 0.5, points[0], confidence[0])
        on_renders = [self._trusted(*view) for view in zip(scene.seen, points[1:], confidence[1:], strict=True)]
        if on_frame.sum() < self.least or sum(seen.sum() for seen in on_renders) < self.least:
            return []
        rows, columns = np.nonzero(on_frame)
        pixels = thinned(np.stack([columns, rows], 1) + 0.5, self.points)
        seen = thinned(points[0][rows, columns], self.points)
        found: list[Orbit] = []
        for transform in self._transforms(points[1:], on_renders, scene, seen):
            orbit = resect(transform(seen), pixels, scene.intrinsics)
            if orbit is not None and not any(_alike(orbit, other) for other in found):
                found.append(orbit)
        return found

    def _trusted(self, seen: np.ndarray, points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Where (h, w) the object is seen, and the network is surest."""
        seen = seen & np.isfinite(points).all(-1) & np.isfinite(confidence)
        if not seen.any():
            return seen
        return seen & (confidence >= np.quantile(confidence[seen], 1 - self.trusted))

    def _transforms(
        self, points: np.ndarray, trusted: list[np.ndarray], scene: Scene, frame: np.ndarray
    ) -> Iterator[SimilarityTransform]:
        """Ways from the network's space to the mesh's, the likeliest first.

        Args:
            points: (B, h, w, 3) of the renders, the network's space.
            trusted: B times (h, w), which of them count.
            scene: tells where the renders' pixels lie on the mesh.
            frame: (N, 3) of the frame, the network's space.
        """
        parts = [
            (thinned(point[good], share), thinned(place[good], share))
            for point, place, good in zip(points, scene.positions, trusted, strict=True)
            if good.sum() >= self.least
            for share in (max(self.least, self.matches // len(points)),)
        ]
        if not parts:
            return
        source = np.concatenate([part[0] for part in parts])
        target = np.concatenate([part[1] for part in parts]).astype(np.float64)
        center = (target.min(0) + target.max(0)) / 2
        whole = fit_robustly(source, target, np.ones(len(source)))
        yield whole
        yield align_to_surface(source, target, half_turns(whole, center))[0]
        apart = np.median(np.linalg.norm(whole(source) - target, axis=1))
        if apart > POOR * np.ptp(target, axis=0).max():  # the matches tell no one story: ask the surface alone
            yield align_to_surface(source, target, restarts(source, target))[0]
        behind = turned_about(whole, half_turn(np.array([0.0, 1.0, 0.0])), center)
        for start in (whole, behind):  # the frame may stand otherwise than the renders; it shows but a part
            yield align_to_surface(frame, target, [start], both_ways=False)[0]
        for own_source, own_target in parts:
            yield fit_robustly(own_source, own_target.astype(np.float64), np.ones(len(own_source)))


def resect(points: np.ndarray, pixels: np.ndarray, intrinsics: np.ndarray, tolerance: float = 0.01) -> Orbit | None:
    """The upright camera that sees points at pixels, in spite of wrong points.

    Perspective n-point with random samples for a start; then least squares over yaw, pitch and the camera's place
    (trust region, as in Levenberg-Marquardt) of errors of which the large ones count for little (Cauchy, its width from
    the median error): wrong points lie evenly about the object and would pull it small otherwise.

    Args:
        points: (N, 3) in the world.
        pixels: (N, 2), (0.5, 0.5) the first pixel's centre.
        intrinsics: (3, 3) known.
        tolerance: tangent of the error that random samples allow a point.

    Returns:
        the camera (batch of 1), ``look_at`` at the points' middle depth, or None where none sees them.
    """
    focal = (intrinsics[0, 0] + intrinsics[1, 1]) / 2
    rays = np.linalg.solve(intrinsics.astype(np.float64), np.concatenate([pixels, np.ones_like(pixels[:, :1])], 1).T)
    tangents = rays[:2].T
    start = _sampled_camera(points, pixels, intrinsics.astype(np.float64), 2 * tolerance * focal)
    if start is None:
        return None
    middle = np.median(points, axis=0)

    def seen(numbers: np.ndarray) -> np.ndarray:
        return (points - numbers[2:]) @ _upright(numbers[0], numbers[1]).T

    def errors(numbers: np.ndarray) -> np.ndarray:
        there = seen(numbers)
        return (there[:, :2] / np.maximum(there[:, 2:], 1e-3) - tangents).ravel()

    for _ in range(3):  # the width follows from the solution
        width = max(float(np.median(np.abs(errors(start)))), NARROWEST)
        solved = least_squares(errors, start, loss="cauchy", f_scale=width)
        start = solved.x
    if not np.isfinite(solved.x).all() or np.median(seen(solved.x)[:, 2]) <= 0:
        return None
    yaw, pitch, *place = solved.x
    rotation = _upright(yaw, pitch)
    depth = float(rotation[2] @ (middle - np.array(place)))
    if depth <= 0 or abs(pitch) > math.pi / 2:
        return None
    return Orbit.of(yaw, pitch, depth, tuple(np.array(place) + depth * rotation[2]))


def _sampled_camera(
    points: np.ndarray, pixels: np.ndarray, intrinsics: np.ndarray, tolerance: float
) -> np.ndarray | None:
    """Yaw, pitch and place (5,) of the camera of most points, its roll dropped; None where there is none."""
    cv2.setRNGSeed(0)
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
    if roll > UPSIDE_DOWN:
        return None
    return np.array([float(orbit.yaw), float(orbit.pitch), *orbit.look_at[0].tolist()])


def _upright(yaw: float, pitch: float) -> np.ndarray:
    """World to camera rotation (3, 3) of an upright camera."""
    angles = torch.tensor([[yaw], [pitch]], dtype=torch.float64)
    return rotations(angles[0], angles[1])[0].numpy()


def _alike(first: Orbit, second: Orbit) -> bool:
    """Whether two cameras (batches of 1) see about the same."""
    poses = [orbit.camera().extrinsics[0] for orbit in (first, second)]
    angle = angles_between(poses[0][:3, :3], poses[1][:3, :3])
    away = (poses[0][:3, 3] - poses[1][:3, 3]).norm() / poses[0][:3, 3].norm().clamp_min(1e-6)
    return bool(angle < SAME_ANGLE) and bool(away < SAME_PLACE)
