"""The energy of a pose: a sum of terms, each a small object with a name and a weight. The loops know no more of it."""

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


class State:
    """A pose at one step of the descent, as the terms see it.

    Args:
        vertices: (V, 3), differentiable.
        step: counts from 0.
        generator: for terms that draw at random.
    """

    def __init__(self, vertices: Tensor, step: int, generator: torch.Generator) -> None:
        self.vertices = vertices
        self.step = step
        self.generator = generator
        self._shared: dict[Any, Any] = {}

    def shared(self, key: Any, make: Callable[[], Any]) -> Any:
        """What several terms need of this pose (a rendering, say), made once."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


class Term(Protocol):
    """One part of the energy.

    Attributes:
        name: as in loss curves and options.
        weight: factor in the sum; a term of weight 0 is left out.
    """

    name: str
    weight: float

    def __call__(self, state: State) -> Tensor:
        """The unweighted energy, a scalar."""
        ...


def total(terms: Sequence[Term], state: State) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of all terms, and each term's unweighted value, detached.

    Values stay tensors: reading one on a GPU waits for all that has been asked of it.
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
    """As-rigid-as-possible towards a rest shape; zero for every rigid motion of it."""

    name = "arap"

    def __init__(self, weight: float, arap: Arap) -> None:
        self.weight, self.arap = weight, arap

    def __call__(self, state: State) -> Tensor:
        """See ``Arap``."""
        return self.arap(state.vertices)


class EdgeLength:
    """Mean squared change of edge lengths, in units of the object's size; zero for rigid motions of the rest shape."""

    name = "edge_length"

    def __init__(self, weight: float, rest: Tensor, faces: Tensor, unit: float) -> None:
        self.weight, self.unit = weight, unit
        self.edges = unique_edges(faces).long()
        self.rest = self._lengths(rest)

    def _lengths(self, vertices: Tensor) -> Tensor:
        first, second = vertices.index_select(0, self.edges.reshape(-1)).reshape(-1, 2, 3).unbind(1)
        return ((first - second).square().sum(1) + 1e-20).sqrt() / self.unit

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
    """Squared distances between points of the pose and of a target, both ways, in units of the object's size.

    Points and correspondences are drawn anew every few steps. The farthest matches are left out: what one frame's mesh
    lacks, or has too much of, is no reason to pull.

    Args:
        weight: factor in the sum.
        faces: (F, 3) of the pose.
        target: mesh to come close to.
        unit: the object's size.
        generator: for the points of the target, from which each step draws its own.
        count: points on either side.
        every: steps between two draws.
        keep: share of the matches that count.
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
        every: int = 5,
        keep: float = 0.9,
    ) -> None:
        self.weight, self.faces, self.unit = weight, faces, unit
        self.count, self.every, self.keep = count, every, keep
        points, _, _ = sample_surface(target.vertices, target.faces, 4 * count, generator)
        self.target = points.detach()
        self._search = NearestPoints(self.target)
        self._drawn_at = -1

    def _draw(self, state: State) -> None:
        with torch.no_grad():
            points, faces, weights = sample_surface(state.vertices, self.faces, self.count, state.generator)
            chosen = torch.randperm(len(self.target), generator=state.generator)[: self.count]
            self._back = self.target[chosen.to(points.device)]
            near, to_target = self._search.query(points)
            far, self._to_source = NearestPoints(points).query(self._back)
        self._corners, self._weights = self.faces[faces].long(), weights
        self._there = self.target[to_target]
        self._kept, self._kept_back = (
            torch.nonzero(distance <= torch.quantile(distance, self.keep))[:, 0]
            for distance in (near.double(), far.double())
        )
        self._drawn_at = state.step

    def __call__(self, state: State) -> Tensor:
        """Mean one way plus mean the other way."""
        if self._drawn_at < 0 or not 0 <= state.step - self._drawn_at < self.every:
            self._draw(state)
        corners = state.vertices.index_select(0, self._corners.reshape(-1)).reshape(-1, 3, 3)
        points = (corners * self._weights[..., None]).sum(1)
        there = (points - self._there).square().sum(1).index_select(0, self._kept).mean()
        back = (points.index_select(0, self._to_source) - self._back).square().sum(1)
        back = back.index_select(0, self._kept_back).mean()
        return (there + back) / self.unit**2


class NormalMaps:
    """L1 between the normal maps of the pose and of a target, in random views of the whole sphere.

    Source: V2M4, section 3.3 (50 of 1,000 Hammersley views a step).

    Args:
        weight: factor in the sum.
        faces: (F, 3) of the pose.
        target: mesh to look like.
        views: cameras a step.
        size: pixels (side) of a view.
        pool: cameras that are drawn from.
    """

    name = "normals"

    def __init__(self, weight: float, faces: Tensor, target: Mesh, views: int, size: int, pool: int = 1000) -> None:
        self.weight, self.faces, self.target, self.views, self.size = weight, faces, target, views, size
        lower, upper = target.bounds()
        centre, reach = (lower + upper) / 2, float((upper - lower).norm())
        rig = hammersley_rig(pool, radius=1.6 * reach).to(centre.device)
        self.rig = Orbit(rig.yaw, rig.pitch, rig.radius, rig.look_at + centre)

    def _cameras(self, state: State) -> Camera:
        chosen = torch.randperm(len(self.rig), generator=state.generator)[: self.views]
        return self.rig[chosen.to(self.rig.yaw.device)].camera()

    def __call__(self, state: State) -> Tensor:
        """Mean over pixels and views, relative to the share of the picture that the target fills."""
        cameras = self._cameras(state)
        with torch.no_grad():
            wanted = render(self.target.vertices, self.target.faces, cameras, self.size, channels=("normal",))
        seen = render(state.vertices, self.faces, cameras, self.size, channels=("normal",))
        return (seen.normal - wanted.normal).abs().sum(-1).mean() / wanted.mask.mean().clamp_min(1e-6)
