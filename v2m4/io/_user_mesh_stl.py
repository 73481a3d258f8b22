"""Parse STL files, ASCII and binary."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import GltfError
from v2m4.io._polygon_mesh import PolygonMesh
from v2m4.io._text_encoding import decode_text

logger = logging.getLogger(__name__)

HEADER, FACET = 84, 50  # bytes: the header with the count, and each triangle
IMPLAUSIBLE = 1e12  # a coordinate of a file whose length is not that of its triangles: it is no STL
VERTEX = re.compile(r"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)


def parse_stl(data: bytes, path: Path) -> PolygonMesh:
    """Parse an STL's triangles, equal corners merged; normals and colours are left out.

    A binary file may begin with ``solid`` too, and its count of triangles may be wrong: then its length counts.

    Raises:
        GltfError: it is no STL, or has no triangles.
        ValueError: a number is malformed.
    """
    count = int.from_bytes(data[80:84], "little")
    exact = len(data) == HEADER + FACET * count
    text = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n\xff\xfe\0")
    is_text = text[:5].lower() == b"solid" and (b"facet" in text.lower().replace(b"\0", b"") or b"\0" not in data)
    ascii_file = is_text and not (exact and count)
    points = _ascii_points(data, path) if ascii_file else _binary_points(data, count, path)
    if len(points) == 0:
        raise GltfError(f"{path}: no triangles in the STL; export the mesh anew")
    vertices, index = np.unique(points.reshape(-1, 3) + 0.0, axis=0, return_inverse=True)
    return PolygonMesh(vertices, index.reshape(-1).astype(np.int64), np.full(len(points), 3), flat=True)


def _binary_points(data: bytes, count: int, path: Path) -> np.ndarray:
    """Corners (F, 3, 3) of a binary STL."""
    whole = (len(data) - HEADER) // FACET
    if whole < 1:
        raise GltfError(f"{path}: no STL, or cut off: {len(data)} bytes without a whole triangle")
    if (len(data) - HEADER) % FACET and 0 < count < whole:  # what follows the triangles is none
        whole = count
    rows = np.frombuffer(data, np.uint8, whole * FACET, HEADER).reshape(whole, FACET)
    points = np.ascontiguousarray(rows[:, 12:48]).view("<f4").reshape(whole, 3, 3).astype(np.float64)
    if whole != count:
        if not np.nanmax(np.abs(points), initial=0) < IMPLAUSIBLE:
            raise GltfError(f"{path}: no STL: it says {count} triangles, and holds no coordinates")
        logger.warning("%s: the STL says %d triangles and holds %d, which are read", path, count, whole)
    return points


def _ascii_points(data: bytes, path: Path) -> np.ndarray:
    """Corners (F, 3, 3) of an ASCII STL."""
    numbers = np.array(VERTEX.findall(decode_text(data).text), np.float64).reshape(-1, 3)
    whole = len(numbers) // 3
    if len(numbers) % 3:
        logger.warning("%s: the STL is cut off in a triangle; %d whole ones are read", path, whole)
    return numbers[: 3 * whole].reshape(whole, 3, 3)
