"""Parse OFF files (Geomview's Object File Format): COFF, NOFF, STOFF and 4OFF too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import GltfError
from v2m4.io._polygon_mesh import PolygonMesh, solid_rows
from v2m4.io._text_encoding import decode_text, split_lines
from v2m4.io._vertex_values import unit_colors

HEADER = re.compile(r"(ST)?(C)?(N)?(4)?OFF(?![A-Za-z])", re.IGNORECASE)


def parse_off(data: bytes, path: Path) -> PolygonMesh:
    """Parse an OFF's polygons with the colours of vertices or faces.

    Raises:
        GltfError: it is no OFF, binary, of another dimension, or cut off.
        ValueError: a number is malformed.
    """
    lines = [line.partition("#")[0].strip() for line in split_lines(decode_text(data).text)]
    lines = [line for line in lines if line]
    if lines and re.match(r"4?nOFF\b", lines[0]):
        raise GltfError(f"{path}: an OFF of another dimension than 3; export it as PLY")
    match = HEADER.match(lines[0]) if lines else None
    textured, colored, with_normals, homogeneous = match.groups() if match else [None] * 4
    if match is not None:
        lines[0] = lines[0][match.end() :].strip()
        if "BINARY" in lines[0].upper():
            raise GltfError(f"{path}: a binary OFF; export it as ASCII, or as PLY")
        lines = lines if lines[0] else lines[1:]
    counts = lines[0].split()[:3] if lines else []
    if len(counts) < 2 or not all(word.isdigit() for word in counts):
        raise GltfError(f"{path}: no OFF file: its counts of vertices and faces are missing")
    vertex_count, face_count = int(counts[0]), int(counts[1])
    if vertex_count + face_count > len(lines) - 1:
        raise GltfError(
            f"{path}: the OFF is cut off: {len(lines) - 1} of {vertex_count + face_count} lines of vertices and faces"
        )
    vertices = [line.split() for line in lines[1 : 1 + vertex_count]]
    faces = [line.split() for line in lines[1 + vertex_count : 1 + vertex_count + face_count]]
    width = min((len(row) for row in vertices), default=0)
    table = solid_rows(vertices, width)
    start = 4 if homogeneous else 3
    if width < start:
        raise ValueError(f"a vertex of {width} numbers")
    positions = table[:, :3] / table[:, 3:4] if homogeneous else table[:, :3]
    start += 3 if with_normals else 0
    end = width - (2 if textured else 0)
    colors = unit_colors(table[:, start : start + 3]) if end - start >= 3 and (colored or not with_normals) else None
    sizes = np.array([int(row[0]) for row in faces], np.int64)
    if any(len(row) <= size for row, size in zip(faces, sizes, strict=True)):
        raise ValueError("a face with fewer vertices than it says")
    corners = [word for row, size in zip(faces, sizes, strict=True) for word in row[1 : 1 + size]]
    return PolygonMesh(
        positions,
        np.array(corners, np.int64),
        sizes,
        colors,
        _face_colors([row[1 + size :] for row, size in zip(faces, sizes, strict=True)]) if colors is None else None,
        table[:, end:] if textured else None,
    )


def _face_colors(rows: list[list[str]]) -> np.ndarray | None:
    """Colours (P, 3) of faces from what follows their vertices, white for none; None where no face has any.

    A single number is an index into a colour map that the file does not hold.
    """
    present = np.array([len(row) >= 3 for row in rows], bool)
    if not present.any():
        return None
    colors = np.ones((len(rows), 3))
    colors[present] = unit_colors(solid_rows([row for row in rows if len(row) >= 3], 3))
    return colors
