"""Differentiable geometry on triangle meshes and point sets, on any device."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from v2m4 import threads

EXACT = "donot_use_mm_for_euclid_dist"  # the quick way loses four digits


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Cross products of two edges: normals of twice the face's area, (..., F, 3).

    Args:
        vertices: (..., V, 3).
        faces: (F, 3).
    """
    # index_select, not indexing: the latter's gradient is summed by threads in any order and differs between runs.
    corners = vertices.index_select(-2, faces.reshape(-1).long()).reshape(*vertices.shape[:-2], len(faces), 3, 3)
    a, b, c = corners.unbind(-2)
    return torch.cross(b - a, c - a, dim=-1)


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """Areas (..., F)."""
    return 0.5 * face_normals(vertices, faces).norm(dim=-1)


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals, area-weighted means over each vertex's faces, (..., V, 3); zero at vertices without a face."""
    normals = face_normals(vertices, faces)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total = total.index_add(-2, faces[:, corner].long(), normals)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-12)


def unique_edges(faces: Tensor) -> Tensor:
    """Undirected edges (E, 2), lower index first, each once, in ascending order."""
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return torch.unique(directed.sort(1).values, dim=0)


def uniform_laplacian(faces: Tensor, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Graph Laplacian (degree minus adjacency), (V, V) sparse COO, as Large Steps uses it.

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
    """Points spread evenly over the area (stratified along the cumulative area).

    Args:
        vertices: (V, 3); the points are differentiable in it.
        faces: (F, 3).
        count: number of points N.
        generator: CPU generator; the draw is the same on every device.

    Returns:
        points (N, 3), face indices (N,), barycentric weights (N, 3).

    Raises:
        ValueError: no face has an area.
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


def nearest(queries: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Distance and index of the nearest point for each query: (N,), (N,).

    A KD-tree on the CPU, blocks of exact distances elsewhere. The distance is differentiable in both arguments.
    """
    if len(points) == 0:
        raise ValueError("nearest: no points to search")
    with torch.no_grad():
        if queries.device.type == "cpu":
            tree = cKDTree(points.detach().numpy(), balanced_tree=False)
            index = torch.from_numpy(tree.query(queries.detach().numpy(), workers=threads.count())[1])
        else:
            index = torch.cat(
                [torch.cdist(block, points, compute_mode=EXACT).argmin(1) for block in queries.split(4096)]
            )
    difference = queries - points[index]
    return (difference.square().sum(1) + 1e-20).sqrt(), index


def chamfer(first: Tensor, second: Tensor, squared: bool = True) -> Tensor:
    """Mean nearest distance one way plus mean the other way, of points (N, 3) and (M, 3)."""
    power = 2 if squared else 1
    return nearest(first, second)[0].pow(power).mean() + nearest(second, first)[0].pow(power).mean()
