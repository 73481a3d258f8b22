"""Implicit solids: smooth unions of round cones, ellipsoids and rounded boxes, and their meshes.

Distances are negative inside. Every function takes points (N, 3) and gives distances (N,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from skimage.measure import marching_cubes

from v2m4.rotation import axis_rotation

Array = np.ndarray
Point = tuple[float, float, float]


def euler_matrix(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
    """Rotation about x, then y, then z (degrees), as a (3, 3) matrix."""
    about_x, about_y, about_z = (axis_rotation(axis, np.radians(angle)) for axis, angle in enumerate((x, y, z)))
    return about_z @ (about_y @ about_x)


def smooth_minimum(first: Array, second: Array, width: float) -> Array:
    """Polynomial smooth minimum of two distances, blended where they differ by less than ``width``."""
    overlap = np.maximum(width - np.abs(first - second), 0.0)
    return np.minimum(first, second) - overlap * overlap / (4.0 * width)


@dataclass(frozen=True)
class SolidPart:
    """One part of a solid.

    Attributes:
        bone: name of the bone it is attached to.
        color: sRGB in [0, 1].
        fillet: width of the fillet where it meets the parts before it.
    """

    bone: str
    color: Point
    fillet: float

    def distance(self, points: Array) -> Array:
        """Signed distance (N,) of points (N, 3)."""
        raise NotImplementedError

    def box(self) -> tuple[Array, Array]:
        """Lower and upper corner, (3,) each, of the axis-aligned bounding box."""
        raise NotImplementedError


@dataclass(frozen=True)
class RoundCone(SolidPart):
    """The union of all balls whose centre and radius are interpolated between two balls."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float

    def distance(self, points: Array) -> Array:
        """Distance to the nearest of the balls.

        With the centre at t along the axis, a point at (along, aside) has distance |(along - t, aside)| - r(t) with
        r linear in t; it is least where t = along - aside * s / sqrt(1 - s^2), s the loss of radius per length.
        """
        start, end = np.asarray(self.start, points.dtype), np.asarray(self.end, points.dtype)
        length = float(np.linalg.norm(end - start))
        slope = (self.start_radius - self.end_radius) / length
        offset = points - start
        along = offset @ ((end - start) / length)
        radial = np.sqrt(np.maximum((offset * offset).sum(1) - along * along, 0.0))
        axial = np.clip(along - radial * (slope / math.sqrt(1.0 - slope * slope)), 0.0, length)
        return np.hypot(along - axial, radial) - (self.start_radius - slope * axial)

    def box(self) -> tuple[Array, Array]:
        """The bounding box of the balls at both ends."""
        start, end = np.asarray(self.start), np.asarray(self.end)
        lower = np.minimum(start - self.start_radius, end - self.end_radius)
        return lower, np.maximum(start + self.start_radius, end + self.end_radius)


@dataclass(frozen=True)
class Ellipsoid(SolidPart):
    """An ellipsoid, rotated by Euler angles in degrees."""

    center: Point
    radii: Point
    rotation: Point = (0.0, 0.0, 0.0)

    def distance(self, points: Array) -> Array:
        """First-order approximation of the distance: the implicit function over the norm of its gradient."""
        local = (points - np.asarray(self.center, points.dtype)) @ euler_matrix(*self.rotation).astype(points.dtype)
        scaled = local / np.asarray(self.radii, points.dtype)
        value = np.linalg.norm(scaled, axis=1)
        slope = np.linalg.norm(scaled / np.asarray(self.radii, points.dtype), axis=1)
        return value * (value - 1.0) / np.maximum(slope, 1e-6)

    def box(self) -> tuple[Array, Array]:
        """The bounding box: its half sides are the norms of the rows of rotation x radii."""
        half = np.linalg.norm(euler_matrix(*self.rotation) * np.asarray(self.radii), axis=1)
        return np.asarray(self.center) - half, np.asarray(self.center) + half


@dataclass(frozen=True)
class RoundedBox(SolidPart):
    """A box with rounded edges, rotated by Euler angles in degrees."""

    center: Point
    half: Point
    radius: float
    rotation: Point = (0.0, 0.0, 0.0)

    def distance(self, points: Array) -> Array:
        """Exact distance to the box shrunk by the radius, less the radius."""
        local = (points - np.asarray(self.center, points.dtype)) @ euler_matrix(*self.rotation).astype(points.dtype)
        excess = np.abs(local) - (np.asarray(self.half, points.dtype) - self.radius)
        outside = np.linalg.norm(np.maximum(excess, 0.0), axis=1)
        return outside + np.minimum(excess.max(1), 0.0) - self.radius

    def box(self) -> tuple[Array, Array]:
        """The bounding box of the rotated box."""
        half = np.abs(euler_matrix(*self.rotation)) @ np.asarray(self.half)
        return np.asarray(self.center) - half, np.asarray(self.center) + half


@dataclass(frozen=True)
class ImplicitSolid:
    """The smooth union of parts, in order."""

    parts: tuple[SolidPart, ...]

    def part_distances(self, points: Array) -> Array:
        """The distance to every part by itself, (P, N)."""
        return np.stack([part.distance(points) for part in self.parts])

    def distance(self, points: Array) -> Array:
        """Signed distance (N,) of the union."""
        total = self.parts[0].distance(points)
        for part in self.parts[1:]:
            total = smooth_minimum(total, part.distance(points), part.fillet)
        return total

    def box(self) -> tuple[Array, Array]:
        """Lower and upper corner of the bounding box of all parts and their fillets."""
        lower, upper = zip(*(part.box() for part in self.parts), strict=True)
        fillet = max(part.fillet for part in self.parts) / 4
        return np.min(lower, 0) - fillet, np.max(upper, 0) + fillet

    def paint(self, points: Array, decals: tuple[SolidPart, ...] = (), softness: float = 0.0015) -> Array:
        """The colours of the nearest parts, with decals composited over them in order.

        Args:
            points: (N, 3) on the surface.
            decals: shapes that colour the surface inside of them; a decal with a bone's name colours that bone's parts
                only, and its ``fillet`` is the softness of its edge.
            softness: difference of distance over which the colours of two parts blend.

        Returns:
            (N, 3) sRGB.
        """
        distances = self.part_distances(points)
        weights = np.exp(-np.minimum((distances - distances.min(0)) / softness, 50.0))
        weights /= weights.sum(0)
        colors = weights.T @ np.array([part.color for part in self.parts], points.dtype)
        for decal in decals:
            lower, upper = decal.box()
            in_box = ((points > lower - decal.fillet) & (points < upper + decal.fillet)).all(1)
            opacity = np.clip(0.5 - decal.distance(points[in_box]) / decal.fillet, 0.0, 1.0)
            if decal.bone:
                own = [index for index, part in enumerate(self.parts) if part.bone == decal.bone]
                opacity *= weights[own][:, in_box].sum(0)
            colors[in_box] += opacity[:, None] * (np.asarray(decal.color, points.dtype) - colors[in_box])
        return colors


def mesh_solid(
    distance: Callable[[Array], Array], gradient: Callable[[Array], Array], box: tuple[Array, Array], faces: int
) -> tuple[Array, Array]:
    """The surface of a solid as a closed mesh of uniform triangles.

    Marching cubes on a grid, then tangential Laplacian smoothing, projected to the surface. The number of triangles is
    proportional to the inverse square of the grid's step, so a coarse grid gives the step for the requested number.

    Args:
        distance: points (N, 3) to signed distances (N,).
        gradient: points (N, 3) to its gradient (N, 3).
        box: lower and upper corner (3,) of the solid's bounding box.
        faces: approximate number of triangles; parts thinner than two of their sides are lost.

    Returns:
        vertices (V, 3) float64 and faces (F, 3) int32, counter-clockwise from outside.
    """
    coarse = float((box[1] - box[0]).max()) / 40
    _, triangles = _march(distance, box, coarse)
    vertices, triangles = _march(distance, box, coarse * math.sqrt(len(triangles) / faces))
    return _relax(vertices, triangles, distance, gradient), triangles


def _march(distance: Callable[[Array], Array], box: tuple[Array, Array], spacing: float) -> tuple[Array, Array]:
    """Marching cubes: vertices (V, 3) float64 and faces (F, 3) int32, counter-clockwise from outside."""
    lower, upper = box[0] - 2 * spacing, box[1] + 2 * spacing
    axes = [np.arange(low, high + spacing, spacing, dtype=np.float32) for low, high in zip(lower, upper, strict=True)]
    plane = np.stack(np.meshgrid(*axes[1:], indexing="ij"), -1)
    slices = []
    for x in axes[0]:  # slab by slab: the whole grid at once would take gigabytes
        points = np.concatenate([np.full_like(plane[..., :1], x), plane], -1)
        slices.append(distance(points.reshape(-1, 3)).reshape(plane.shape[:2]))
    corners, triangles, _, _ = marching_cubes(np.stack(slices), 0.0, spacing=(spacing,) * 3)
    a, b, c = corners[triangles].transpose(1, 0, 2)
    if np.einsum("ij,ij->", a, np.cross(b, c)) < 0:
        triangles = triangles[:, ::-1]
    return corners.astype(np.float64) + lower, np.ascontiguousarray(triangles, np.int32)


def adjacency(faces: Array, count: int) -> sparse.csr_matrix:
    """Row-stochastic matrix (V, V) that takes every vertex to the mean of its neighbours."""
    rows = faces[:, [0, 1, 2, 1, 2, 0]].ravel()
    columns = faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    edges = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    edges.data[:] = 1.0
    degree = np.asarray(edges.sum(1)).ravel()
    return sparse.diags(1.0 / np.maximum(degree, 1.0)) @ edges


def _relax(
    vertices: Array,
    faces: Array,
    distance: Callable[[Array], Array],
    gradient: Callable[[Array], Array],
    rounds: int = 30,
) -> Array:
    """Tangential Laplacian smoothing of vertices (V, 3), each step projected back to the surface.

    The corners of faces that a step would tilt or flip are not moved by it.
    """
    neighbour_mean = adjacency(faces, len(vertices))
    for _ in range(rounds):
        slope = gradient(vertices)
        normal = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
        step = neighbour_mean @ vertices - vertices
        candidates = vertices + 0.5 * (step - (step * normal).sum(1, keepdims=True) * normal)
        a, b, c = candidates[faces].transpose(1, 0, 2)
        face_normals, outward = np.cross(b - a, c - a), normal[faces].sum(1)
        upright = np.linalg.norm(face_normals, axis=1) * np.linalg.norm(outward, axis=1)
        rejected = np.unique(faces[(face_normals * outward).sum(1) < 0.5 * upright])
        candidates[rejected] = vertices[rejected]
        slope = gradient(candidates)
        length = np.maximum((slope * slope).sum(1, keepdims=True), 1e-2)
        vertices = candidates - distance(candidates)[:, None] * slope / length
    return vertices
