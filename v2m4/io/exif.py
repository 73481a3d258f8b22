"""Field of view from a picture's EXIF data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from v2m4.io.picture import opened_picture

DIAGONAL_35MM = math.hypot(36, 24)  # millimetres
UNITS = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # FocalPlaneResolutionUnit: inch, centimetre, millimetre, micrometre
TURNED = (5, 6, 7, 8)  # orientations that swap the picture's rows and columns

# Tags, EXIF 3.0 (CIPA DC-008).
ORIENTATION, EXIF_IFD = 0x0112, 0x8769
FOCAL_LENGTH, FOCAL_LENGTH_35MM = 0x920A, 0xA405
PIXEL_SIZE = (0xA002, 0xA003)  # PixelXDimension, PixelYDimension
PLANE_RESOLUTION, PLANE_UNIT = (0xA20E, 0xA20F), 0xA210  # FocalPlaneXResolution, FocalPlaneYResolution


def vertical_fov(file: Path) -> float | None:
    """Vertical field of view of a picture in upright orientation, degrees; None if its EXIF data do not determine it.

    FocalLengthIn35mmFilm is the focal length of the same diagonal field of view on 36 x 24 mm film (CIPA DCG-001).
    Where it is absent, FocalLength and the density of pixels on the sensor (FocalPlane*Resolution) are used. A later
    crop of the picture cannot be detected.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    with opened_picture(file) as picture:
        stored, size = picture.getexif(), picture.size
        exif = stored.get_ifd(EXIF_IFD)
    vertical = 0 if stored.get(ORIENTATION) in TURNED else 1  # index of the stored side that is vertical when upright
    rows = size[vertical]
    equivalent = _positive(exif.get(FOCAL_LENGTH_35MM))
    if equivalent is not None:
        return _angle(DIAGONAL_35MM * rows / math.hypot(*size), equivalent)
    focal, density = _positive(exif.get(FOCAL_LENGTH)), _positive(exif.get(PLANE_RESOLUTION[vertical]))
    if focal is None or density is None:
        return None
    unit = UNITS.get(exif.get(PLANE_UNIT, 2), UNITS[2])
    taken = _positive(exif.get(PIXEL_SIZE[vertical])) or rows  # differs from rows where the picture was downsampled
    return _angle(taken / density * unit, focal)


def orientation(file: Path) -> tuple[int, tuple[int, int]]:
    """EXIF orientation of a picture (1 where it has none), and the width and height that it is stored with.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    with opened_picture(file) as picture:
        return int(picture.getexif().get(ORIENTATION) or 1), picture.size


def _angle(side: float, focal: float) -> float:
    """Field of view in degrees of a sensor side and a focal length, both in millimetres."""
    return math.degrees(2 * math.atan(side / (2 * focal)))


def _positive(value: Any) -> float | None:
    """Positive number from EXIF data; None where it is absent or unknown (0, or n / 0)."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
