"""Pictures of things that have no body: clouds, splashes. They teach the network to say that it does not know.

Source: Hendrycks et al. 2019, "Deep anomaly detection with outlier exposure".
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from generators.prior.maps import SIZE, Window, base_maps
from generators.prior.views import View

LEAST_PIXELS = 200


def _noise(size: int, power: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (size, size) of mean 0 and variance 1 whose spectrum falls with a power of the frequency."""
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency) + 1 / size
    values = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / radius**power).real
    return (values - values.mean()) / values.std()


def cloud_view(rng: np.random.Generator) -> View:
    """View without any known depth: a random shape with a fractal outline in fractal colours, some with drops."""
    while True:
        line = (np.arange(SIZE) + 0.5) * (2 / SIZE) - 1
        x, y = np.meshgrid(line, line)
        stretch = math.exp(rng.uniform(-0.7, 0.7))
        level = 1.6 * (0.65 - np.hypot(x * stretch, y / stretch)) + rng.uniform(0.3, 0.7) * _noise(
            SIZE, rng.uniform(1.2, 2.2), rng
        )
        labels, count = ndimage.label(level > 0)
        if count == 0:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        if sizes.max() < LEAST_PIXELS:
            continue
        drops = rng.uniform() < 0.4
        body = (level > 0) if drops else labels == 1 + int(sizes.argmax())
        softness = rng.uniform(0.05, 0.4)
        alpha = np.where(body, np.clip(level / softness + 0.5, 0, 1), 0)
        colors = rng.uniform(0, 1, 3) + rng.uniform(0.05, 0.3) * _noise(SIZE, rng.uniform(1, 2), rng)[..., None]
        rgba = np.dstack([np.clip(colors, 0, 1), alpha])
        picture = np.rint(rgba * 255).astype(np.uint8)
        if (picture[..., 3] > 127).sum() < LEAST_PIXELS:
            continue
        focal = 1 / math.tan(math.radians(rng.uniform(10, 45)) / 2)
        window = Window(focal, (float(rng.normal(0, 0.3)), float(rng.normal(0, 0.3))))
        base = base_maps(picture[..., 3], window)
        return View(
            picture,
            picture[..., :3],
            np.zeros((SIZE, SIZE, 4), np.float16),
            np.zeros((SIZE, SIZE), np.uint8),
            np.stack([base.centre, base.thickness, base.distance], -1).astype(np.float16),
            np.array([window.focal, *window.offset], np.float32),
        )
