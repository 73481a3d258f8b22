"""Animation channels of glTF at any time.

Source: Khronos, glTF 2.0 specification, section 3.11 and appendix C (interpolation modes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from v2m4.io._gltf_container import Document, GltfError
from v2m4.rotation import slerp, unit_quaternion

INTERPOLATIONS = ("LINEAR", "STEP", "CUBICSPLINE")
WIDTH_OF = {"translation": 3, "rotation": 4, "scale": 3}  # "weights" has one number per morph target


@dataclass(frozen=True)
class Sampler:
    """A curve through keys; before the first and after the last key it stays as it is there.

    Attributes:
        times: (K,) float64 seconds, ascending.
        values: (K, 3, C) float64: tangent into the key, value, tangent out of it; the tangents are zero unless the
            interpolation is CUBICSPLINE.
        interpolation: LINEAR, STEP or CUBICSPLINE.
        rotation: the values are quaternions (C = 4): LINEAR turns evenly along the shorter way, all modes give unit
            quaternions.
    """

    times: np.ndarray
    values: np.ndarray
    interpolation: str
    rotation: bool

    def at(self, times: np.ndarray) -> np.ndarray:
        """The curve at ``times`` (T,) seconds, (T, C)."""
        last = len(self.times) - 1
        asked = np.clip(times, self.times[0], self.times[-1])
        before = np.clip(np.searchsorted(self.times, asked, side="right") - 1, 0, last)
        after = np.minimum(before + 1, last)
        span = self.times[after] - self.times[before]
        share = np.where(span > 0, (asked - self.times[before]) / np.where(span > 0, span, 1.0), 0.0)[:, None]
        first, second = self.values[before, 1], self.values[after, 1]
        if self.interpolation == "STEP":
            result = first
        elif self.interpolation == "CUBICSPLINE":
            leaving, arriving = span[:, None] * self.values[before, 2], span[:, None] * self.values[after, 0]
            result = hermite(first, leaving, second, arriving, share)
        elif self.rotation:
            return slerp(unit_quaternion(first), unit_quaternion(second), share)
        else:
            result = first + share * (second - first)
        return unit_quaternion(result) if self.rotation else result


def hermite(
    first: np.ndarray, leaving: np.ndarray, second: np.ndarray, arriving: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """The cubic with the given ends and slopes, at ``share`` in [0, 1] of the way.

    Args:
        first: (T, C).
        leaving: (T, C) slope at ``first``, per whole way.
        second: (T, C).
        arriving: (T, C) slope at ``second``, per whole way.
        share: (T, 1).
    """
    square, cube = share**2, share**3
    ends = (2 * cube - 3 * square + 1) * first + (3 * square - 2 * cube) * second
    return ends + (cube - 2 * square + share) * leaving + (cube - square) * arriving


def read_sampler(document: Document, entry: dict[str, Any], path: str, width: int) -> Sampler:
    """The curve of an entry of ``animation.samplers``.

    Args:
        document: the file.
        entry: of ``animation.samplers``.
        path: what it moves: translation, rotation, scale or weights.
        width: numbers per key.

    Raises:
        GltfError: the keys do not ascend, the values do not go with them, or the interpolation is not known.
    """
    interpolation = entry.get("interpolation", "LINEAR")
    if interpolation not in INTERPOLATIONS:
        raise GltfError(f"{document.path}: unknown interpolation {interpolation!r} of an animation")
    times = key_times(document, entry)
    values = document.accessor(entry["output"]).astype(np.float64)
    rows = 3 if interpolation == "CUBICSPLINE" else 1
    if values.size != len(times) * rows * width:
        raise GltfError(
            f"{document.path}: {path}: {values.size} numbers for {len(times)} keys of an animation, "
            f"expected {rows * width} per key"
        )
    if not np.isfinite(values).all():
        raise GltfError(f"{document.path}: {path}: an animation with values that are no finite numbers")
    keys = np.zeros((len(times), 3, width))
    if rows == 3:
        keys[:] = values.reshape(len(times), 3, width)
    else:
        keys[:, 1] = values.reshape(len(times), width)
    return Sampler(times, keys, interpolation, rotation=path == "rotation")


def key_times(document: Document, entry: dict[str, Any]) -> np.ndarray:
    """The key times (K,) of an entry of ``animation.samplers``, float64 seconds.

    Raises:
        GltfError: there are none, or they do not ascend.
    """
    times = document.accessor(entry["input"])[:, 0].astype(np.float64)
    if len(times) == 0 or not np.isfinite(times).all() or bool((np.diff(times) <= 0).any()):
        raise GltfError(f"{document.path}: the key times of an animation do not ascend")
    return times
