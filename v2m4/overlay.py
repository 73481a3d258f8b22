"""Videos that show a rendered animation over its input frames, beside them, and as a wipe between the two."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v2m4.config import FramesConfig
from v2m4.io.clip import PICTURE
from v2m4.io.picture import resized
from v2m4.io.read import read_pictures
from v2m4.io.sources import find_animations
from v2m4.io.video import write_video
from v2m4.manifest import MANIFEST, read_manifest
from v2m4.stored_picture import read_png

log = logging.getLogger(__name__)

KINDS = ("overlay", "beside", "wipe")
OPACITY = 0.55  # of the mesh over the frame
OUTLINE = (0, 255, 255)  # sRGB, of the mesh's mask in the overlay
SAME_PICTURE = 8.0  # of 255: largest mean difference of opaque pixels between a frame and the picture made from it


@dataclass(frozen=True)
class InputFrames:
    """The input's pictures by frame name.

    Attributes:
        pictures: (H, W, 3) uint8 sRGB each, of one size.
        origin: which pictures they are, for the log.
    """

    pictures: Mapping[str, np.ndarray]
    origin: str


def input_frames(folder: Path, names: Sequence[str], size: tuple[int, int]) -> InputFrames:
    """The frames of an animation at the size of its renders, with their background where the input is still there.

    The input is looked up where the manifest says that main.py found it. Where it is not there, or shows something
    else than ``<frame>_rmbg.png``, those pictures over white are used instead; a frame that has none of these is white.

    Args:
        folder: the animation's folder.
        names: of the frames.
        size: (height, width), pixels.
    """
    cut_out = {name: read_png(file) for name in names if (file := folder / PICTURE.format(name)).is_file()}
    try:
        originals, path = _originals(folder, names)
        _check_same(originals, cut_out)
        return InputFrames({name: _fitted(originals[name], size) for name in names}, f"the frames of {path}")
    except (ValueError, KeyError, OSError) as error:
        white = np.full((*size, 3), 255, np.uint8)
        pictures = {name: _fitted(cut_out[name], size) if name in cut_out else white for name in names}
        return InputFrames(pictures, f"{PICTURE.format('<frame>')} over white ({error})")


def _originals(folder: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], Path]:
    """The pictures (H, W, 3 or 4) of the input that the manifest names, and its path.

    Raises:
        ValueError: the manifest names no input, or the input has no such animation or frames, or is not readable.
        FileNotFoundError: the input is not there.
    """
    config: dict[str, Any] = read_manifest(folder).get("config", {})
    root = config.get("video") or config.get("root")
    if root is None:
        raise ValueError(f"{MANIFEST} names no input")
    sources = find_animations(Path(root))
    name = folder.resolve().name
    found = sources if len(sources) == 1 else [source for source in sources if source.name == name]
    if not found:
        raise ValueError(f"{root} has no animation {name}")
    stored = config.get("frames", {})
    options = FramesConfig(
        fps=stored.get("fps", FramesConfig.fps), max_side=stored.get("max_side", FramesConfig.max_side)
    )
    pictures = read_pictures(found[0], options)
    by_name = dict(zip(pictures.names, pictures.images, strict=True))
    missing = [each for each in names if each not in by_name]
    if missing:
        raise ValueError(f"{found[0].path} has no frame {missing[0]}")
    return by_name, found[0].path


def _check_same(originals: Mapping[str, np.ndarray], cut_out: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError where the input shows another object than the pictures without background."""
    for name, picture in cut_out.items():
        original = originals[name]
        if original.shape[:2] != picture.shape[:2]:
            raise ValueError(f"frame {name} of the input has another size")
        opaque = picture[..., 3] >= 250
        difference = np.abs(original[opaque][:, :3].astype(np.int16) - picture[opaque][:, :3])
        if opaque.any() and difference.mean() > SAME_PICTURE:
            raise ValueError(f"frame {name} of the input has changed since")


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3 or 4) uint8 over white, resampled to (height, width)."""
    small = resized(picture, max(size))
    if small.shape[2] == 4:
        alpha = small[..., 3:].astype(np.float32) / 255
        small = np.round(small[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    if small.shape[:2] == size:
        return small
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR))


def blended(frame: np.ndarray, color: np.ndarray, mask: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
    """A render laid over a frame.

    Args:
        frame: (H, W, 3) uint8.
        color: (H, W, 3) uint8, the render over white.
        mask: (H, W) uint8, its coverage.
        opacity: of the render, in [0, 1].

    Returns:
        (H, W, 3) uint8.
    """
    coverage = mask[..., None].astype(np.float32) / 255
    premultiplied = color - 255 * (1 - coverage)
    picture = frame * (1 - opacity * coverage) + opacity * premultiplied
    return np.round(picture.clip(0, 255)).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The picture with the inner border of a mask (H, W) uint8, one pixel wide."""
    inside = (mask > 127).astype(np.uint8)
    border = inside.astype(bool) & (cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=1) == 0)
    return np.where(border[..., None], np.array(OUTLINE, np.uint8), picture)


def wiped(frame: np.ndarray, rendered: np.ndarray, share: float) -> np.ndarray:
    """The render on the left ``share`` of the width, the frame on the rest, a white line between them."""
    column = round(share * frame.shape[1])
    picture = frame.copy()
    picture[:, :column] = rendered[:, :column]
    picture[:, max(column - 1, 0) : column + 1] = 255
    return picture


def write_overlays(
    folder: Path,
    name: str,
    names: Sequence[str],
    renders: Sequence[tuple[np.ndarray, np.ndarray]],
    fps: float,
    times: np.ndarray | None = None,
) -> list[str]:
    """Write three videos: the mesh over the frames, beside them, and as a wipe that goes once to the right and back.

    Args:
        folder: the animation's folder.
        name: the files' names begin with it.
        names: of the T frames.
        renders: colour (H, W, 3) over white and coverage (H, W) of each frame, uint8.
        fps: mean rate, frames per second.
        times: (T,) seconds from 0, for a variable rate.

    Returns:
        The files' names.

    Raises:
        ValueError: there is no frame, or a picture in the folder is broken.
    """
    frames = input_frames(folder, names, renders[0][1].shape[:2] if renders else (0, 0))
    log.info("%s: overlays on %s", folder, frames.origin)
    shown = [frames.pictures[each] for each in names]
    shares = 1 - np.abs(np.linspace(-1, 1, len(names)))
    pictures = {
        "overlay": (outlined(blended(frame, *render), render[1]) for frame, render in zip(shown, renders, strict=True)),
        "beside": (np.concatenate([frame, color], 1) for frame, (color, _) in zip(shown, renders, strict=True)),
        "wipe": (
            wiped(frame, blended(frame, *render, opacity=1.0), float(share))
            for frame, render, share in zip(shown, renders, shares, strict=True)
        ),
    }
    files = []
    for kind in KINDS:
        files.append(f"{name}_{kind}.mp4")
        write_video(folder / files[-1], pictures[kind], fps, times)
    return files
