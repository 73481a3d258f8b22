"""The energy of a pose as a weighted sum of terms: rigidity, edge lengths, areas, chamfer distance, normal maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from registration.elasticity.arap import Arap
from v2m4.camera import Camera, Orbit, hammersley_rig
from v2m4.geometry import NearestPoints, face_areas, sample_surface, unique_edges
from v2m4.mesh import Mesh
from v2m4.render import render

REDRAW_EVERY = 5  # steps of a descent between two draws of a term's samples (``Chamfer``)


class State:
    """A pose at one step of the descent, the argument of every term.

    Args:
        vertices: (V, 3), differentiable; (K, V, 3), several poses, for the terms of ``Template.shape_terms``.
        step: counts from 0.
        generator: of the terms' random samples.
    """

    def __init__(self, vertices: Tensor, step: int, generator: torch.Generator) -> None:
        self.vertices = vertices
        self.step = step
        self.generator = generator
        self._shared: dict[Any, Any] = {}

    def shared(self, key: Any, make: Callable[[], Any]) -> Any:
        """A value that several terms compute from this pose, such as a rendering; ``make`` is called once a key."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


class Term(Protocol):
    """One term of the energy.

    Attributes:
        name: as in loss curves and options.
        weight: factor in the sum; a term of weight 0 is not evaluated.
    """

    name: str
    weight: float

    def __call__(self, state: State) -> Tensor:
        """The unweighted energy, a scalar."""
        ...


def total(terms: Sequence[Term], state: State) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of all terms, and each term's unweighted value, detached.

    The values are tensors, as reading one would synchronise with the GPU.
    """
    energy = state.vertices.new_zeros(())
    values: dict[str, Tensor] = {}
    for term in terms:
        if term.weight == 0:
            continue
        value = term(state)
        values[term.name] = value.detach()
        energy = energy + term.weight * value
    return energy, values


class Rigidity:
    """The ARAP energy relative to a rest shape; zero for its rigid motions."""

    name = "arap"

    def __init__(self, weight: float, arap: Arap) -> None:
        self.weight, self.arap = weight, arap

    def __call__(self, state: State) -> Tensor:
        """See ``Arap``; the mean of several poses."""
        return self.arap(state.vertices).mean()


class EdgeLength:
    """Mean squared change of edge lengths, in units of the object's size; zero for rigid motions of the rest shape."""

    name = "edge_length"

    def __init__(self, weight: float, rest: Tensor, faces: Tensor, unit: float) -> None:
        self.weight, self.unit = weight, unit
        self.edges = unique_edges(faces).long()
        self.rest = self._lengths(rest)

    def _lengths(self, vertices: Tensor) -> Tensor:
        ends = vertices.index_select(-2, self.edges.reshape(-1))
        first, second = ends.reshape(*vertices.shape[:-2], -1, 2, 3).unbind(-2)
        return ((first - second).square().sum(-1) + 1e-20).sqrt() / self.unit

    def __call__(self, state: State) -> Tensor:
        """Mean over the edges."""
        return (self._lengths(state.vertices) - self.rest).square().mean()


class FaceArea:
    """Mean squared change of face areas, in units of the object's size squared."""

    name = "face_area"

    def __init__(self, weight: float, rest: Tensor, faces: Tensor, unit: float) -> None:
        self.weight, self.unit, self.faces = weight, unit, faces
        self.rest = face_areas(rest, faces) / unit**2

    def __call__(self, state: State) -> Tensor:
        """Mean over the faces."""
        return (face_areas(state.vertices, self.faces) / self.unit**2 - self.rest).square().mean()


class Chamfer:
    """Symmetric trimmed chamfer distance: mean squared, in units of the object's size.

    Samples and correspondences are redrawn every few steps. The farthest correspondences are trimmed, as either mesh
    may have parts that the other one lacks.

    Args:
        weight: factor in the sum.
        faces: (F, 3) of the pose.
        target: mesh to register to.
        unit: the object's size.
        generator: draws a pool of target points, of which every redraw takes a part.
        count: points on either side.
        redraw_every: steps between two redraws.
        kept_share: share of the correspondences that are not trimmed.
    """

    name = "chamfer"

    def __init__(
        self,
        weight: float,
        faces: Tensor,
        target: Mesh,
        unit: float,
        generator: torch.Generator,
        count: int = 2000,
        redraw_every: int = REDRAW_EVERY,
        kept_share: float = 0.9,
    ) -> None:
        self.weight, self.faces, self.unit = weight, faces, unit
        self.count, self.redraw_every, self.kept_share = count, redraw_every, kept_share
        points, _, _ = sample_surface(target.vertices, target.faces, 4 * count, generator)
        self.target = points.detach()
        self._search = NearestPoints(self.target)
        self._drawn_at = -1

    def _draw(self, state: State) -> None:
        with torch.no_grad():
            points, faces, weights = sample_surface(state.vertices, self.faces, self.count, state.generator)
            chosen = torch.randperm(len(self.target), generator=state.generator)[: self.count]
            self._from_target = self.target[chosen.to(points.device)]
            forward_distance, to_target = self._search.query(points)
            backward_distance, self._to_source = NearestPoints(points).query(self._from_target)
        self._corners, self._weights = self.faces[faces].long(), weights
        self._to_target = self.target[to_target]
        self._inliers, self._inliers_from_target = (
            torch.nonzero(distance <= torch.quantile(distance, self.kept_share))[:, 0]
            for distance in (forward_distance.double(), backward_distance.double())
        )
        self._drawn_at = state.step

    def __call__(self, state: State) -> Tensor:
        """The mean from pose to target plus the mean from target to pose."""
        if self._drawn_at < 0 or not 0 <= state.step - self._drawn_at < self.redraw_every:
            self._draw(state)
        corners = state.vertices.index_select(0, self._corners.reshape(-1)).reshape(-1, 3, 3)
        points = (corners * self._weights[..., None]).sum(1)
        forward = (points - self._to_target).square().sum(1).index_select(0, self._inliers).mean()
        backward = (points.index_select(0, self._to_source) - self._from_target).square().sum(1)
        backward = backward.index_select(0, self._inliers_from_target).mean()
        return (forward + backward) / self.unit**2


class NormalMaps:
    """L1 between the normal maps of the pose and of a target, in random views of the whole sphere.

    Source: V2M4, section 3.3 (50 of 1,000 Hammersley views a step).

    Args:
        weight: factor in the sum.
        faces: (F, 3) of the pose.
        target: mesh to register to.
        views: number of cameras a step.
        size: pixels (side) of a view.
        pool: number of cameras that those are drawn from.
    """

    name = "normals"

    def __init__(self, weight: float, faces: Tensor, target: Mesh, views: int, size: int, pool: int = 1000) -> None:
        self.weight, self.faces, self.target, self.views, self.size = weight, faces, target, views, size
        lower, upper = target.bounds()
        centre, extent = (lower + upper) / 2, float((upper - lower).norm())
        rig = hammersley_rig(pool, radius=1.6 * extent).to(centre.device)
        self.rig = Orbit(rig.yaw, rig.pitch, rig.radius, rig.look_at + centre)

    def _cameras(self, state: State) -> Camera:
        chosen = torch.randperm(len(self.rig), generator=state.generator)[: self.views]
        return self.rig[chosen.to(self.rig.yaw.device)].camera()

    def __call__(self, state: State) -> Tensor:
        """Mean over pixels and views, relative to the share of the picture that the target fills."""
        cameras = self._cameras(state)
        with torch.no_grad():
            reference = render(self.target.vertices, self.target.faces, cameras, self.size, channels=("normal",))
        rendered = render(state.vertices, self.faces, cameras, self.size, channels=("normal",))
        return (rendered.normal - reference.normal).abs().sum(-1).mean() / reference.mask.mean().clamp_min(1e-6)
