"""Frames of simple shapes with soft edges, for the tests of stage 1."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from v2m4.frame import Frame


def frame_of(inside: np.ndarray, name: str = "shape") -> Frame:
    """A frame from coverage (H, W) in [0, 1]; red grows to the right, green downwards, the background is blue."""
    height, width = inside.shape
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., 0] = np.linspace(40, 250, width)
    rgba[..., 1] = np.linspace(40, 250, height)[:, None]
    rgba[inside < 0.5] = (0, 0, 255, 0)
    rgba[..., 3] = np.round(255 * inside)
    return Frame(name, 0, rgba)


def coverage(signed: np.ndarray) -> np.ndarray:
    """Antialiased coverage of a signed distance in pixels, positive inside."""
    return np.clip(signed + 0.5, 0, 1)


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """x (1, W) and y (H, 1) of the pixels' centres."""
    return np.arange(size[1])[None] + 0.5, np.arange(size[0])[:, None] + 0.5


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    x, y = grid(size)
    return coverage(radius - np.hypot(x - centre[0], y - centre[1]))


def ring(size: tuple[int, int], centre: tuple[float, float], outer: float, inner: float) -> np.ndarray:
    return np.minimum(disc(size, centre, outer), 1 - disc(size, centre, inner))


def strip(size: tuple[int, int], start: tuple[float, float], end: tuple[float, float], radius: float) -> np.ndarray:
    """A straight limb with round ends."""
    x, y = grid(size)
    axis = np.subtract(end, start)
    along = np.clip(((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / (axis @ axis), 0, 1)
    return coverage(radius - np.hypot(x - start[0] - along * axis[0], y - start[1] - along * axis[1]))


@pytest.fixture(scope="session")
def shapes() -> SimpleNamespace:
    """The functions above; test files cannot import each other."""
    return SimpleNamespace(frame_of=frame_of, disc=disc, ring=ring, strip=strip)
