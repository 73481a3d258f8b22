"""Masks of one object over a clip: saliency fused over time, colour models, a background plate, and a graph cut.

1. The network sees every ``whole_stride``-th frame whole, and every ``close_stride``-th in a window about the object.
2. Its maps are averaged along dense optical flow, so that one frame's error is outvoted. Where what moves is not what
   is salient, motion says where the object is (``v2m4.io._object_location``).
3. Where one motion model explains the camera's motion, the median of other frames is the background behind the object.
4. Colour histograms of the object (whole clip) and of what is near it (nearby frames).
5. The evidence of all of these is summed, and a graph cut finds each frame's mask. Masks, fused over time in turn,
   improve the location, the colours and the background of the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from v2m4.io._background_plate import plate_evidence, plates
from v2m4.io._colour_model import colour_bins, colour_evidence, histogram, running_sums
from v2m4.io._graph_cut import edge_weights, labelled
from v2m4.io._object_location import Network, Scene, Source, Tuning, locations, moving_prior, observe_scene
from v2m4.io._saliency_fusion import fused, motions
from v2m4.threads import in_order

HIDDEN = 0.2  # probability of the object above which it may hide the background
BRIDGED = 0.08  # half of the gap between components of one part, relative to the square root of the mask's area
MAIN_PART = 0.1  # of the saliency of the largest component


@dataclass(frozen=True)
class ClipMasks:
    """Masks of a clip.

    Attributes:
        coverages: (h, w) float32 in [0, 1], one per frame.
        source: what says where the object is.
    """

    coverages: list[np.ndarray]
    source: Source


def clip_masks(pictures: Sequence[np.ndarray], network: Network, tuning: Tuning | None = None) -> ClipMasks:
    """Masks of the one object in consecutive pictures.

    Args:
        pictures: (h, w, 3) uint8 sRGB each, all of one size.
        network: called from several threads.
        tuning: of the method.
    """
    tuning = tuning or Tuning()
    flows = motions(pictures)
    scene = observe_scene(pictures, flows)
    location, source = locations(pictures, flows, scene, network, tuning)
    bins = in_order(colour_bins, pictures)
    weights = in_order(lambda picture: edge_weights(picture, tuning.smoothness), pictures)
    prior, masks, parts = location, location, location
    for step in range(tuning.rounds):
        colours = colour_evidences(
            bins, moving_prior(scene.motion) if scene.motion and source == "motion" and step == 0 else prior
        )
        moved = _plate_evidences(pictures, scene, prior)
        evidence = [
            location_evidence(where, tuning) + tuning.colour * colour + tuning.plate * change
            for where, colour, change in zip(prior, colours, moved, strict=True)
        ]
        masks = _cut(evidence, weights, masks, tuning.iterations)
        parts = [main_parts(mask, where) for mask, where in zip(masks, location, strict=True)]
        carried, _ = fused(parts, flows, tuning.mask_persistence)
        share = tuning.mask_share
        prior = [share * mask + (1 - share) * where for mask, where in zip(carried, location, strict=True)]
    return ClipMasks(parts, source)


def location_evidence(where: np.ndarray, tuning: Tuning) -> np.ndarray:
    """Evidence (h, w) of the object by its location: log-odds, bounded; near the object, negative ones more tightly.

    A limb that the network has lost lies near what it has found: there colour and motion must be able to outweigh it.

    Args:
        where: (h, w) probability of the object.
        tuning: of the method.
    """
    bounded = np.clip(where, 1e-3, 1 - 1e-3)
    odds = np.log(bounded / (1 - bounded))
    inside = (where > 0.5).astype(np.uint8)
    reach = tuning.near * float(np.sqrt(max(1, cv2.countNonZero(inside))))
    near = cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3) < reach
    return np.clip(odds, np.where(near, -tuning.near_saliency, -tuning.largest_saliency), tuning.largest_saliency)


def _cut(
    evidence: Sequence[np.ndarray], weights: Sequence[np.ndarray], start: Sequence[np.ndarray], iterations: int
) -> list[np.ndarray]:
    """A graph cut of every frame."""
    return in_order(
        lambda index: labelled(evidence[index], weights[index], start[index], iterations), range(len(start))
    )


def _plate_evidences(pictures: Sequence[np.ndarray], scene: Scene, prior: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Evidence of the background plate in every frame; 0 where there is no plate."""
    if scene.homographies is None:
        return [np.zeros_like(where) for where in prior]
    hidden = [where > HIDDEN for where in prior]
    beyond = plates(pictures, scene.homographies, hidden)
    return in_order(lambda index: plate_evidence(pictures[index], beyond[index], hidden[index]), range(len(pictures)))


def colour_evidences(bins: Sequence[np.ndarray], prior: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Log-odds (h, w) of every pixel by its colour."""
    inside = [np.clip(2 * where - 1, 0, 1) for where in prior]
    outside = []
    for where in prior:
        near = cv2.blur((where > 0.3).astype(np.float32), (2 * (max(where.shape) // 8) + 1,) * 2)
        outside.append(np.clip(1 - 4 * where, 0, 1) * (0.05 + (near > 0.01)))
    foreground = np.sum([histogram(index, weight) for index, weight in zip(bins, inside, strict=True)], 0)
    backgrounds = running_sums([histogram(i, w) for i, w in zip(bins, outside, strict=True)], 4)
    return [colour_evidence(foreground, background)[index] for background, index in zip(backgrounds, bins, strict=True)]


def main_parts(mask: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """The mask's parts that carry at least a tenth of the saliency of the one that carries most.

    Components with a small gap between them are one part: a hand whose thin arm is lost stays.
    """
    inside = (mask > 0.5).astype(np.uint8)
    radius = max(1, round(BRIDGED * float(np.sqrt(cv2.countNonZero(inside)))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    count, labels = cv2.connectedComponents(cv2.dilate(inside, disc), connectivity=8)
    if count <= 2:
        return mask
    carried = np.bincount(labels.ravel(), (saliency * mask).ravel(), count)
    carried[0] = 0
    kept = (labels > 0) & (carried[labels] >= MAIN_PART * carried.max())
    return np.where(kept, mask, 0).astype(np.float32)
