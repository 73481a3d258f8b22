"""Evaluate glTF animation samplers.

Source: Khronos, glTF 2.0 specification, section 3.11 and appendix C (interpolation modes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from v2m4.io._gltf_container import Document, GltfError
from v2m4.rotation import slerp, unit_quaternion

INTERPOLATIONS = ("LINEAR", "STEP", "CUBICSPLINE")
COMPONENTS_OF = {"translation": 3, "rotation": 4, "scale": 3}  # "weights" has one number per morph target


@dataclass(frozen=True)
class Sampler:
    """A curve through keys, constant before the first and after the last.

    Attributes:
        times: (K,) float64 seconds, not descending.
        values: (K, 3, C) float64: in-tangent, value, out-tangent; the tangents are zero unless the interpolation is
            CUBICSPLINE.
        interpolation: LINEAR, STEP or CUBICSPLINE.
        rotation: the values are quaternions (C = 4): LINEAR is spherical interpolation along the shorter arc, and all
            modes give unit quaternions.
    """

    times: np.ndarray
    values: np.ndarray
    interpolation: str
    rotation: bool

    def at(self, times: np.ndarray) -> np.ndarray:
        """The curve at ``times`` (T,) seconds, (T, C)."""
        last = len(self.times) - 1
        clamped = np.clip(times, self.times[0], self.times[-1])
        before = np.clip(np.searchsorted(self.times, clamped, side="right") - 1, 0, last)
        after = np.minimum(before + 1, last)
        span = self.times[after] - self.times[before]
        fraction = np.where(span > 0, (clamped - self.times[before]) / np.where(span > 0, span, 1.0), 0.0)[:, None]
        first, second = self.values[before, 1], self.values[after, 1]
        if self.interpolation == "STEP":
            result = first
        elif self.interpolation == "CUBICSPLINE":
            out_tangent, in_tangent = span[:, None] * self.values[before, 2], span[:, None] * self.values[after, 0]
            result = hermite(first, out_tangent, second, in_tangent, fraction)
        elif self.rotation:
            return slerp(unit_quaternion(first), unit_quaternion(second), fraction)
        else:
            result = first + fraction * (second - first)
        return unit_quaternion(result) if self.rotation else result


def hermite(
    first: np.ndarray, out_tangent: np.ndarray, second: np.ndarray, in_tangent: np.ndarray, fraction: np.ndarray
) -> np.ndarray:
    """Cubic Hermite interpolation.

    Args:
        first: (T, C) start values.
        out_tangent: (T, C) derivative at ``first`` by ``fraction``.
        second: (T, C) end values.
        in_tangent: (T, C) derivative at ``second`` by ``fraction``.
        fraction: (T, 1) in [0, 1].
    """
    square, cube = fraction**2, fraction**3
    values = (2 * cube - 3 * square + 1) * first + (3 * square - 2 * cube) * second
    return values + (cube - 2 * square + fraction) * out_tangent + (cube - square) * in_tangent


def read_sampler(document: Document, entry: dict[str, Any], path: str, width: int) -> Sampler:
    """Read an entry of ``animation.samplers``.

    Args:
        document: the file.
        entry: of ``animation.samplers``.
        path: what it animates: translation, rotation, scale or weights.
        width: numbers per value.

    Raises:
        GltfError: the keys do not ascend, the values do not go with them, or the interpolation is not known.
    """
    interpolation = entry.get("interpolation", "LINEAR")
    if interpolation not in INTERPOLATIONS:
        raise GltfError(f"{document.path}: unknown interpolation {interpolation!r} of an animation")
    times = key_times(document, entry)
    values = document.accessor(entry["output"]).astype(np.float64)
    values_per_key = 3 if interpolation == "CUBICSPLINE" else 1
    if values.size != len(times) * values_per_key * width:
        raise GltfError(
            f"{document.path}: {path}: {values.size} numbers for {len(times)} keys of an animation, "
            f"expected {values_per_key * width} per key"
        )
    if not np.isfinite(values).all():
        raise GltfError(f"{document.path}: {path}: an animation with values that are no finite numbers")
    keys = np.zeros((len(times), 3, width))
    if values_per_key == 3:
        keys[:] = values.reshape(len(times), 3, width)
    else:
        keys[:, 1] = values.reshape(len(times), width)
    return Sampler(times, keys, interpolation, rotation=path == "rotation")


def key_times(document: Document, entry: dict[str, Any]) -> np.ndarray:
    """The key times (K,) of an entry of ``animation.samplers``, float64 seconds; two keys may share a time (a jump).

    Raises:
        GltfError: there are none, or they descend.
    """
    times = document.accessor(entry["input"])[:, 0].astype(np.float64)
    if len(times) == 0 or not np.isfinite(times).all() or bool((np.diff(times) < 0).any()):
        raise GltfError(f"{document.path}: the key times of an animation do not ascend")
    return times
