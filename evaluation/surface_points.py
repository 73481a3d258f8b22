"""Sample points on surfaces, and distances between two point sets. All in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from v2m4 import threads
from v2m4.mesh import Mesh


@dataclass(frozen=True)
class BarycentricPoints:
    """Points in barycentric coordinates, which can be tracked through every mesh of the same topology.

    Attributes:
        corners: (N, K) indices of vertices; K is 3 on a surface, 1 in a cloud of points.
        weights: (N, K) barycentric weights.
    """

    corners: np.ndarray
    weights: np.ndarray

    def interpolate(self, vertices: np.ndarray) -> np.ndarray:
        """Positions (N, 3) for vertices (V, 3), or (T, N, 3) for (T, V, 3)."""
        points = self.weights[:, :1] * vertices[..., self.corners[:, 0], :]
        for corner in range(1, self.corners.shape[1]):
            points = points + self.weights[:, corner, None] * vertices[..., self.corners[:, corner], :]
        return points

    def subset(self, index: np.ndarray) -> BarycentricPoints:
        """The points at these indices; repetitions are allowed."""
        return BarycentricPoints(self.corners[index], self.weights[index])


def positions(mesh: Mesh) -> np.ndarray:
    """The vertices, (V, 3) float64."""
    return mesh.vertices.detach().cpu().numpy().astype(np.float64)


def topology(mesh: Mesh) -> np.ndarray:
    """The faces, (F, 3) int64; F is 0 for a cloud of points."""
    return mesh.faces.detach().cpu().numpy().astype(np.int64)


def surface_vertices(mesh: Mesh) -> np.ndarray:
    """The vertices that lie on a face, (M, 3); all of them in a cloud of points."""
    points, faces = positions(mesh), topology(mesh)
    return points[np.unique(faces)] if len(faces) else points


def bounding_box(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) of the bounding box of points (N, 3), and its longest side.

    Raises:
        ValueError: there are no points, or they all lie in one place.
    """
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError("the first frame has no vertices, or some that are not finite")
    lower, upper = points.min(0), points.max(0)
    side = float((upper - lower).max())
    if side <= 0:
        raise ValueError("all vertices of the first frame lie in one place")
    return (lower + upper) / 2, side


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator) -> BarycentricPoints:
    """Sample points independently and uniformly by area, as the metrics' reference codes do.

    Of a point cloud, ``count`` distinct points in random order (all, where there are no more).

    Raises:
        ValueError: the mesh has no area.
    """
    vertices, faces = positions(mesh), topology(mesh)
    if len(faces) == 0:
        if len(vertices) == 0:
            raise ValueError("a frame has neither faces nor points")
        chosen = rng.permutation(len(vertices))[:count]
        return BarycentricPoints(chosen[:, None], np.ones((len(chosen), 1)))
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    cumulative = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    if not cumulative[-1] > 0:
        raise ValueError("a frame's faces have no area")
    face = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right").clip(max=len(faces) - 1)
    sqrt_u, v = np.sqrt(rng.random(count)), rng.random(count)
    return BarycentricPoints(faces[face], np.stack([1 - sqrt_u, sqrt_u * (1 - v), sqrt_u * v], 1))


def sample_positions(mesh: Mesh, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions (N, 3) of points sampled by ``sample_surface``."""
    return sample_surface(mesh, count, rng).interpolate(positions(mesh))


@dataclass(frozen=True)
class Distances:
    """Unsquared distances to the nearest point of the other side.

    Attributes:
        truth_to_prediction: (N,) from every true point to the prediction.
        prediction_to_truth: (M,) from every predicted point to the truth.
    """

    truth_to_prediction: np.ndarray
    prediction_to_truth: np.ndarray

    @classmethod
    def between(cls, truth: np.ndarray, prediction: np.ndarray) -> Distances:
        """The distances between points (N, 3) and (M, 3)."""
        return cls(nearest_neighbours(truth, prediction)[0], nearest_neighbours(prediction, truth)[0])

    def chamfer(self) -> float:
        """Chamfer distance: the mean distances of both directions added."""
        return float(self.truth_to_prediction.mean() + self.prediction_to_truth.mean())

    def f_score(self, threshold: float) -> float:
        """F-score: harmonic mean of precision and recall, the fractions of points nearer than ``threshold``."""
        precision, recall = (self.prediction_to_truth < threshold).mean(), (self.truth_to_prediction < threshold).mean()
        return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


def nearest_neighbours(queries: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and index of the nearest of ``points`` for each query: (N,), (N,)."""
    return search_tree(points).query(queries, workers=threads.count())


def search_tree(points: np.ndarray) -> cKDTree:
    """A k-d tree of points (M, 3), with options that make building it fast."""
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def paired_frames(truth: Iterable[Mesh], prediction: Iterable[Mesh]) -> tuple[list[Mesh], list[Mesh]]:
    """Both sides' frames as lists of the same length, at least one.

    Raises:
        ValueError: the lengths differ, or there are none.
    """
    true_frames, predicted_frames = list(truth), list(prediction)
    if len(true_frames) != len(predicted_frames) or not true_frames:
        raise ValueError(
            f"metrics: {len(true_frames)} true and {len(predicted_frames)} predicted frames; as many are needed"
        )
    return true_frames, predicted_frames


def random_generators(seed: int, count: int) -> list[np.random.Generator]:
    """Independent random generators, so that neither side's samples depend on the other side's surface."""
    return [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(count)]


def vertices_of_constant_topology(frames: list[Mesh]) -> np.ndarray | None:
    """The vertices of all frames (T, V, 3) where the frames share their faces, else None."""
    first = frames[0]
    for mesh in frames[1:]:
        if mesh.vertices.shape != first.vertices.shape or not torch.equal(mesh.faces, first.faces):
            return None
    return np.stack([positions(mesh) for mesh in frames])
