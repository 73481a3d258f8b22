"""Non-rigid ICP: registers a pose to a target's surface, as rigidly as possible.

Each round finds correspondences from the pose's vertices to points of the target and back, by position and normal, then
solves for the pose that minimises their weighted squared residuals and the ARAP energy, by local and global steps. The
stiffness falls from round to round, so that whole limbs are aligned before details. A round costs a factorisation and
two solves; gradient descent on the same energy needs hundreds of steps.

Source: Amberg, Romdhani and Vetter 2007, "Optimal Step Nonrigid ICP Algorithms for Surface Registration", with the
rigidity of Sorkine and Alexa 2007 in place of their affine stiffness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import cKDTree
from torch import Tensor

from registration.elasticity.arap import Arap
from registration.elasticity.sparse_solver import LuSolver
from v2m4 import threads
from v2m4.geometry import face_areas, face_normals, sample_surface, vertex_normals
from v2m4.mesh import Mesh

NORMAL_SCALE = (
    0.1  # of the object's size: distance that unit normals 60 degrees apart add in the search for correspondences
)
MIN_NORMAL_COSINE = 0.3  # between the normals of corresponding points
TANGENTIAL_WEIGHT = 0.1  # of the tangential offset to a corresponding point; the normal offset has 1
STEPS_PER_ROUND = 2  # local and global steps with one set of correspondences


@dataclass(frozen=True)
class VertexTargets:
    """Target positions of single vertices, known beside the target's surface.

    Attributes:
        index: (N,) vertices, each once.
        points: (N, 3) target positions.
        weight: (N,) relative to a vertex's correspondence with the target's surface.
    """

    index: np.ndarray
    points: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class IcpFit:
    """The result of non-rigid ICP.

    Attributes:
        vertices: (V, 3), the registered pose.
        residual: root mean square point-to-plane distance of the correspondences, relative to the object's size,
            without the farthest tenth; at the start of every round, (rounds,).
        stretch: the ARAP energy, a mean squared relative stretch, after every round, (rounds,).
    """

    vertices: Tensor
    residual: np.ndarray
    stretch: np.ndarray


class TargetSurface:
    """A target's surface, sampled uniformly, for nearest-point searches by position and normal.

    Args:
        mesh: the target.
        unit: the object's size.
        count: number of samples N.
        generator: draws the samples.
    """

    def __init__(self, mesh: Mesh, unit: float, count: int, generator: torch.Generator) -> None:
        points, index, _ = sample_surface(mesh.vertices, mesh.faces, count, generator)
        normals = torch.nn.functional.normalize(face_normals(mesh.vertices, mesh.faces), dim=1)[index]
        self.points, self.normals = (part.detach().cpu().double().numpy() for part in (points, normals))
        self.unit = unit
        self._tree = cKDTree(self.features(self.points, self.normals), balanced_tree=False)

    def features(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Search features (N, 6) of positions (N, 3) and unit normals (N, 3), in units of the object's size."""
        return np.concatenate([points / self.unit, NORMAL_SCALE * normals], 1)

    def nearest(self, features: np.ndarray) -> np.ndarray:
        """Indices (N,) of the samples nearest to features (N, 6)."""
        return self._tree.query(features, workers=threads.count())[1]


def nonrigid_icp(
    vertices: Tensor,
    faces: Tensor,
    arap: Arap,
    surface: TargetSurface,
    rounds: int,
    stiffness: tuple[float, float] = (20.0, 0.04),
    kernel_scale: tuple[float, float] = (0.15, 0.02),
    vertex_targets: VertexTargets | None = None,
) -> IcpFit:
    """Registers a pose to a surface by non-rigid ICP with ARAP regularisation.

    Args:
        vertices: (V, 3), the initial pose.
        faces: (F, 3).
        arap: rigidity of the rest shape.
        surface: the target.
        rounds: number of rounds.
        stiffness: weight of the ARAP energy in the first and the last round, where the mean squared
            residual, in units of the object's size, has weight 100.
        kernel_scale: scale of the robust kernel (Geman-McClure weights), in that unit, in the first and the last round.
        vertex_targets: targets of single vertices; their weight falls to a tenth from the first to the last round.
    """
    points = vertices.detach().cpu().double().numpy().copy()
    triangles = faces.detach().cpu()
    rest_area = _vertex_areas(points, triangles)
    area_share = rest_area / max(rest_area.sum(), 1e-30)
    laplacian = arap.graph.laplacian()
    unit, measure = surface.unit, arap.graph.measure()
    residuals, stretches = [], []
    rotations, _ = arap.fit(points)
    for number in range(rounds):
        progress = number / max(rounds - 1, 1)
        round_stiffness, scale = (first * (last / first) ** progress for first, last in (stiffness, kernel_scale))
        weights, targets, residual = _correspondences(points, triangles, area_share, surface, scale)
        residuals.append(residual)
        if vertex_targets is not None and len(vertex_targets.index):
            target_weight = 0.1**progress * vertex_targets.weight * area_share.mean()
            total = weights[vertex_targets.index] + target_weight
            weighted_sum = (
                weights[vertex_targets.index, None] * targets[vertex_targets.index]
                + target_weight[:, None] * vertex_targets.points
            )
            targets[vertex_targets.index] = weighted_sum / np.maximum(total, 1e-30)[:, None]
            weights[vertex_targets.index] = total
        # Both terms in units of the Laplacian: ARAP / measure * stiffness * 0.01 against weights / unit^2.
        data_weight = weights * measure / (unit**2 * 0.01 * round_stiffness)
        factor = LuSolver(laplacian + sparse.diags(data_weight + 1e-8 * laplacian.diagonal().mean()))
        for _ in range(STEPS_PER_ROUND):
            right = arap.right_side(rotations) + data_weight[:, None] * targets
            change = right - (laplacian @ points + data_weight[:, None] * points)
            points += factor.solve(torch.from_numpy(change)).numpy()
            rotations, energies = arap.fit(points)
        stretches.append(float(energies.sum() / measure))
    return IcpFit(torch.from_numpy(points).to(vertices), np.array(residuals), np.array(stretches))


def _vertex_areas(points: np.ndarray, faces: Tensor) -> np.ndarray:
    """Barycentric vertex areas (V,): a third of the area of each vertex's faces."""
    areas = face_areas(torch.from_numpy(points), faces) / 3
    total = torch.zeros(len(points), dtype=areas.dtype)
    for corner in range(3):
        total.index_add_(0, faces[:, corner].long(), areas)
    return total.numpy()


def _correspondences(
    points: np.ndarray, faces: Tensor, area_share: np.ndarray, surface: TargetSurface, scale: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Weight (V,) and mean target (V, 3) of each vertex over both directions, and the rms point-to-plane distance."""
    normals = vertex_normals(torch.from_numpy(points), faces).numpy()
    features = surface.features(points, normals)
    nearest_target = surface.nearest(features)
    tree, samples = cKDTree(features, balanced_tree=False), surface.features(surface.points, surface.normals)
    nearest_vertex = tree.query(samples, workers=threads.count())[1]
    vertex = np.concatenate([np.arange(len(points)), nearest_vertex])
    sample = np.concatenate([nearest_target, np.arange(len(surface.points))])
    offset = surface.points[sample] - points[vertex]
    normal = surface.normals[sample]
    distance = np.linalg.norm(offset, axis=1) / surface.unit
    cosine = (normal * normals[vertex]).sum(1)
    pair_weight = np.where(cosine > MIN_NORMAL_COSINE, 1 / (1 + np.square(distance / scale)) ** 2, 0.0)
    pair_weight *= np.concatenate([area_share, np.full(len(surface.points), 1 / len(surface.points))])
    normal_offset = (offset * normal).sum(1, keepdims=True) * normal
    position = points[vertex] + normal_offset + TANGENTIAL_WEIGHT * (offset - normal_offset)
    weights = np.bincount(vertex, pair_weight, len(points))
    total = np.stack([np.bincount(vertex, pair_weight * position[:, axis], len(points)) for axis in range(3)], 1)
    mean = np.where(weights[:, None] > 1e-30, total / np.maximum(weights, 1e-30)[:, None], points)
    inlier_squares = np.sort(np.square((offset * normal).sum(1)) / surface.unit**2)[: int(0.9 * len(offset))]
    return weights, mean, float(np.sqrt(inlier_squares.mean()))
