"""What mesh files store at vertices, brought to one form: colours in [0, 1], and numbers that are finite."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import GltfError

logger = logging.getLogger(__name__)

LARGEST = 1e18  # coordinate; areas of larger ones are no finite float32
FEW = 0.05  # share of the faces that may be dropped for corners that are no finite numbers


def unit_colors(values: np.ndarray) -> np.ndarray:
    """Colours (N, C) as files store them, scaled to [0, 1]; NaN stays.

    Integers of 8 and 16 bits are scaled by their type. Other numbers are taken as 0 to 255 where the largest shows it:
    above 2, or whole numbers above 1; and as 0 to 65535 above 255.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return values.astype(np.float64) / np.iinfo(values.dtype).max
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    largest = finite.max(initial=0.0)
    scale = 1.0
    if largest > 2 or (largest > 1 and bool((finite == np.round(finite)).all())):
        scale = 255.0 if largest <= 255.5 else 65535.0
    return np.clip(values / scale, 0.0, 1.0)


def finite_colors(colors: np.ndarray, path: Path) -> np.ndarray:
    """Colours (N, C) with those that are no finite numbers replaced by the mean of the rest, with one warning.

    Args:
        colors: in [0, 1]; NaN where the file has none or no number.
        path: named in the warning.
    """
    broken = ~np.isfinite(colors).all(1)
    if not broken.any():
        return colors
    rest = colors[~broken]
    mean = rest.mean(0) if len(rest) else np.ones(colors.shape[1])
    logger.warning(
        "%s: %d of %d vertex colours are no finite numbers; they become %s",
        path,
        int(broken.sum()),
        len(colors),
        "the mean of the rest" if len(rest) else "white",
    )
    return np.where(broken[:, None], mean, colors)


def faces_with_finite_corners(faces: np.ndarray, positions: np.ndarray, path: Path) -> np.ndarray:
    """Which faces (F, K) have corners that are all finite, as (F,) bool; with one warning where not all have.

    Args:
        faces: indices into ``positions``.
        positions: (V, 3).
        path: named in the warning and the error.

    Raises:
        GltfError: more than FEW of the faces have not.
    """
    finite = (np.abs(positions) < LARGEST).all(1)[faces].all(1)
    dropped = len(faces) - int(finite.sum())
    if dropped > FEW * len(faces):
        raise GltfError(
            f"{path}: {dropped} of {len(faces)} faces have vertices that are no finite numbers; export the mesh anew"
        )
    if dropped:
        logger.warning(
            "%s: %d of %d faces have vertices that are no finite numbers; they are left out", path, dropped, len(faces)
        )
    return finite
