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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np

from v2m4.io._background_plate import plate_evidence, plates
from v2m4.io._colour_model import colour_bins, colour_evidence, histogram, running_sums
from v2m4.io._frame_store import FrameStore, LazyFrames
from v2m4.io._graph_cut import edge_weights, labelled
from v2m4.io._object_location import KEPT, Network, Scene, Source, Tuning, locations, moving_prior, observe_scene
from v2m4.io._saliency_fusion import fused, motions
from v2m4.threads import in_runs

HIDDEN = 0.2  # probability of the object above which it may hide the background
BRIDGED = 0.08  # half of the gap between components of one part, relative to the square root of the mask's area
MAIN_PART = 0.1  # of the saliency of the largest component
NEARBY_FRAMES = 4  # before and after, whose surroundings are one colour model


@dataclass(frozen=True)
class ClipMasks:
    """Masks of a clip.

    Attributes:
        coverages: (h, w) float32 in [0, 1], one per frame; read from the store.
        source: what says where the object is.
    """

    coverages: Sequence[np.ndarray]
    source: Source


def clip_masks(
    pictures: Sequence[np.ndarray], network: Network, tuning: Tuning | None = None, store: FrameStore | None = None
) -> ClipMasks:
    """Masks of the one object in consecutive pictures.

    Args:
        pictures: (h, w, 3) uint8 sRGB each, all of one size.
        network: called from several threads.
        tuning: of the method.
        store: of what is found for each frame; with the same store a call that was interrupted goes on.
    """
    tuning, store, count = tuning or Tuning(), store or FrameStore(), len(pictures)
    flows = motions(pictures, store)
    scene = observe_scene(pictures, flows, store)
    location, source = locations(pictures, flows, scene, network, tuning, store)
    prior, masks = location, location
    for step in range(tuning.rounds):
        name, carried = f"masks_{step}", f"carried_{step}"
        if store.find("rounds_done", step) is None:
            motion = scene.motion if source == "motion" and step == 0 else None
            masks = _cut(pictures, scene, prior, moving_prior(motion) if motion else prior, masks, tuning, store, name)
            if step < tuning.rounds - 1:
                fused(_main_parts(masks, location), flows, tuning.mask_persistence, store, carried)
            store.write("rounds_done", step, np.ones(1))
            store.remove(f"masks_{step - 1}", f"carried_{step - 1}")
        masks = store.stored(name, count)
        prior = _mixed(store.stored(carried, count), location, tuning.mask_share)
    return ClipMasks(_main_parts(masks, location) if tuning.rounds else location, source)


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


def _main_parts(masks: Sequence[np.ndarray], location: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The main parts of every frame's mask."""
    return LazyFrames(len(masks), lambda index: main_parts(masks[index], location[index]))


def _mixed(carried: Sequence[np.ndarray], location: Sequence[np.ndarray], share: float) -> Sequence[np.ndarray]:
    """Probability (h, w) of the object in every frame: fused masks with a share, and the location."""
    return LazyFrames(len(carried), lambda index: share * carried[index] + (1 - share) * location[index], KEPT)


def _cut(
    pictures: Sequence[np.ndarray],
    scene: Scene,
    prior: Sequence[np.ndarray],
    prior_of_colours: Sequence[np.ndarray],
    start: Sequence[np.ndarray],
    tuning: Tuning,
    store: FrameStore,
    name: str,
) -> Sequence[np.ndarray]:
    """A graph cut of every frame: labels (h, w) float32 each, kept in the store's series ``name``."""
    changes = _plate_evidences(pictures, scene, prior)

    def labels(index: int, foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
        picture = pictures[index]
        colour = colour_evidence(foreground, background)[colour_bins(picture)]
        evidence = location_evidence(prior[index], tuning) + tuning.colour * colour + tuning.plate * changes[index]
        return labelled(evidence, edge_weights(picture, tuning.smoothness), start[index], tuning.iterations)

    def cut(item: tuple[int, tuple[np.ndarray, np.ndarray]]) -> None:
        index, histograms = item
        store.made(name, index, lambda: labels(index, *histograms), packed=True)

    for _ in in_runs(cut, enumerate(colour_models(pictures, prior_of_colours))):
        pass
    return store.stored(name, len(pictures))


def _plate_evidences(pictures: Sequence[np.ndarray], scene: Scene, prior: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Evidence of the background plate in every frame; 0 where there is no plate."""
    if scene.homographies is None:
        return LazyFrames(len(prior), lambda index: np.zeros_like(prior[index]))
    hidden = LazyFrames(len(prior), lambda index: prior[index] > HIDDEN)
    beyond = plates(pictures, scene.homographies, hidden)
    return LazyFrames(len(prior), lambda index: plate_evidence(pictures[index], beyond[index], hidden[index]))


def colour_models(
    pictures: Sequence[np.ndarray], prior: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for every frame the colour histograms of the object, in the whole clip, and of what is nearby.

    Nearby is near the object in frames within ``NEARBY_FRAMES``.
    """

    def inside(index: int) -> np.ndarray:
        return histogram(colour_bins(pictures[index]), np.clip(2 * prior[index] - 1, 0, 1))

    def outside(index: int) -> np.ndarray:
        where = prior[index]
        near = cv2.blur((where > 0.3).astype(np.float32), (2 * (max(where.shape) // 8) + 1,) * 2)
        return histogram(colour_bins(pictures[index]), np.clip(1 - 4 * where, 0, 1) * (0.05 + (near > 0.01)))

    foreground = reduce(np.add, in_runs(inside, range(len(prior))))
    for background in running_sums(in_runs(outside, range(len(prior))), NEARBY_FRAMES):
        yield foreground, background


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
