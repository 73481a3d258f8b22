"""Outline constraints: correspondences between the outline of a rendered pose and that of the frame's mask."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from registration.correspondences.appearance_model import RenderedPose
from registration.correspondences.constraints import Constraints
from registration.correspondences.motion_consensus import MotionConsensus
from registration.correspondences.photometric_flow import AppearanceFlow, bilinear, no_constraints
from registration.correspondences.tuning import TUNING


def outline_constraints(
    rendered: RenderedPose,
    limit: int,
    search_radius: float,
    match_unexplained: bool = True,
    appearance_flow: AppearanceFlow | None = None,
    consensus: MotionConsensus | None = None,
) -> Constraints:
    """Point-to-line constraints that bring the outline of a pose onto the outline of the frame's mask.

    From each outline point the mask is searched along the normal, both ways, for the nearest boundary of like normal.
    Parts of the frame's outline that correspond to nothing then (``match_unexplained``) are matched to the nearest
    outline point of like normal that has no near correspondence of its own. A constraint's confidence falls with the
    displacement and where the displacement contradicts the flow of the surface: the outline may then belong to another
    part, which becomes visible behind this one.

    Args:
        rendered: the pose in the frame's view.
        limit: points at most, for either direction of the search.
        search_radius: pixels of the view.
        match_unexplained: also match the frame's outline to the pose's.
        appearance_flow: flow of the surface, where it is known.
        consensus: displacements of the surface near by, where they are known.
    """
    view = rendered.view
    rows, columns = outline_pixels(rendered.rast[..., 3] > 0)
    rows, columns = subsampled(rows, columns, limit)
    if not (view.mask > 0.5).any() or len(rows) == 0:
        return no_constraints(rendered)
    centers = np.stack([columns, rows], 1) + 0.5
    pose_gradient, frame_gradient = _outward_gradient(rendered.mask), _outward_gradient(view.mask)
    normals, certainty = _unit_normals(bilinear(pose_gradient, centers))
    edges = centers + _boundary_along(rendered.mask, centers, normals, 2.0)[0][:, None] * normals
    distance, matched = _boundary_along(view.mask, edges, normals, search_radius, frame_gradient)
    displacements = distance[:, None] * normals
    scale = max(TUNING.outline_displacement_scale * search_radius, 1e-6)
    confidence = matched * certainty * np.exp(-np.square(distance / scale))
    confidence = confidence * flow_consistency(appearance_flow, centers, normals, displacements)
    if consensus is not None:
        confidence = confidence * consensus.agreement(rendered.positions(rows, columns), displacements)
    parts = [_line_constraints(rendered, rows, columns, centers + displacements, normals, confidence)]
    if match_unexplained:
        matches = (edges + displacements, matched)
        parts.append(
            _unexplained_outline_constraints(
                rendered, matches, centers, edges, normals, frame_gradient, search_radius, appearance_flow, consensus
            )
        )
    return Constraints.joined(parts)


def flow_consistency(
    appearance_flow: AppearanceFlow | None, centers: np.ndarray, normals: np.ndarray, displacements: np.ndarray
) -> np.ndarray:
    """Agreement of outline points' displacements with the flow of the surface just inside, along the displacement.

    Args:
        appearance_flow: flow of the surface; None for an agreement of 1.
        centers: (N, 2) pixels on the surface.
        normals: (N, 2) outward unit normals.
        displacements: (N, 2) pixels.

    Returns:
        (N,) in [0, 1]; 1 where the flow has no confidence.
    """
    if appearance_flow is None:
        return np.ones(len(centers))
    inner = centers - TUNING.flow_sample_depth * normals
    on_surface = bilinear(appearance_flow.rendered.mask, inner)[:, 0] > 0.5
    confidence = bilinear(appearance_flow.confidence, inner)[:, 0] * on_surface
    flow = bilinear(appearance_flow.flow, inner)
    length = np.linalg.norm(displacements, axis=1)
    direction = displacements / np.maximum(length, 1e-6)[:, None]
    tolerance = TUNING.displacement_tolerance + TUNING.relative_displacement_tolerance * length
    difference = np.abs((flow * direction).sum(1) - length) / tolerance
    return 1 - confidence * (1 - np.exp(-np.square(difference)))


def _unexplained_outline_constraints(
    rendered: RenderedPose,
    matches: tuple[np.ndarray, np.ndarray],
    centers: np.ndarray,
    edges: np.ndarray,
    normals: np.ndarray,
    frame_gradient: np.ndarray,
    search_radius: float,
    appearance_flow: AppearanceFlow | None,
    consensus: MotionConsensus | None,
) -> Constraints:
    """Constraints from the parts of the frame's outline that no point of the pose's outline corresponds to.

    Args:
        rendered: the pose in the frame's view.
        matches: (N, 2) pixels, correspondences of the pose's outline points in the frame, and (N,) bool where valid.
        centers: (N, 2) pixels, centres of the pixels of the pose's outline points.
        edges: (N, 2) pixels, the same points moved to where the rendered mask is 1/2.
        normals: (N, 2) outward unit normals there.
        frame_gradient: (h, w, 2) from ``_outward_gradient`` of the frame's mask.
        search_radius: pixels.
        appearance_flow: flow of the surface, where it is known.
        consensus: displacements of the surface near by, where they are known.
    """
    view, (targets, matched) = rendered.view, matches
    frame_edges = np.stack(outline_pixels(view.mask > 0.5)[::-1], 1) + 0.5
    frame_normals, certainty = _unit_normals(bilinear(frame_gradient, frame_edges))
    offset = _boundary_along(view.mask, frame_edges, frame_normals, 2.0)[0]
    frame_edges = frame_edges + offset[:, None] * frame_normals
    unexplained = certainty > 0
    if matched.any():
        unexplained &= cKDTree(targets[matched]).query(frame_edges)[0] > TUNING.explained_distance
    frame_edges, frame_normals = frame_edges[unexplained], frame_normals[unexplained]
    if len(frame_edges) == 0:
        return no_constraints(rendered)
    scale = TUNING.normal_length * view.extent
    distance, index = cKDTree(np.concatenate([edges, scale * normals], 1)).query(
        np.concatenate([frame_edges, scale * frame_normals], 1)
    )
    # One constraint for each point of the pose's outline: the nearest.
    order = np.argsort(distance, kind="stable")
    order = order[np.sort(np.unique(index[order], return_index=True)[1])]
    frame_edges, frame_normals, distance, index = (
        frame_edges[order],
        frame_normals[order],
        distance[order],
        index[order],
    )
    displacements = frame_edges - edges[index]
    length = np.linalg.norm(displacements, axis=1)
    cosine = (normals[index] * frame_normals).sum(1)
    valid = (length < 2 * search_radius) & (cosine > TUNING.outline_normal_cosine)
    # A point with a near correspondence of its own keeps it: the unexplained outline is another part's.
    own_distance = np.linalg.norm(targets[index] - edges[index], axis=1)
    near = own_distance < np.maximum(TUNING.explained_distance, TUNING.own_correspondence_share * length)
    explained = matched[index] & near
    falloff = np.exp(-np.square(distance / (2 * search_radius)))
    confidence = TUNING.unexplained_confidence * falloff * (valid & ~explained)
    confidence = confidence * flow_consistency(appearance_flow, centers[index], frame_normals, displacements)
    columns, rows = (centers[index] - 0.5).round().astype(np.int64).T
    if consensus is not None:
        confidence = confidence * consensus.agreement(rendered.positions(rows, columns), displacements)
    return _line_constraints(rendered, rows, columns, centers[index] + displacements, frame_normals, confidence)


def outline_pixels(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the boundary pixels of a mask (h, w) bool: those with a 4-neighbour outside of it."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    core = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
    rows, columns = np.nonzero(inside & ~core)
    return rows, columns


def subsampled(rows: np.ndarray, columns: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` of the pixels, spread evenly: the first in each cell of the finest grid that suffices."""
    cell = 1.0
    while len(rows) > limit:
        cell *= 1.15
        keys = (rows // cell) * 100000 + columns // cell
        first = np.unique(keys, return_index=True)[1]
        if len(first) <= limit:
            return rows[np.sort(first)], columns[np.sort(first)]
    return rows, columns


def _outward_gradient(mask: np.ndarray) -> np.ndarray:
    """Minus the Scharr gradient of the blurred mask, (h, w, 2) per pixel: points out of the object."""
    blurred = cv2.GaussianBlur(mask, (0, 0), TUNING.outline_blur)
    return -np.stack([cv2.Scharr(blurred, cv2.CV_32F, 1, 0), cv2.Scharr(blurred, cv2.CV_32F, 0, 1)], -1) / 32.0


def _unit_normals(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (N, 2) of gradients (N, 2), and their certainty (N,) in [0, 1].

    The certainty is 0 at tips and thin parts, where the gradients of both sides cancel.
    """
    length = np.linalg.norm(gradients, axis=1)
    return gradients / np.maximum(length, 1e-6)[:, None], np.clip(length / 0.2, 0, 1) ** 2


def _boundary_along(
    mask: np.ndarray, points: np.ndarray, normals: np.ndarray, radius: float, gradient: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance along normals to the nearest boundary of a mask that is crossed outward.

    Args:
        mask: (h, w) coverage; its boundary is where it falls to 1/2.
        points: (N, 2) pixels.
        normals: (N, 2) unit vectors.
        radius: pixels; both directions are searched up to it.
        gradient: (h, w, 2) from ``_outward_gradient`` of the mask; with it, only boundaries whose normal is like the
            given one count.

    Returns:
        (N,) distances, 0 where there is no boundary, and (N,) bool whether there is.
    """
    step = TUNING.outline_sample_step
    steps = np.arange(-np.ceil(radius / step), np.ceil(radius / step) + 1) * step
    samples = points[:, None] + steps[:, None] * normals[:, None]
    values = bilinear(mask, samples)[..., 0]
    first, second = values[:, :-1], values[:, 1:]
    crossings = (first >= 0.5) & (second < 0.5)
    exact = steps[:-1] + step * (first - 0.5) / np.maximum(first - second, 1e-6)
    if gradient is not None:
        candidates = np.nonzero(crossings)
        at = points[candidates[0]] + exact[candidates][:, None] * normals[candidates[0]]
        direction, _ = _unit_normals(bilinear(gradient, at))
        crossings[candidates] &= (direction * normals[candidates[0]]).sum(1) > TUNING.outline_normal_cosine
    cost = np.where(crossings, np.abs(exact), np.inf)
    nearest = cost.argmin(1)
    exists = np.isfinite(cost[np.arange(len(points)), nearest])
    return np.where(exists, exact[np.arange(len(points)), nearest], 0.0), exists


def _line_constraints(
    rendered: RenderedPose,
    rows: np.ndarray,
    columns: np.ndarray,
    targets: np.ndarray,
    normals: np.ndarray,
    confidence: np.ndarray,
) -> Constraints:
    """Point-to-line constraints of surface points, without those of low confidence.

    Args:
        rendered: the pose in the frame's view.
        rows: (N,) pixels that show the points.
        columns: (N,) of the same.
        targets: (N, 2) pixels, a point of each line.
        normals: (N, 2) unit normals of the lines.
        confidence: (N,) in [0, 1].
    """
    kept = np.flatnonzero(confidence > TUNING.min_confidence)
    points = rendered.surface_points(rows[kept], columns[kept])
    fractions = rendered.view.fractions(targets[kept])
    return Constraints.on_lines(points, fractions, normals[kept], confidence[kept])
