"""A pose onto a target's surface by local and global steps: non-rigid ICP, as rigid as possible.

Each round pairs the pose's vertices with points of the target and the other way, by place and normal, then solves for
the pose that is pulled to its partners and stays locally rigid. The stiffness falls from round to round, so that whole
limbs find their place before details do. One round costs a factorisation and two solves; a descent on the same energy
needs hundreds of steps, as it must carry a change through the body edge by edge.

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
from registration.elasticity.sparse_solver import factorize
from v2m4 import threads
from v2m4.geometry import face_areas, face_normals, sample_surface, vertex_normals
from v2m4.mesh import Mesh

NORMAL_REACH = 0.1  # of the object's size: what a normal turned by 60 degrees counts in a search for partners
AGREEING = 0.3  # least cosine between partners' normals
SLIDE = 0.1  # weight of the way along the surface to a partner, where the way off it has 1
INNER = 2  # local and global steps with one set of partners


@dataclass(frozen=True)
class VertexTargets:
    """Vertices that are known to lie somewhere.

    Attributes:
        index: (N,) vertices, each once.
        points: (N, 3) where.
        weight: (N,) relative to a vertex that is pulled to the target's surface.
    """

    index: np.ndarray
    points: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class IcpFit:
    """Where a pose came to rest.

    Attributes:
        vertices: (V, 3).
        residual: root mean square distance of partners' tangent planes, relative to the object's size, farthest tenth
            left out; after every round, (rounds,).
        stretch: the ARAP energy, a mean squared relative stretch, after every round, (rounds,).
    """

    vertices: Tensor
    residual: np.ndarray
    stretch: np.ndarray


class TargetSurface:
    """A target's surface as evenly spread points with normals, to be searched by place and normal.

    Args:
        mesh: the target.
        unit: the object's size.
        count: number of points N.
        generator: for the points.
    """

    def __init__(self, mesh: Mesh, unit: float, count: int, generator: torch.Generator) -> None:
        points, index, _ = sample_surface(mesh.vertices, mesh.faces, count, generator)
        normals = torch.nn.functional.normalize(face_normals(mesh.vertices, mesh.faces), dim=1)[index]
        self.points, self.normals = (part.detach().cpu().double().numpy() for part in (points, normals))
        self.unit = unit
        self._tree = cKDTree(self.features(self.points, self.normals), balanced_tree=False)

    def features(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """(N, 6) in units of the object's size."""
        return np.concatenate([points / self.unit, NORMAL_REACH * normals], 1)

    def nearest(self, features: np.ndarray) -> np.ndarray:
        """Index of the nearest point for each feature."""
        return self._tree.query(features, workers=threads.count())[1]


def nonrigid_icp(
    vertices: Tensor,
    faces: Tensor,
    arap: Arap,
    surface: TargetSurface,
    rounds: int,
    stiffness: tuple[float, float] = (20.0, 0.04),
    reach: tuple[float, float] = (0.15, 0.02),
    vertex_targets: VertexTargets | None = None,
) -> IcpFit:
    """Deform a pose until it lies on a surface.

    Args:
        vertices: (V, 3), where to start.
        faces: (F, 3).
        arap: rigidity of the rest shape.
        surface: the target.
        rounds: how many.
        stiffness: weight of the ARAP energy in the first and the last round, where the mean squared distance to the
            partners, in units of the object's size, has weight 100.
        reach: distance, in that unit, from which on a pair counts less, in the first and the last round.
        vertex_targets: what is known beside the target; their weight falls to a tenth from the first to the last round.
    """
    points = vertices.detach().cpu().double().numpy().copy()
    triangles = faces.detach().cpu()
    rest_area = _vertex_areas(points, triangles)
    share = rest_area / max(rest_area.sum(), 1e-30)
    laplacian = arap.graph.laplacian()
    unit, measure = surface.unit, arap.graph.measure()
    residuals, stretches = [], []
    for number in range(rounds):
        along = number / max(rounds - 1, 1)
        stiff, limit = (first * (last / first) ** along for first, last in (stiffness, reach))
        pull, partner, residual = _pairs(points, triangles, share, surface, limit)
        residuals.append(residual)
        if vertex_targets is not None and len(vertex_targets.index):
            more = 0.1**along * vertex_targets.weight * share.mean()
            total = pull[vertex_targets.index] + more
            mixed = (
                pull[vertex_targets.index, None] * partner[vertex_targets.index] + more[:, None] * vertex_targets.points
            )
            partner[vertex_targets.index] = mixed / np.maximum(total, 1e-30)[:, None]
            pull[vertex_targets.index] = total
        # Both terms in units of the Laplacian: ARAP / measure * stiffness * 0.01 against pull / unit^2.
        weight = pull * measure / (unit**2 * 0.01 * stiff)
        solver = factorize(laplacian + sparse.diags(weight + 1e-8 * laplacian.diagonal().mean()))
        for _ in range(INNER):
            right = arap.right_side(arap.fit(points)[0]) + weight[:, None] * partner
            change = right - (laplacian @ points + weight[:, None] * points)
            points += solver.solve(torch.from_numpy(change.astype(np.float32)).contiguous()).double().numpy()
        stretches.append(float(arap.fit(points)[1].sum() / measure))
    return IcpFit(torch.from_numpy(points).to(vertices), np.array(residuals), np.array(stretches))


def _vertex_areas(points: np.ndarray, faces: Tensor) -> np.ndarray:
    """A third of the area of each vertex's faces, (V,)."""
    areas = face_areas(torch.from_numpy(points), faces) / 3
    total = torch.zeros(len(points), dtype=areas.dtype)
    for corner in range(3):
        total.index_add_(0, faces[:, corner].long(), areas)
    return total.numpy()


def _pairs(
    points: np.ndarray, faces: Tensor, share: np.ndarray, surface: TargetSurface, limit: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Pull (V,) and place (V, 3) for every vertex, from partners found both ways, and the rms distance of these."""
    normals = vertex_normals(torch.from_numpy(points), faces).numpy()
    features = surface.features(points, normals)
    there = surface.nearest(features)
    tree, asked = cKDTree(features, balanced_tree=False), surface.features(surface.points, surface.normals)
    back = tree.query(asked, workers=threads.count())[1]
    vertex = np.concatenate([np.arange(len(points)), back])
    partner = np.concatenate([there, np.arange(len(surface.points))])
    way = surface.points[partner] - points[vertex]
    normal = surface.normals[partner]
    distance = np.linalg.norm(way, axis=1) / surface.unit
    agree = (normal * normals[vertex]).sum(1)
    trust = np.where(agree > AGREEING, 1 / (1 + np.square(distance / limit)) ** 2, 0.0)
    trust *= np.concatenate([share, np.full(len(surface.points), 1 / len(surface.points))])
    off = (way * normal).sum(1, keepdims=True) * normal
    place = points[vertex] + off + SLIDE * (way - off)
    pull = np.bincount(vertex, trust, len(points))
    total = np.stack([np.bincount(vertex, trust * place[:, axis], len(points)) for axis in range(3)], 1)
    mean = np.where(pull[:, None] > 1e-30, total / np.maximum(pull, 1e-30)[:, None], points)
    kept = np.sort(np.square((way * normal).sum(1)) / surface.unit**2)[: int(0.9 * len(way))]
    return pull, mean, float(np.sqrt(kept.mean()))
