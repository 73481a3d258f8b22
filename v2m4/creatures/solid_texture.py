"""Random solid textures: colours as a function of a point in space."""

from __future__ import annotations

import numpy as np


def solid_texture(points: np.ndarray, vertices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colours (..., 3) of a random solid texture at points (..., 3) of the rest pose."""
    scale = max(float(np.ptp(vertices, axis=0).max()), 1e-9)
    points = (points - vertices.min(0)) / scale
    value = np.zeros(points.shape[:-1])
    frequency = rng.uniform(2, 25)
    for _ in range(int(rng.integers(1, 4))):
        wave = rng.normal(0, frequency, 3)
        value = value + np.sin(points @ wave + rng.uniform(0, 6.28) + 0.5 * value)
    palette = rng.uniform(0, 1, (int(rng.integers(1, 5)), 3))
    position = (value * 0.5 / 2 + 0.5).clip(0, 0.999) * len(palette)
    index = position.astype(int)
    if rng.uniform() < 0.5:
        return palette[index]
    part = (position - index)[..., None]
    return palette[index] * (1 - part) + palette[np.minimum(index + 1, len(palette) - 1)] * part
