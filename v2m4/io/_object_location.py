"""Where the object of a clip is: saliency fused over time, or motion where the salient object is not what moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import cv2
import numpy as np

from v2m4.io._background_plate import camera_motion, plates
from v2m4.io._frame_store import FrameStore, LazyFrames, SomeFrames
from v2m4.io._moving_region import is_about_motion, moving_hulls, moving_pixels, moving_regions
from v2m4.io._saliency_fusion import Motion, fused

Network = Callable[[np.ndarray], np.ndarray]  # (h, w, 3) uint8 -> saliency (h, w) float32 in [0, 1]; thread-safe
Source = Literal["saliency", "motion"]  # what says where the object is
KEPT = 8  # frames of which a location is kept, while threads work on consecutive frames

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, pixels


@dataclass(frozen=True)
class Tuning:
    """Constants, chosen on the first group of ``evaluation/foreground_suite.py``.

    Attributes:
        whole_stride: frames from one that the network sees whole to the next.
        close_stride: frames from one that it sees in a window about the object to the next.
        margin: of that window, as a share of the object's longer side.
        persistence: of the network's maps, see ``fused``.
        mask_persistence: of the masks of a round.
        mask_share: of these masks, fused, in the next round's location; the rest is the network's.
        largest_saliency: bound of the log-odds of the object's location.
        near_saliency: bound of negative ones near the object.
        near: how far that is, relative to the square root of the object's area.
        colour: weight of the colour's log-odds.
        plate: weight of the background plate's evidence.
        smoothness: weight of the total variation.
        iterations: of the graph cut.
        rounds: of colour models, plates and cuts.
    """

    whole_stride: int = 4
    close_stride: int = 2
    margin: float = 0.2
    persistence: float = 0.75
    mask_persistence: float = 0.7
    mask_share: float = 0.75
    largest_saliency: float = 3.0
    near_saliency: float = 0.6
    near: float = 0.5
    colour: float = 1.2
    plate: float = 2.0
    smoothness: float = 4.0
    iterations: int = 120
    rounds: int = 3


@dataclass(frozen=True)
class OwnMotion:
    """What moves relative to the scene, per frame.

    Attributes:
        pixels: (h, w) uint8 each, 1 where the scene does not explain the picture.
        regions: (h, w) bool each, where these are dense.
        hulls: (h, w) bool each, their convex hulls in the regions.
    """

    pixels: Sequence[np.ndarray]
    regions: Sequence[np.ndarray]
    hulls: Sequence[np.ndarray]


@dataclass(frozen=True)
class Scene:
    """What the motion of a clip says before any object is known.

    Attributes:
        homographies: of the camera's motion, see ``camera_motion``; None where no motion model explains it.
        motion: None where it says nothing about the object.
    """

    homographies: list[np.ndarray] | None = None
    motion: OwnMotion | None = None

    @property
    def still(self) -> bool:
        """Whether the camera is still."""
        return self.homographies is not None and all(np.array_equal(m, np.eye(3)) for m in self.homographies)


def observe_scene(pictures: Sequence[np.ndarray], flows: Sequence[Motion], store: FrameStore | None = None) -> Scene:
    """The camera's motion, and what moves relative to the scene; kept in the store."""
    store = store or FrameStore()

    def homographies_of_all() -> (
        np.ndarray
    ):  # (T, 3, 3); of no frame where no motion model explains the camera's motion
        found = camera_motion(pictures, flows) if len(pictures) > 2 else None
        return np.reshape(found or [], (-1, 3, 3))

    homographies = list(store.made("homographies", 0, homographies_of_all))
    if not homographies:
        return Scene()
    pixels = moving_pixels(pictures, plates(pictures, homographies), store)
    regions = moving_regions(pixels, store)
    motion = None if regions is None else OwnMotion(pixels, regions, moving_hulls(pixels, regions, store))
    return Scene(homographies, motion)


def locations(
    pictures: Sequence[np.ndarray],
    flows: Sequence[Motion],
    scene: Scene,
    network: Network,
    tuning: Tuning,
    store: FrameStore | None = None,
) -> tuple[Sequence[np.ndarray], Source]:
    """Probability (h, w) of the object in every frame from saliency fused over time, or from motion alone.

    Motion alone decides where the salient object is not what moves. The result is kept in the store.
    """
    count, motion, store = len(pictures), scene.motion, store or FrameStore()
    found = store.find("location_source")
    if found is not None:
        return _location(str(found[0]), motion, store, count)
    everywhere = reduce(np.logical_or, motion.regions) if motion is not None and scene.still else None

    def attended(saliency: np.ndarray, index: int) -> np.ndarray:
        """The saliency of what moves: in this frame, or, before a still camera, in any."""
        if motion is None:
            return saliency
        return where_moving(saliency, motion.regions[index] if everywhere is None else everywhere)

    far, near = _strided(count, tuning.whole_stride), _strided(count, tuning.close_stride)

    def saliency_of_whole(number: int) -> np.ndarray:
        return attended(network(pictures[far[number]]), far[number])

    whole = SomeFrames(far, store.series("saliency_whole", len(far), saliency_of_whole))
    if motion is not None and not is_about_motion(whole, motion.pixels, motion.hulls, scene.homographies or []):
        source: Source = "motion"
    else:
        source = "saliency"
        coarse = fused(LazyFrames(count, whole.get), flows, tuning.persistence, store, "saliency_coarse")

    def saliency_with_crop(number: int) -> np.ndarray:
        index = near[number]
        x0, y0, x1, y1 = window_about(coarse[index], tuning.margin)
        found = whole.get(index, coarse[index]).copy()
        part = network(np.ascontiguousarray(pictures[index][y0:y1, x0:x1]))
        found[y0:y1, x0:x1] = 0.5 * (part + found[y0:y1, x0:x1])
        return attended(found, index)

    if source == "saliency":
        close = SomeFrames(near, store.series("saliency_close", len(near), saliency_with_crop))
        seen = LazyFrames(count, lambda index: close[index] if index in close else whole.get(index))
        fused(seen, flows, tuning.persistence, store, "location")
    store.write("location_source", 0, np.array([source]))
    store.remove("saliency_whole", "saliency_coarse", "saliency_close")
    return _location(source, motion, store, count)


def _location(
    source: str, motion: OwnMotion | None, store: FrameStore, count: int
) -> tuple[Sequence[np.ndarray], Source]:
    """The result of ``locations`` that a store has."""
    if source == "motion" and motion is not None:
        hulls = motion.hulls
        return LazyFrames(count, lambda index: soft_hull(hulls[index]), KEPT), "motion"
    return store.stored("location", count, KEPT), "saliency"


def moving_prior(motion: OwnMotion) -> Sequence[np.ndarray]:
    """As ``soft_hull``, but certain at pixels that move: their colours are mostly the object's."""
    square = np.ones((3, 3), np.uint8)

    def of_frame(index: int) -> np.ndarray:
        certain = (cv2.dilate(motion.pixels[index], square) > 0) & motion.hulls[index]
        return np.where(certain, 1, np.minimum(soft_hull(motion.hulls[index]), 0.52)).astype(np.float32)

    return LazyFrames(len(motion.pixels), of_frame)


def soft_hull(hull: np.ndarray) -> np.ndarray:
    """Probability (h, w) of an object of which some pixels' convex hull is known: even inside, falling outside."""
    size = max(1.0, float(np.sqrt(hull.sum())))
    beyond = cv2.distanceTransform(1 - hull.astype(np.uint8), cv2.DIST_L2, 3)
    return (0.6 * np.exp(-beyond / (0.08 * size))).astype(np.float32)


def where_moving(saliency: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The saliency without parts that are apart from everything that moves, where others are not."""
    bridge = 2 * (max(saliency.shape) // 60) + 1
    near = cv2.dilate((saliency > 0.3).astype(np.uint8), np.ones((bridge, bridge), np.uint8))
    count, labels = cv2.connectedComponents(near, connectivity=8)
    if count <= 2:
        return saliency
    moving = np.bincount(labels.ravel(), region.ravel().astype(np.float64), count)
    moving[0] = 0
    away = (moving[labels] <= 0.02 * moving.max()) & (labels > 0)
    return saliency if moving.max() == 0 else np.where(away, 0, saliency).astype(np.float32)


def _strided(count: int, stride: int) -> list[int]:
    """Indices at a stride, first and last included."""
    return sorted({*range(0, count, stride), count - 1})


def window_about(saliency: np.ndarray, margin: float) -> Box:
    """The window about the salient object, or the whole picture where there is none."""
    height, width = saliency.shape
    inside = (saliency > 0.5).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside)
    if count < 2:
        return 0, 0, width, height
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(labels, 1 + np.flatnonzero(areas >= 0.1 * areas.max()))
    ys, xs = np.flatnonzero(kept.any(1)), np.flatnonzero(kept.any(0))
    pad = round(margin * max(len(ys), len(xs), xs[-1] - xs[0], ys[-1] - ys[0])) + 4
    return (
        max(0, int(xs[0]) - pad),
        max(0, int(ys[0]) - pad),
        min(width, int(xs[-1]) + 1 + pad),
        min(height, int(ys[-1]) + 1 + pad),
    )
