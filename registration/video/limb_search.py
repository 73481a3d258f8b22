"""Beam search for the rotations of limbs by analysis by synthesis: rotate, render small, compare with the frame.

Gradient-based fitting finds a raised arm only where it overlaps that of the image. So limbs are rotated about their
pivots over the whole sphere, and what agrees best with the frame is kept. Thousands of poses of a decimated mesh are
rendered at low resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import avg_pool2d

from registration.correspondences.appearance_model import AppearanceModel
from registration.deformation_graph.graph import DeformationGraph, Poses
from registration.video.limbs import Limb, points_in_ball
from registration.video.tuning import TUNING
from v2m4.decimate import simplified, vertex_colors
from v2m4.geometry import vertex_normals
from v2m4.image_window import ImageWindow
from v2m4.mesh import Mesh
from v2m4.render import render
from v2m4.rotation import rotation_exp


@dataclass(frozen=True)
class PoseComparison:
    """Image error of poses against one frame, at low resolution, many poses at once.

    Attributes:
        graph: deformation graph of the mesh.
        view: the frame, h x w pixels.
        mesh: decimated, in the rest pose, with vertex colours under the frame's lighting.
        influences: (V, n) nodes of the graph that influence its vertices.
        weights: (V, n) of these.
        offsets: (V, n, 3) from these nodes to the vertex, in the rest pose.
        target: (4, h, w) colour times coverage, and coverage, of the frame.
    """

    graph: DeformationGraph
    view: ImageWindow
    mesh: Mesh
    influences: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    target: Tensor

    @classmethod
    def of(
        cls, graph: DeformationGraph, pose: Tensor, appearance: AppearanceModel, view: ImageWindow
    ) -> PoseComparison:
        """Decimate the mesh and light its colours.

        Args:
            graph: deformation graph of the mesh.
            pose: (V, 3) whose normals are lit.
            appearance: of the mesh; texture and lighting are used.
            view: the frame.
        """
        lighting = appearance.lighting_factors(vertex_normals(pose, appearance.mesh.faces))
        lit = vertex_colors(appearance.mesh) * lighting
        if appearance.vertex_gain is not None:
            lit = lit * appearance.vertex_gain
        full = Mesh(torch.from_numpy(graph.rest).float(), appearance.mesh.faces, colors=lit.clamp(0, 1))
        mesh = simplified(full, TUNING.search_faces)
        vertices = mesh.vertices.double().numpy()
        nearest = cKDTree(graph.rest).query(vertices)[1]
        influences = np.maximum(graph.influences[nearest], 0)
        offsets = vertices[:, None] - graph.centres[influences]
        return cls(graph, view, mesh, influences, graph.weights[nearest], offsets, _target(view))

    def with_view(self, view: ImageWindow) -> PoseComparison:
        """The comparison with another frame."""
        return replace(self, view=view, target=_target(view))

    def __call__(self, poses: Poses) -> np.ndarray:
        """Errors (T,) of T poses; 0 is the frame's own image."""
        return self.image_errors(np.stack([self.vertices(poses[[time]]) for time in range(len(poses))]))

    def rotated_limb_errors(self, poses: Poses, limb: Limb, rotations: np.ndarray) -> np.ndarray:
        """Errors (T,) of one pose with a limb rotated by each of (T, 3, 3), as of ``Limb.rotated``."""
        pivot = limb.pivot(self.graph, poses)
        terms, inside = self._node_terms(poses), limb.nodes[self.influences]
        share = (self.weights * inside).sum(1)[:, None]
        rotating = (terms * inside[..., None]).sum(1) - share * pivot
        fixed = (terms * ~inside[..., None]).sum(1) + share * pivot
        return self.image_errors(rotating @ rotations.transpose(0, 2, 1) + fixed)

    def vertices(self, poses: Poses) -> np.ndarray:
        """Vertices (V, 3) of the decimated mesh in one pose."""
        return self._node_terms(poses).sum(1)

    def _node_terms(self, poses: Poses) -> np.ndarray:
        """Weighted contributions (V, n, 3) of the nodes to the vertices of one pose; their sum over n is the pose."""
        rotations, positions = poses.rotations[0][self.influences], poses.positions[0][self.influences]
        return self.weights[..., None] * (np.einsum("vnab,vnb->vna", rotations, self.offsets) + positions)

    def image_errors(self, vertices: np.ndarray) -> np.ndarray:
        """Errors (T,) of vertices (T, V, 3): absolute differences of coverage and colour, mean of an image pyramid."""
        with torch.no_grad():
            rendering = render(
                torch.from_numpy(vertices).float(),
                self.mesh.faces,
                self.view.camera,
                self.view.shape,
                colors=self.mesh.colors,
                channels=("color",),
                antialias=False,
            )
        images = torch.cat([rendering.color, rendering.mask], -1).permute(0, 3, 1, 2)
        target, total = self.target[None], images.new_zeros(len(images))
        for level in range(TUNING.pyramid_levels):
            if level:
                images, target = avg_pool2d(images, 2), avg_pool2d(target, 2)
            difference = target - images
            coverage, color = difference[:, 3], difference[:, :3].abs().mean(1)
            # A limb that hides behind the body is wrong, too: its part of the frame's mask is not covered.
            error = coverage.abs() + TUNING.uncovered_weight * coverage.clamp_min(0) + TUNING.color_weight * color
            total = total + error.sum((1, 2)) / target[:, 3].sum().clamp_min(1e-6)
        return (total / TUNING.pyramid_levels).double().numpy()


def _target(view: ImageWindow) -> Tensor:
    """Colour times coverage, and coverage, (4, h, w) of a frame."""
    mask = torch.from_numpy(view.mask)[None]
    return torch.cat([torch.from_numpy(view.color).permute(2, 0, 1) * mask, mask])


@dataclass(frozen=True)
class LimbHypothesis:
    """A pose in which some limbs have been rotated.

    Attributes:
        poses: one pose.
        error: its image error, with the penalty on the last rotation.
        rotated_limbs: indices of the limbs that were rotated, in order.
    """

    poses: Poses
    error: float
    rotated_limbs: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Candidates:
    """The best rotations of one limb.

    Attributes:
        cost_change: cost of the best less the error of the hypothesis that was rotated.
        vectors: (N, 3) rotation vectors, radians, by ascending cost.
    """

    cost_change: float
    vectors: np.ndarray


def search_limbs(
    comparison: PoseComparison,
    limbs: list[Limb],
    poses: Poses,
    beam_width: int = TUNING.beam_width,
    max_rotated_limbs: int = TUNING.max_rotated_limbs,
) -> list[LimbHypothesis]:
    """Rotate limbs one after the other, as long as the image error clearly falls: a beam search.

    A limb that hides behind the body is wrong in a smaller part of the image than one that sticks out in a wrong
    direction, so the best next rotation may lead to a local minimum: several hypotheses are kept side by side.

    Args:
        comparison: with the frame.
        limbs: of its graph.
        poses: one pose, the start.
        beam_width: hypotheses that are extended in each round.
        max_rotated_limbs: rounds at most.

    Returns:
        At most ``beam_width`` hypotheses, by ascending error; one of them without rotated limbs where nothing is
        gained.
    """
    start = LimbHypothesis(poses, float(comparison(poses)[0]))
    beam = [(start, _rank_rotations(comparison, limbs, start, range(len(limbs))))]
    complete = list(beam)
    for _ in range(max_rotated_limbs):
        extended: list[tuple[LimbHypothesis, dict[int, _Candidates]]] = []
        for hypothesis, ranked in beam:
            promising = sorted(ranked, key=lambda limb: ranked[limb].cost_change)
            for limb in promising[: TUNING.extensions * beam_width // len(beam)]:
                children = _extended(comparison, limbs, hypothesis, limb, ranked[limb].vectors)
                extended += [(child, ranked) for child in children if child.error < _max_error(hypothesis.error)]
        beam = []
        for child, ranked in _distinct(comparison, extended, beam_width):
            # Only limbs that overlap the rotated one, and the most promising ones, are ranked anew.
            stale = [limb for limb in ranked if (limbs[limb].nodes & limbs[child.rotated_limbs[-1]].nodes).any()]
            stale += sorted(ranked, key=lambda limb: ranked[limb].cost_change)[:beam_width]
            beam.append((child, ranked | _rank_rotations(comparison, limbs, child, sorted(set(stale)))))
        if not beam:
            break
        complete += beam
    return [hypothesis for hypothesis, _ in _distinct(comparison, complete, beam_width)]


def _distinct(
    comparison: PoseComparison, hypotheses: list[tuple[LimbHypothesis, dict[int, _Candidates]]], count: int
) -> list[tuple[LimbHypothesis, dict[int, _Candidates]]]:
    """The best ``count`` hypotheses of which no two are alike; otherwise variants of one would fill the beam."""
    kept: list[tuple[LimbHypothesis, dict[int, _Candidates]]] = []
    min_distance = TUNING.min_hypothesis_distance * comparison.graph.unit
    for hypothesis, ranked in sorted(hypotheses, key=lambda entry: entry[0].error):
        positions = hypothesis.poses.positions
        distances = [np.linalg.norm(positions - other.poses.positions, axis=2).max() for other, _ in kept]
        if len(kept) < count and all(distance > min_distance for distance in distances):
            kept.append((hypothesis, ranked))
    return kept


def _max_error(error: float) -> float:
    """Error below which one more rotation is accepted, from the error without it."""
    return error - max(TUNING.min_limb_gain * error, TUNING.min_limb_error_decrease)


def _rank_rotations(
    comparison: PoseComparison, limbs: list[Limb], hypothesis: LimbHypothesis, indices: Sequence[int]
) -> dict[int, _Candidates]:
    """The best of ``Limb.candidate_rotations`` for each of the limbs ``indices``."""
    ranked = {}
    for index in indices:
        vectors = limbs[index].candidate_rotations(comparison.graph, hypothesis.poses)
        costs = _costs(comparison, limbs[index], hypothesis, vectors)
        order = np.argsort(costs, kind="stable")[: TUNING.kept_candidates]
        ranked[index] = _Candidates(float(costs[order[0]]) - hypothesis.error, vectors[order])
    return ranked


def _extended(
    comparison: PoseComparison, limbs: list[Limb], hypothesis: LimbHypothesis, index: int, vectors: np.ndarray
) -> list[LimbHypothesis]:
    """The hypothesis with one more limb rotated, and with a part of that limb rotated as well (shoulder and elbow).

    Args:
        comparison: with the frame.
        limbs: all.
        hypothesis: to extend.
        index: of the limb.
        vectors: (N, 3) its rotation vectors, best first; the first is refined, and the best of those far from it.
    """
    extended = []
    distinct = np.linalg.norm(vectors - vectors[0], axis=1) > TUNING.distinct_angle
    for start in [vectors[:1], vectors[distinct][:1]][: 1 + int(distinct.any())]:
        child = _refined(comparison, limbs, hypothesis, index, start)
        extended.append(child)
        parts = [part for part, limb in enumerate(limbs) if _is_part(limb, limbs[index])]
        ranked = _rank_rotations(comparison, limbs, child, parts)
        if ranked:
            part = min(ranked, key=lambda limb: ranked[limb].cost_change)
            extended.append(_refined(comparison, limbs, child, part, ranked[part].vectors[:1]))
    return extended


def _is_part(part: Limb, whole: Limb) -> bool:
    """Whether a limb's nodes are a proper subset of another's."""
    return bool((part.nodes <= whole.nodes).all() and part.nodes.sum() < whole.nodes.sum())


def _refined(
    comparison: PoseComparison, limbs: list[Limb], hypothesis: LimbHypothesis, index: int, vectors: np.ndarray
) -> LimbHypothesis:
    """The hypothesis with a limb rotated, its rotation refined from a vector (1, 3) by sampling shrinking balls."""
    limb, ball = limbs[index], points_in_ball(TUNING.refinement_candidates, 1.0)
    for radius in TUNING.refinement_radii:
        nearby = np.concatenate([vectors[:1], vectors[0] + radius * ball])
        vectors = nearby[np.argsort(_costs(comparison, limb, hypothesis, nearby), kind="stable")]
    poses = limb.rotated(comparison.graph, hypothesis.poses, rotation_exp(vectors[:1]))
    cost = float(_costs(comparison, limb, hypothesis, vectors[:1])[0])
    return LimbHypothesis(poses, cost, (*hypothesis.rotated_limbs, index))


def _costs(comparison: PoseComparison, limb: Limb, hypothesis: LimbHypothesis, vectors: np.ndarray) -> np.ndarray:
    """Image errors (N,) of a limb's rotation vectors (N, 3), with a penalty on their angles."""
    penalty = TUNING.rotation_penalty * np.linalg.norm(vectors, axis=1)
    return comparison.rotated_limb_errors(hypothesis.poses, limb, rotation_exp(vectors)) + penalty
