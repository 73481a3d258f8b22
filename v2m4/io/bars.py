"""Find the bars (letterbox, pillarbox) that frame the picture of a clip.

A bar is plain, of one colour in all frames, and its straight edge borders on a panel that is not of its colour: the
plain background of an object that is keyed has no such edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SAMPLES = 8  # frames that are looked at
TOLERANCE = 20  # levels of 255 by which a bar's pixels differ from its colour (compression)
STRAY = 0.02  # of a line's pixels may differ more
RING = 0.8  # of the pixels along each of the panel's edges that must differ from the bars' colour
RING_OF_PAIR, OPEN_OF_PAIR = 0.4, 0.2  # the same at and between two equal black bars: films are dark
LEAST_PANEL = 0.2  # of the picture's area
LEAST_FRAMED = 0.5  # of the picture's area, where bars lie on all four sides
DARK = 24  # levels of 255: bars on all four sides are not brighter
LEAST_SIDE = 16  # pixels of a panel
MARGIN = 2  # pixels inside of a bar's edge that compression mixes with it


@dataclass(frozen=True)
class Panel:
    """The part of the pictures inside of bars, in pixels; the lower and right edges are exclusive."""

    top: int
    bottom: int
    left: int
    right: int

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """This part of a picture."""
        return np.ascontiguousarray(picture[self.top : self.bottom, self.left : self.right])

    def restore(self, part: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A picture (H, W, 4) of which this part is ``part``, and the rest is transparent black."""
        picture = np.zeros((*size, part.shape[2]), part.dtype)
        picture[self.top : self.bottom, self.left : self.right] = part
        return picture


def find_panel(images: Sequence[np.ndarray]) -> Panel | None:
    """The part of a clip's pictures inside of its bars; None where there are no bars.

    Args:
        images: (H, W, 3 or 4) uint8, all of one size; pictures with an alpha channel have no bars.
    """
    if not images or any(image.shape[2] == 4 for image in images):
        return None
    chosen = sorted({round(index) for index in np.linspace(0, len(images) - 1, SAMPLES)})
    samples = [images[index] for index in chosen]
    panels = (_panel(samples, color) for color in _plain_lines(samples))
    return next((panel for panel in panels if panel is not None), None)


def _panel(samples: Sequence[np.ndarray], color: np.ndarray) -> Panel | None:
    """The part of pictures inside of bars of a colour (3,); None where there are no such bars."""
    height, width = samples[0].shape[:2]
    differs = [_differs(sample, color) for sample in samples]
    boxes = [box for each in differs if (box := _content(each)) is not None]
    if not boxes:
        return None
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    panel = Panel(top, max(box.bottom for box in boxes), left, max(box.right for box in boxes))
    if not _is_bars(panel, height, width, differs, boxes, bool(color.max() <= DARK)):
        return None
    inset = Panel(
        panel.top + MARGIN * (panel.top > 0),
        panel.bottom - MARGIN * (panel.bottom < height),
        panel.left + MARGIN * (panel.left > 0),
        panel.right - MARGIN * (panel.right < width),
    )
    return inset if min(inset.bottom - inset.top, inset.right - inset.left) >= LEAST_SIDE else None


def _plain_lines(samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The colours (3,) uint8 of the outermost lines that are plain and the same in all samples."""
    colors: list[np.ndarray] = []
    for line in (np.s_[:1], np.s_[-1:], np.s_[:, :1], np.s_[:, -1:]):
        pixels = [np.ascontiguousarray(sample[line]) for sample in samples]
        color = np.median(np.concatenate([each.reshape(-1, 3) for each in pixels]), axis=0).astype(np.uint8)
        known = any(cv2.absdiff(color, other).max() <= TOLERANCE / 2 for other in colors)
        if not known and all(_differs(each, color).mean() <= STRAY for each in pixels):
            colors.append(color)
    return colors


def _differs(picture: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Which pixels (H, W) bool of a picture are not of a colour (3,) uint8."""
    return np.asarray(cv2.absdiff(picture, np.broadcast_to(color, picture.shape)).max(2) > TOLERANCE)


def _content(differs: np.ndarray) -> Panel | None:
    """The lines of a picture (H, W) bool that are not plain; None where all are."""
    rows, columns = np.flatnonzero(differs.mean(1) > STRAY), np.flatnonzero(differs.mean(0) > STRAY)
    if not len(rows) or not len(columns):
        return None
    return Panel(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _is_bars(
    panel: Panel, height: int, width: int, differs: Sequence[np.ndarray], boxes: Sequence[Panel], black: bool
) -> bool:
    """Whether what surrounds a panel are bars: constant, and with hard edges to a panel of another colour."""
    thickness = (panel.top, height - panel.bottom, panel.left, width - panel.right)
    area = (panel.bottom - panel.top) * (panel.right - panel.left) / (height * width)
    if not any(thickness) or area < LEAST_PANEL:
        return False
    if any(thickness[:2]) and any(thickness[2:]):  # a rectangular object on a plain background looks the same
        centred = abs(thickness[0] - thickness[1]) <= 4 and abs(thickness[2] - thickness[3]) <= 4
        if not (black and centred and area >= LEAST_FRAMED):
            return False
    same = [
        abs(box.top - panel.top) + abs(box.bottom - panel.bottom) <= 6
        and abs(box.left - panel.left) + abs(box.right - panel.right) <= 6
        for box in boxes
    ]
    if np.mean(same) < 0.8:
        return False
    barred, open_sides = RING, RING
    if black and all(thickness[:2]) + all(thickness[2:]) == 1 and abs(sum(thickness[::2]) - sum(thickness[1::2])) <= 4:
        barred, open_sides = RING_OF_PAIR, OPEN_OF_PAIR
    shares = []
    for each in differs:
        inner = each[panel.top : panel.bottom, panel.left : panel.right]
        depth = min(MARGIN, *(side // 2 - 1 for side in inner.shape))
        lines = (inner[depth], inner[-1 - depth], inner[:, depth], inner[:, -1 - depth])
        shares.append([float(line.mean()) for line in lines])
    return all(
        share >= (barred if bar else open_sides)
        for share, bar in zip(np.median(shares, axis=0).tolist(), thickness, strict=True)
    )
