"""Read the masks that lie beside frames as alpha: binary, grey, palette (object numbers), coloured, or in alpha."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from v2m4.io.picture import opened_picture

log = logging.getLogger(__name__)

MOST_COLOURS = 32  # of a mask whose colours number objects
MOST_NUMBERS = 16  # of a grey mask whose values number objects
GREY_TOLERANCE = 12  # levels by which the channels of a grey picture, compressed as JPEG, differ
SOFT_ENDS = 8  # levels at both ends that are taken for 0 and 255 (JPEG)


@dataclass(frozen=True)
class RawMask:
    """A mask as its file has it.

    Attributes:
        values: (H, W) uint8 grey values or alpha; or (H, W) int32 numbers, 0 is the background.
        numbered: whether the values are numbers of objects.
    """

    values: np.ndarray
    numbered: bool


def may_be_mask(file: Path) -> bool:
    """Whether a picture can be a mask: grey with mostly two values, few flat colours, or an alpha channel."""
    try:
        with opened_picture(file, whole=True) as picture:
            small = _subsampled(picture)
    except ValueError:
        return False
    raw = _raw(small)
    if raw is None:
        return False
    if raw.numbered or len(np.unique(raw.values)) <= MOST_NUMBERS:
        return True
    values = _stretched(raw.values, int(raw.values.max()))
    extreme, opaque = ((values == 0) | (values == 255)).mean(), (values > 224).sum()
    return bool(extreme > 0.7 and opaque > 0.5 * (values > 0).sum())


def show_the_same(first: Path, second: Path) -> bool:
    """Whether two picture files show the same picture with the same alpha, but for compression."""
    try:
        with opened_picture(first, whole=True) as one, opened_picture(second, whole=True) as other:
            small = [np.asarray(each.convert("RGBA").resize((32, 32)), np.int16) for each in (one, other)]
    except ValueError:
        return False
    return bool(np.abs(small[0] - small[1]).mean() < 8)


def _subsampled(picture: Image.Image) -> Image.Image:
    """Every n-th pixel of a large picture, which suffices to tell its kind."""
    step = max(1, max(picture.size) // 512)
    if step == 1:
        return picture.copy()
    size = (picture.width // step, picture.height // step)
    return picture.resize(size, Image.Resampling.NEAREST)


def read_masks(files: Sequence[Path | None], size: tuple[int, int], where: str) -> list[np.ndarray | None]:
    """Read the masks of a clip, by one rule for all of them.

    Args:
        files: (T,) of each frame, None where it has none.
        size: (H, W) of the frames; masks of another size are resized.
        where: their folder, for the log.

    Returns:
        (T,) alpha (H, W) uint8 each, None where there is no file.

    Raises:
        ValueError: a file cannot be read, is no mask, or has another shape than the frames.
    """
    raw = [None if file is None else _read(file, size) for file in files]
    there = [mask for mask in raw if mask is not None]
    numbers = sorted({int(value) for mask in there if mask.numbered for value in np.unique(mask.values)} - {0})
    largest = max((int(mask.values.max(initial=0)) for mask in there if not mask.numbered), default=0)
    grey_numbers = _grey_numbers([mask.values for mask in there if not mask.numbered], largest)
    notes = []
    if len(numbers) > 1:
        notes.append(f"{len(numbers)} objects in them, taken as one")

    def alpha(mask: RawMask) -> np.ndarray:
        if mask.numbered or grey_numbers:
            return np.where(mask.values > 0, 255, 0).astype(np.uint8)
        return _stretched(mask.values, largest)

    alphas = [None if mask is None else alpha(mask) for mask in raw]
    if _inverted([mask for mask in alphas if mask is not None]):
        notes.append("inverted, as the background is white in them")
        alphas = [None if mask is None else 255 - mask for mask in alphas]
    missing = sum(mask is None for mask in alphas)
    log.info("%s: %d masks are used as alpha%s", where, len(alphas) - missing, "".join(f"; {note}" for note in notes))
    return [None if mask is None else _fitted(mask, size) for mask in alphas]


def _read(file: Path, size: tuple[int, int]) -> RawMask:
    with opened_picture(file, whole=True) as picture:
        picture.load()
        mask = _raw(picture)
    if mask is None:
        raise ValueError(f"{file}: is no mask (neither grey, nor of few colours, nor with alpha); remove or replace it")
    height, width = mask.values.shape
    if abs(width / height / (size[1] / size[0]) - 1) > 0.02:
        raise ValueError(
            f"{file}: a mask of {width} x {height} pixels for frames of {size[1]} x {size[0]};"
            " masks must have the frames' shape"
        )
    return mask


def _raw(picture: Image.Image) -> RawMask | None:
    """The mask in a picture; None where it is a picture of something."""
    if picture.mode == "P" and "transparency" not in picture.info:
        palette = np.array(picture.getpalette("RGB") or [], np.int32).reshape(-1, 3)
        indices = np.asarray(picture)
        used = palette[np.unique(indices[indices < len(palette)])]
        if not len(used) or np.ptp(used, axis=1).max() > GREY_TOLERANCE:
            return RawMask(indices.astype(np.int32), True) if len(used) <= MOST_COLOURS else None
    if picture.mode.startswith("I") or picture.mode == "F":
        return RawMask(_deep_grey(picture), False)
    rgba = np.array((picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA"))
    if np.ptp(rgba[..., 3]) > 0:
        return RawMask(rgba[..., 3], False)
    rgb = rgba[..., :3]
    difference = rgb.max(2).astype(np.int16) - rgb.min(2)
    if np.percentile(difference, 99) <= GREY_TOLERANCE:
        return RawMask(rgb[..., 1].copy(), False)
    codes = rgb.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    if len(np.unique(codes)) > MOST_COLOURS:
        return _coloured_jpeg(rgb)
    border = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    found, counts = np.unique(border, return_counts=True)
    background = found[counts.argmax()]  # black, or another colour of the palette
    return RawMask(np.where(codes == background, 0, codes + 1), True)


def _deep_grey(picture: Image.Image) -> np.ndarray:
    """Values of a picture of 16 or 32 bits, (H, W) uint8: scaled where they exceed 255, or are fractions."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    largest = values.max(initial=0)
    if largest > 255:
        values = values * 255 / 65535
    elif picture.mode == "F" and largest <= 1:
        values = values * 255
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _coloured_jpeg(rgb: np.ndarray) -> RawMask | None:
    """A mask of one or two flat colours on black that was compressed: mostly black or far from it, nothing between."""
    brightness = rgb.max(2)
    if ((brightness < 32) | (brightness > 160)).mean() < 0.97 or not 0.01 < (brightness < 32).mean() < 0.995:
        return None
    inside = rgb[brightness > 160].astype(np.int32)
    if np.abs(inside - np.median(inside, 0)).max(1).mean() > 24:
        return None
    return RawMask(np.where(brightness > 96, 255, 0).astype(np.uint8), False)


def _stretched(values: np.ndarray, largest: int) -> np.ndarray:
    """Grey values as alpha, of which ``largest`` is the clip's largest: 0/1 scaled, ends clipped."""
    if largest <= 1:
        return values * np.uint8(255)
    wide = (values.astype(np.float32) - SOFT_ENDS) * (255 / max(1, largest - 2 * SOFT_ENDS))
    return np.clip(np.round(wide), 0, 255).astype(np.uint8)


def _grey_numbers(masks: Sequence[np.ndarray], largest: int) -> bool:
    """Whether grey values number objects: few, and each fills areas rather than edges."""
    if largest <= 1:
        return False
    present = np.unique(np.concatenate([np.unique(mask) for mask in masks]))
    if len(present) > MOST_NUMBERS:
        return False
    if largest < 64 or len(present) == 2:
        return True
    between = [(mask > 0) & (mask < largest) for mask in masks]
    area = sum(int(region.sum()) for region in between)
    inner = sum(int(cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8)).sum()) for region in between)
    return inner > area / 3


def _inverted(alphas: Sequence[np.ndarray]) -> bool:
    """Whether the border is opaque in most masks and something inside is not."""
    votes = []
    for alpha in alphas:
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        votes.append(bool((border > 127).mean() > 0.8 and (alpha < 128).mean() > 1e-3))
    return sum(votes) > len(votes) / 2


def _fitted(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask at the frames' size."""
    if alpha.shape == size:
        return alpha
    shrinks = alpha.shape[0] >= size[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(alpha, size[::-1], interpolation=interpolation))
