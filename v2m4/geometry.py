"""Differentiable geometry on triangle meshes and point sets, on any device."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4 import threads

log = logging.getLogger(__name__)

EXACT = "donot_use_mm_for_euclid_dist"  # the default by matrix products loses four digits
PAIRS_AT_ONCE = 1 << 25  # distances in memory at once in a brute-force search


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Face normals (..., F, 3), not normalised: cross products of two edges, of length twice the face's area.

    Args:
        vertices: (..., V, 3).
        faces: (F, 3).
    """
    # index_select, not indexing, whose gradient is summed in a nondeterministic order.
    corners = vertices.index_select(-2, faces.reshape(-1).long()).reshape(*vertices.shape[:-2], len(faces), 3, 3)
    a, b, c = corners.unbind(-2)
    return torch.cross(b - a, c - a, dim=-1)


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Face areas (..., F)."""
    return 0.5 * face_normals(vertices, faces).norm(dim=-1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit vertex normals (..., V, 3); zero at vertices without a face."""
    normals = face_normals(vertices, faces)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, faces[:, corner].long(), normals)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-12)


def unique_edges(faces: Tensor) -> Tensor:
    """Undirected edges (E, 2), lower index first, each once, in ascending order."""
    low_high = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).long().sort(1).values
    count = int(low_high.max()) + 1 if len(low_high) else 1
    numbers = torch.unique(low_high[:, 0] * count + low_high[:, 1])  # of rows it takes many times as long
    return torch.stack([numbers // count, numbers % count], 1).to(faces.dtype)


def connected_components(edges: np.ndarray, count: int) -> np.ndarray:
    """Label of the connected component of each vertex, (count,) int32.

    Components are numbered in the order of their first vertices; a vertex without an edge is one of its own.

    Args:
        edges: (E, 2) vertex indices, either direction, repeats allowed; or faces (F, 3), whose corners are connected.
        count: number of vertices.
    """
    pairs = np.concatenate([edges[:, :2], edges[:, 1:3]]) if edges.shape[1] > 2 else edges
    matrix = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return csgraph.connected_components(matrix, directed=False)[1]


def uniform_laplacian(faces: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Graph Laplacian (degree minus adjacency), (V, V) sparse COO.

    Source: Nicolet et al. 2021, "Large Steps in Inverse Rendering of Geometry", section 3.
    """
    edges = unique_edges(faces).long()
    both = torch.cat([edges, edges.flip(1)]).T
    degree = torch.zeros(count, dtype=dtype, device=faces.device)
    degree = degree.index_add(0, both[0], torch.ones(both.shape[1], dtype=dtype, device=faces.device))
    diagonal = torch.arange(count, device=faces.device).repeat(2, 1)
    indices = torch.cat([both, diagonal], 1)
    values = torch.cat([-torch.ones(both.shape[1], dtype=dtype, device=faces.device), degree])
    return torch.sparse_coo_tensor(indices, values, (count, count), check_invariants=False).coalesce()


def sample_surface(
    vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample surface points uniformly by area (stratified along the cumulative area).

    Args:
        vertices: (V, 3); the points are differentiable in it.
        faces: (F, 3).
        count: number of points N.
        generator: CPU generator; the samples are the same on every device.

    Returns:
        points (N, 3), face indices (N,), barycentric weights (N, 3).

    Raises:
        ValueError: the total area is 0.
    """
    with torch.no_grad():
        areas = face_areas(vertices, faces).double().cpu()
        total = areas.sum()
        if len(areas) == 0 or not bool(total > 0):
            raise ValueError("sample_surface: the mesh has no area")
        cumulative = areas.cumsum(0) / total
        jitter = torch.rand(count, generator=generator, dtype=torch.float64)
        at = (torch.arange(count, dtype=torch.float64) + jitter) / count
        index = torch.searchsorted(cumulative, at).clamp_max(len(areas) - 1)
        root = torch.rand(count, generator=generator, dtype=torch.float64).sqrt()
        other = torch.rand(count, generator=generator, dtype=torch.float64)
        weights = torch.stack([1 - root, root * (1 - other), root * other], 1)
        index, weights = index.to(vertices.device), weights.to(vertices)
    corners = vertices.index_select(0, faces[index].long().reshape(-1)).reshape(-1, 3, 3)
    points = (corners * weights[..., None]).sum(1)
    return points, index, weights


class NearestPoints:
    """Nearest-neighbour search in a point set, on the device of the points.

    On a CPU by a k-d tree, built once; on CUDA by pytorch3d's ``knn_points`` if it is installed, else by brute force.

    Args:
        points: (M, 3), float32 on CUDA for pytorch3d.

    Raises:
        ValueError: there is no point.
    """

    def __init__(self, points: Tensor) -> None:
        if len(points) == 0:
            raise ValueError("nearest: no points to search")
        self.points = points.detach()
        on_cpu = points.device.type == "cpu"
        self._tree = cKDTree(self.points.numpy(), balanced_tree=False) if on_cpu else None

    def query(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Distance and index of the nearest point for each query (N, 3): (N,), (N,) int64; without gradients."""
        queries = queries.detach()
        if self._tree is not None:
            distance, index = self._tree.query(queries.numpy(), workers=threads.count())
            return torch.from_numpy(distance), torch.from_numpy(index)
        if _takes_pytorch3d(queries, self.points):
            return nearest_by_pytorch3d(queries, self.points)
        return nearest_of_all_pairs(queries, self.points)


def nearest(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Distance and index of the nearest point for each query, see ``NearestPoints``; differentiable.

    Args:
        queries: (N, 3).
        points: (M, 3) on the same device.

    Returns:
        distances (N,), differentiable in both arguments, and indices (N,) int64.

    Raises:
        ValueError: there is no point to search.
    """
    if len(points) and _takes_pytorch3d(queries, points):
        return nearest_by_pytorch3d(queries, points)
    index = NearestPoints(points).query(queries)[1]
    return _distances(queries, points, index), index


def nearest_of_all_pairs(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """``nearest`` by brute force over all pairs, in blocks; the reference implementation, for any device."""
    block = max(1, PAIRS_AT_ONCE // len(points))
    with torch.no_grad():
        parts = [torch.cdist(part, points, compute_mode=EXACT).argmin(1) for part in queries.split(block)]
        index = torch.cat(parts)
    return _distances(queries, points, index), index


def nearest_by_pytorch3d(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """``nearest`` by pytorch3d's ``knn_points``, float32 only.

    Raises:
        RuntimeError: pytorch3d is not installed, or was not built for this device.
    """
    knn_points = pytorch3d_for(queries.device.type)
    if knn_points is None:
        raise RuntimeError(f"nearest: pytorch3d is not installed for {queries.device.type}; see Install.md")
    found = knn_points(queries[None], points[None], K=1)
    return (found.dists[0, :, 0] + 1e-20).sqrt(), found.idx[0, :, 0]


@cache
def pytorch3d_for(device: str) -> Callable[..., Any] | None:
    """Return pytorch3d's ``knn_points`` if it is installed and built for a device type, else None.

    Args:
        device: "cpu" or "cuda".
    """
    try:
        from pytorch3d.ops import knn_points

        one = torch.zeros(1, 1, 3, device=device)
        knn_points(one, one, K=1)
    except ModuleNotFoundError as error:
        if error.name == "pytorch3d":
            return None
        log.warning("pytorch3d needs %s (pip install %s): nearest neighbours by torch", error.name, error.name)
        return None
    except (ImportError, RuntimeError) as error:  # built for another torch, or without CUDA
        reason = " ".join(str(error).split())[:120]
        log.warning("pytorch3d cannot be used on %s (%s): nearest neighbours by torch", device, reason)
        return None
    return knn_points


def _takes_pytorch3d(queries: Tensor, points: Tensor) -> bool:
    """Whether pytorch3d is used: on CUDA, in float32 (the only type of its gradients), if it is available."""
    if queries.device.type != "cuda" or queries.dtype != torch.float32 or points.dtype != torch.float32:
        return False
    return pytorch3d_for("cuda") is not None


def _distances(queries: Tensor, points: Tensor, index: Tensor) -> Tensor:
    """Distances (N,) between queries and the points at ``index``; with finite gradients also at 0."""
    return ((queries - points[index]).square().sum(1) + 1e-20).sqrt()


def chamfer(first: Tensor, second: Tensor, squared: bool = True) -> Tensor:
    """Chamfer distance of points (N, 3) and (M, 3): the mean (squared) nearest distances of both directions, summed."""
    power = 2 if squared else 1
    return nearest(first, second)[0].pow(power).mean() + nearest(second, first)[0].pow(power).mean()
