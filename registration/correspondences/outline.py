"""The outline of a pose held against the outline of a frame's mask: how far points of it have to go across it."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

from registration.correspondences.appearance_model import RenderedPose
from registration.correspondences.constraints import Constraints
from registration.correspondences.motion_consensus import MotionConsensus
from registration.correspondences.photometric_flow import AppearanceFlow, bilinear, none

STEP = 0.5  # pixels between the places that are looked at along a normal
AGREEMENT = 0.6  # least cosine between the two outlines' normals
BLUR = 1.0  # pixels, standard deviation, of the masks that normals are taken from
FOUND = 2.0  # pixels to the nearest match from which on the frame's outline is unexplained
NEAR = 0.7  # of its reach, that a point goes at a confidence of 1/e
BEHIND = 3.0  # pixels behind the outline, where paint is asked
CONTRARY = 1.5  # pixels that paint and outline may differ by, and
CONTRARY_SHARE = 0.3  # of the way
CONTENT = 0.5  # of the way that it is pulled, that a point may go by itself to be left alone
UNEXPLAINED = 0.3  # share of confidence where the frame's outline pulls
TURN = 0.15  # of the object's size, that opposite normals are worth when the nearest point is asked for


def outline_constraints(
    rendered: RenderedPose,
    limit: int,
    reach: float,
    pull: bool = True,
    flow_match: AppearanceFlow | None = None,
    consensus: MotionConsensus | None = None,
) -> Constraints:
    """Points on the outline of a pose, each to lie on the frame's outline across the normal there.

    A point looks along its normal for the nearest place where the frame's mask ends in the same direction. Where the
    frame has an outline that none found, it pulls the nearest point of the pose's outline of like direction that has
    found nothing near. Where paint shows that the surface goes another way, outlines are not believed: they may be
    another part's, which comes out from behind.

    Args:
        rendered: the pose in the frame's view.
        limit: points at most.
        reach: pixels of the view that a point may go.
        pull: whether the frame's unexplained outlines pull.
        flow_match: what paint shows, where it is known.
        consensus: where points around go, where it is known.
    """
    view = rendered.view
    rows, columns = outline_pixels(rendered.rast[..., 3] > 0)
    rows, columns = subsampled(rows, columns, limit)
    if not (view.mask > 0.5).any() or len(rows) == 0:
        return none(rendered)
    start = np.stack([columns, rows], 1) + 0.5
    ours, theirs = _outward(rendered.mask), _outward(view.mask)
    normals, firm = _unit(bilinear(ours, start))
    within = _crossing(rendered.mask, start, normals, 2.0)[0]
    off, found = _crossing(view.mask, start + within[:, None] * normals, normals, reach, theirs)
    way = off[:, None] * normals
    confidence = found * firm * np.exp(-np.square(off / max(NEAR * reach, 1e-6)))
    confidence = confidence * flow_consistency(flow_match, start, normals, way)
    if consensus is not None:
        confidence = confidence * consensus.agreement(rendered.places(rows, columns), way)
    parts = [_lines(rendered, rows, columns, start + way, normals, confidence)]
    if pull:
        edge = start + within[:, None] * normals
        landed = (edge + way, found)
        parts.append(_pulled(rendered, landed, start, edge, normals, theirs, reach, flow_match, consensus))
    return Constraints.joined(parts)


def flow_consistency(
    flow_match: AppearanceFlow | None, start: np.ndarray, normals: np.ndarray, way: np.ndarray
) -> np.ndarray:
    """How far paint allows that points of the outline go a way: (N,), 1 where it shows nothing, 0 where another way.

    Args:
        flow_match: what paint shows.
        start: (N, 2) pixels, on the surface.
        normals: (N, 2) outward.
        way: (N, 2) pixels.
    """
    if flow_match is None:
        return np.ones(len(start))
    within = start - BEHIND * normals
    trust = bilinear(flow_match.trust, within)[:, 0] * (bilinear(flow_match.rendered.mask, within)[:, 0] > 0.5)
    shown = bilinear(flow_match.flow, within)
    length = np.linalg.norm(way, axis=1)
    along = way / np.maximum(length, 1e-6)[:, None]
    contrary = np.abs((shown * along).sum(1) - length) / (CONTRARY + CONTRARY_SHARE * length)
    return 1 - trust * (1 - np.exp(-np.square(contrary)))


def _pulled(
    rendered: RenderedPose,
    own: tuple[np.ndarray, np.ndarray],
    start: np.ndarray,
    edge: np.ndarray,
    normals: np.ndarray,
    theirs: np.ndarray,
    reach: float,
    flow_match: AppearanceFlow | None,
    consensus: MotionConsensus | None,
) -> Constraints:
    """What the frame's outline wants that no point of the pose's outline found.

    Args:
        rendered: the pose in the frame's view.
        own: (N, 2) pixels where points of the pose's outline found the frame's, and (N,) bool if they did.
        start: (N, 2) pixels, the points, at pixels' centres.
        edge: (N, 2) pixels, the same points, exactly where the mask ends.
        normals: (N, 2).
        theirs: (h, w, 2) from ``_outward`` of the frame's mask.
        reach: pixels.
        flow_match: what paint shows.
        consensus: where points around go.
    """
    view, (landed, found) = rendered.view, own
    there = np.stack(outline_pixels(view.mask > 0.5)[::-1], 1) + 0.5
    facing, firm = _unit(bilinear(theirs, there))
    there = there + _crossing(view.mask, there, facing, 2.0)[0][:, None] * facing
    lost = firm > 0
    if found.any():
        lost &= cKDTree(landed[found]).query(there)[0] > FOUND
    there, facing = there[lost], facing[lost]
    if len(there) == 0:
        return none(rendered)
    scale = TURN * view.extent
    distance, index = cKDTree(np.concatenate([edge, scale * normals], 1)).query(
        np.concatenate([there, scale * facing], 1)
    )
    # One pull for a point, by the nearest.
    order = np.argsort(distance, kind="stable")
    order = order[np.sort(np.unique(index[order], return_index=True)[1])]
    there, facing, distance, index = there[order], facing[order], distance[order], index[order]
    way = there - edge[index]
    length = np.linalg.norm(way, axis=1)
    good = (length < 2 * reach) & ((normals[index] * facing).sum(1) > AGREEMENT)
    # A point that has found its own place near by is content; what else is seen there is another part.
    by_itself = np.linalg.norm(landed[index] - edge[index], axis=1)
    settled = found[index] & (by_itself < np.maximum(FOUND, CONTENT * length))
    confidence = UNEXPLAINED * np.exp(-np.square(distance / (2 * reach))) * (good & ~settled)
    confidence = confidence * flow_consistency(flow_match, start[index], facing, way)
    columns, rows = (start[index] - 0.5).round().astype(np.int64).T
    if consensus is not None:
        confidence = confidence * consensus.agreement(rendered.places(rows, columns), way)
    return _lines(rendered, rows, columns, start[index] + way, facing, confidence)


def outline_pixels(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a (h, w) bool mask next to one that is not of it, or to the picture's edge."""
    kernel = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    core = cv2.erode(inside.astype(np.uint8), kernel, borderType=cv2.BORDER_REPLICATE) > 0
    rows, columns = np.nonzero(inside & ~core)
    return rows, columns


def subsampled(rows: np.ndarray, columns: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``limit`` pixels, spread evenly: the first in each cell of a grid."""
    cell = 1.0
    while len(rows) > limit:
        cell *= 1.15
        keys = (rows // cell) * 100000 + columns // cell
        first = np.unique(keys, return_index=True)[1]
        if len(first) <= limit:
            return rows[np.sort(first)], columns[np.sort(first)]
    return rows, columns


def _outward(mask: np.ndarray) -> np.ndarray:
    """The way out of a mask, (h, w, 2): minus the gradient of the blurred coverage, per pixel."""
    soft = cv2.GaussianBlur(mask, (0, 0), BLUR)
    return -np.stack([cv2.Scharr(soft, cv2.CV_32F, 1, 0), cv2.Scharr(soft, cv2.CV_32F, 0, 1)], -1) / 32.0


def _unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (N, 2), and how far each direction is certain (N,): 0 at thin parts and tips, where sides cancel."""
    length = np.linalg.norm(vectors, axis=1)
    return vectors / np.maximum(length, 1e-6)[:, None], np.clip(length / 0.2, 0, 1) ** 2


def _crossing(
    mask: np.ndarray, start: np.ndarray, normals: np.ndarray, reach: float, outward: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """How far (N,) along normals from (N, 2) a mask ends, going outward, and whether it does within reach (N,) bool.

    With ``outward``, only where the mask ends in a direction like the normal's.
    """
    steps = np.arange(-np.ceil(reach / STEP), np.ceil(reach / STEP) + 1) * STEP
    places = start[:, None] + steps[:, None] * normals[:, None]
    values = bilinear(mask, places)[..., 0]
    first, second = values[:, :-1], values[:, 1:]
    ends = (first >= 0.5) & (second < 0.5)
    exact = steps[:-1] + STEP * (first - 0.5) / np.maximum(first - second, 1e-6)
    if outward is not None:
        candidates = np.nonzero(ends)
        at = start[candidates[0]] + exact[candidates][:, None] * normals[candidates[0]]
        direction, _ = _unit(bilinear(outward, at))
        ends[candidates] &= (direction * normals[candidates[0]]).sum(1) > AGREEMENT
    cost = np.where(ends, np.abs(exact), np.inf)
    best = cost.argmin(1)
    found = np.isfinite(cost[np.arange(len(start)), best])
    return np.where(found, exact[np.arange(len(start)), best], 0.0), found


def _lines(
    rendered: RenderedPose,
    rows: np.ndarray,
    columns: np.ndarray,
    targets: np.ndarray,
    normals: np.ndarray,
    confidence: np.ndarray,
) -> Constraints:
    """Points at pixels (N,) on lines across normals (N, 2) through pixels (N, 2)."""
    kept = np.flatnonzero(confidence > 0.02)
    points = rendered.points(rows[kept], columns[kept])
    fractions = rendered.view.fractions(targets[kept])
    return Constraints.on_lines(points, fractions, normals[kept], confidence[kept])
