"""Read the two sides of a video comparison: find videos, composite them on white, pair their frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from v2m4.config import FramesConfig
from v2m4.io.folder import list_pictures
from v2m4.io.foreground import choose_method, has_alpha
from v2m4.io.names import natural_key
from v2m4.io.picture import read_picture
from v2m4.io.read import read_clip, read_pictures
from v2m4.io.sources import Source, find_animations
from v2m4.workspace import MANIFEST

RENDERED, MASKS = "output_final_rendering_images", "output_final_rendering_masks"


@dataclass(frozen=True)
class Video:
    """One side of a video comparison.

    Attributes:
        names: names of the T frames.
        pictures: (T, S, S, 3) float32 on white.
        mask: (T, S, S) bool from alpha, or None without alpha.
        aspect: width / height before resizing to a square.
    """

    names: list[str]
    pictures: np.ndarray
    mask: np.ndarray | None
    aspect: float

    def select(self, indices: Sequence[int]) -> Video:
        """Some of the frames."""
        mask = None if self.mask is None else self.mask[list(indices)]
        return replace(self, names=[self.names[i] for i in indices], pictures=self.pictures[list(indices)], mask=mask)


def find_videos(path: Path) -> list[Source]:
    """The animations of one side, in natural order.

    Raises:
        FileNotFoundError: nothing there.
    """
    if (path / RENDERED).is_dir() or (path / MANIFEST).is_file():
        return [_result(path)]
    if path.is_dir():
        folders = [folder for folder in path.iterdir() if (folder / RENDERED).is_dir() or (folder / MANIFEST).is_file()]
        if folders:
            return [_result(folder) for folder in sorted(folders, key=lambda folder: natural_key(folder.name))]
    return find_animations(path)


def _result(folder: Path) -> Source:
    rendered = folder / RENDERED
    count = len(list_pictures(rendered)) if rendered.is_dir() else 0
    return Source(folder.resolve().name, rendered, "folder", count)


def load_video(source: Source, size: int) -> Video:
    """Read one side: composited on white, resized to a square, with a mask where there is an alpha channel.

    Raises:
        ValueError: it cannot be read, or has not been rendered yet.
    """
    if source.kind == "folder" and source.path.name == RENDERED and source.count == 0:
        raise ValueError(f"{source.path}: not rendered yet; run python rendering_video.py --result_path ... first")
    loaded = read_pictures(source, FramesConfig())
    images = loaded.images
    samples = [images[index] for index in sorted({0, len(images) // 2, len(images) - 1})]
    stored_masks = _stored_masks(source, loaded.names)
    colours_and_masks: list[tuple[np.ndarray, np.ndarray | None]]
    if all(has_alpha(sample) for sample in samples):
        colours_and_masks = [_on_white(image) for image in images]
    elif stored_masks is not None:
        colours_and_masks = [
            (image[..., :3] / np.float32(255), mask) for image, mask in zip(images, stored_masks, strict=True)
        ]
    elif _background_is_white(samples):
        colours_and_masks = [(image[..., :3] / np.float32(255), None) for image in images]
    else:
        colours_and_masks = [_on_white(frame.rgba) for frame in read_clip(source, FramesConfig()).frames]
    height, width = images[0].shape[:2]
    pictures = np.stack([_square(colour, size) for colour, _ in colours_and_masks])
    masks = [None if mask is None else _square(mask, size) > 0.5 for _, mask in colours_and_masks]
    mask = None if any(part is None for part in masks) else np.stack([part for part in masks if part is not None])
    return Video(loaded.names, pictures, mask, width / height)


def _background_is_white(samples: Sequence[np.ndarray]) -> bool:
    method = choose_method(samples)
    return method.kind == "key" and min(method.background) >= 235


def _on_white(rgba: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Composite a picture on white: colour (H, W, 3) and alpha (H, W; 1 without an alpha channel), float32."""
    picture = rgba.astype(np.float32) / 255
    alpha = picture[..., 3] if picture.shape[2] == 4 else np.ones(picture.shape[:2], np.float32)
    return picture[..., :3] * alpha[..., None] + (1 - alpha[..., None]), alpha


def _stored_masks(source: Source, names: Sequence[str]) -> list[np.ndarray] | None:
    """The coverage (H, W) float32 that rendering_video.py wrote for each frame, or None where one is missing."""
    if source.path.name != RENDERED:
        return None
    files = [source.path.parent / MASKS / f"{name}.png" for name in names]
    if not all(file.is_file() for file in files):
        return None
    return [read_picture(file)[..., 0] / np.float32(255) for file in files]


def _square(image: np.ndarray, size: int) -> np.ndarray:
    """The picture resized to a square, as V2M4 compares: area-averaged to reduce, bilinear to enlarge."""
    if image.shape[:2] == (size, size):
        return image
    shrinks = min(image.shape[:2]) >= size
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def pair_frames(truth: Sequence[str], result: Sequence[str]) -> tuple[list[tuple[int, int]], str]:
    """Pair the frames of two sides, with a note where they do not match one to one.

    Args:
        truth: names of the true frames.
        result: names of the result's frames.

    Returns:
        Pairs of indices in the truth's order, by name where both sides share a name, else by order; and the note.
    """
    index_of = {name: index for index, name in enumerate(result)}
    pairs = [(index, index_of[name]) for index, name in enumerate(truth) if name in index_of]
    key = "name"
    if not pairs:
        pairs, key = [(index, index) for index in range(min(len(truth), len(result)))], "order"
    if len(pairs) == len(truth) == len(result):
        return pairs, ""
    return pairs, f"{len(truth)} true and {len(result)} result frames: {len(pairs)} compared, paired by {key}"
