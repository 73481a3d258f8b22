"""Read Wavefront OBJ with its materials and pictures as a glTF document.

Objects (``o``) become nodes and materials primitives; groups and smoothing groups are ignored, and so are lines, points
and free-form surfaces. Polygons are cut into triangles. Colours of materials are taken as linear, those of vertices as
sRGB.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._obj_materials import Materials
from v2m4.io._obj_parse import FREE_FORM, WIDTHS, FaceGroup, ObjFile, parse_obj
from v2m4.io._polygon_mesh import smooth_normals
from v2m4.io._polygons import triangulate
from v2m4.io._text_encoding import printable
from v2m4.io._user_mesh_scene import SceneBuilder
from v2m4.io._vertex_values import faces_with_finite_corners, finite_colors, unit_colors
from v2m4.io.mesh_kinds import POINTS, check_content
from v2m4.io.srgb import srgb_to_linear

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Tables:
    """Vertex attributes of the whole file.

    Attributes:
        positions: (V, 3).
        colors: (V, 3) sRGB in [0, 1], NaN for vertices without one; None where no vertex has one.
        uvs: (U, 2), v upwards.
        normals: (N, 3).
    """

    positions: np.ndarray
    colors: np.ndarray | None
    uvs: np.ndarray
    normals: np.ndarray


def read_obj(path: Path) -> Document:
    """Read an OBJ file; what is missing beside it is said in a warning.

    Raises:
        ValueError: the file is broken, of another format, or has no faces.
        OSError: it cannot be read.
    """
    check_content(path, ".obj")
    scene = SceneBuilder(path)
    obj = parse_obj(path, scene)
    tables = _attribute_tables(obj, path)
    parts = list(obj.parts.values())
    rows, faces, owner = _triangles(parts, tables, obj, path)
    corners = [rows[faces[owner == number].reshape(-1)] for number in range(len(parts))]
    kept = [number for number, each in enumerate(corners) if len(each)]
    parts, corners = [parts[number] for number in kept], [corners[number] for number in kept]
    used = {part.material: obj.text.raw(part.material) for part in parts}
    materials = Materials(scene, obj.libraries, used)
    all_corners = np.concatenate(corners)
    tables = replace(tables, positions=scene.centred(tables.positions, all_corners[:, 0]))
    smooth = smooth_normals(tables.positions, all_corners[:, 0].reshape(-1, 3))
    colors = tables.colors
    if colors is not None:
        colors = _colors_of(colors, np.unique(all_corners[:, 0]), path)
    objects: dict[str, list[dict[str, Any]]] = {}
    for part, part_corners, name in zip(parts, corners, _object_names(parts, corners), strict=True):
        textured = np.repeat((part_corners[:, 1].reshape(-1, 3) >= 0).all(1), 3)
        for some, with_uvs in ((part_corners[textured], True), (part_corners[~textured], False)):
            if len(some) == 0:
                continue
            unique, triangles = _unique_rows(some)
            material, has_picture = materials.index(part.material, with_uvs)
            attributes = {
                "POSITION": tables.positions[unique[:, 0]],
                "NORMAL": _unit_normals_or(tables.normals, unique[:, 2], smooth[unique[:, 0]]),
                "TEXCOORD_0": tables.uvs[unique[:, 1]] * (1, -1) + (0, 1) if with_uvs else None,
                "COLOR_0": None if colors is None or has_picture else srgb_to_linear(colors[unique[:, 0]]),
            }
            primitive = scene.primitive(attributes, triangles.reshape(-1, 3), material)
            objects.setdefault(printable(name), []).append(primitive)
    for name, primitives in objects.items():
        scene.object(name, primitives)
    return scene.document()


def _triangles(
    parts: list[FaceGroup], tables: _Tables, obj: ObjFile, path: Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut all faces into triangles; those with a repeated vertex, or one that is no finite number, are left out.

    Returns:
        Indices (C, 3) of position, texture coordinate and normal of all corners, -1 for none; triangles (F, 3) of
        corners; and (F,) the part of each.

    Raises:
        GltfError: there are none, or a face has a vertex that the file has not.
    """
    parsed = [part.corners(path) for part in parts]
    rows = np.concatenate([each for each, _ in parsed]) if parsed else np.zeros((0, 3), np.int64)
    if len(rows) == 0:
        raise GltfError(f"{path}: {_what_without_faces(obj)}")
    for column, table in enumerate((tables.positions, tables.uvs, tables.normals)):
        outside = rows[:, column] >= len(table)
        if column == 0 and outside.any():
            raise GltfError(f"{path}: a face has v {rows[:, 0].max() + 1} of {len(table)}; export the mesh anew")
        if outside.any():
            what = ("texture coordinates", "normals")[column - 1]
            logger.warning("%s: faces have %s that the file has not; they are left out", path, what)
            rows[outside, column] = -1
    sizes = np.concatenate([sizes for _, sizes in parsed])
    faces = triangulate(tables.positions[rows[:, 0]], sizes)
    vertices = rows[faces, 0]
    faces = faces[(vertices != np.roll(vertices, 1, axis=1)).all(1)]
    if len(faces) == 0:
        raise GltfError(f"{path}: no triangle has an area; export the mesh anew")
    faces = faces[faces_with_finite_corners(rows[faces, 0], tables.positions, path)]
    owner = np.repeat(np.arange(len(parts)), [len(each) for each, _ in parsed])
    return rows, faces, owner[faces[:, 0]]


def _what_without_faces(obj: ObjFile) -> str:
    """What an OBJ without faces holds instead, and what to do."""
    if any(obj.others[keyword] for keyword in FREE_FORM):
        return "no faces in the file: free-form curves or surfaces; export polygons"
    if obj.others["l"]:
        return "no faces in the file: lines without a surface; export polygons"
    if obj.numbers["v"]:
        return f"no faces in the file: {POINTS}"
    return "no faces in the file, nor vertices; it is no Wavefront OBJ, or empty"


def _colors_of(colors: np.ndarray, used: np.ndarray, path: Path) -> np.ndarray | None:
    """Colours with white where a vertex has none, and the mean where one is no number; None where no face has any.

    Args:
        colors: (V, 3), or -1 for vertices without one.
        used: the vertices of faces.
        path: named in warnings.
    """
    absent = (colors == -1).all(1)
    if absent[used].all():
        return None
    if absent[used].any():
        logger.warning("%s: %d of %d vertices have no colour; they are white", path, int(absent[used].sum()), len(used))
    result = np.ones_like(colors)
    present = used[~absent[used]]
    result[present] = finite_colors(colors[present], path)
    return result


def _unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unique rows of integers >= -1, and (N,) the unique row of each (faster than ``np.unique`` along an axis)."""
    keys = np.zeros(len(rows), np.int64)
    for column in rows.T:
        keys = np.unique(keys * (column.max() + 2) + column + 1, return_inverse=True)[1]
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], index


def _object_names(parts: list[FaceGroup], corners: list[np.ndarray]) -> list[str]:
    """The object name of each face group; one for all where objects share vertices, since they are connected then."""
    owner: dict[str, np.ndarray] = {}
    for part, rows in zip(parts, corners, strict=True):
        owner[part.name] = np.union1d(owner.get(part.name, np.zeros(0, np.int64)), rows[:, 0])
    every = np.concatenate(list(owner.values()))
    if len(np.unique(every)) == len(every):
        return [part.name for part in parts]
    return [parts[0].name] * len(parts)


def _attribute_tables(obj: ObjFile, path: Path) -> _Tables:
    """The vertex attributes as arrays.

    Raises:
        GltfError: a line has too few numbers.
    """
    table = _attribute_table(obj.numbers["v"], "v", path)
    colors = _vertex_colors(table)
    if colors is None and obj.polypaint:
        digits = "".join("".join(obj.polypaint).split())
        values = re.findall(r"[0-9a-fA-F]{2}([0-9a-fA-F]{6})", digits)[: len(table)]
        colors = np.full((len(table), 3), -1.0)
        colors[: len(values)] = np.frombuffer(bytes.fromhex("".join(values)), np.uint8).reshape(-1, 3) / 255
    uvs = np.nan_to_num(_attribute_table(obj.numbers["vt"], "vt", path), posinf=0.0, neginf=0.0)
    return _Tables(table[:, :3], colors, uvs, _attribute_table(obj.numbers["vn"], "vn", path))


def _attribute_table(rows: list[list[float]], keyword: str, path: Path) -> np.ndarray:
    """Attribute rows as an array (N, W), W of the longest row; what a row has not is -inf, 0 for ``vt``."""
    min_numbers, max_numbers = WIDTHS[keyword]
    if not rows:
        return np.zeros((0, max_numbers if keyword == "vt" else min_numbers))
    widths = np.array([len(row) for row in rows])
    if widths.min() < min_numbers:
        raise GltfError(f"{path}: broken OBJ: a {keyword} line with {widths.min()} numbers")
    width = max_numbers if keyword == "vt" else min(int(widths.max()), max_numbers)
    if widths.min() == widths.max() >= width:
        return np.array(rows)[:, :width]
    table = np.full((len(rows), width), 0.0 if keyword == "vt" else -np.inf)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row[:width]
    return table


def _vertex_colors(table: np.ndarray) -> np.ndarray | None:
    """Colours (V, 3) in [0, 1] after the positions, -1 for vertices without one; None where no vertex has one.

    After x, y, z come r, g, b or r, g, b, alpha, or before the colour a weight w, which is 1 throughout.
    """
    width = table.shape[1]
    if width < 6:
        return None
    present = table[:, 5] != -np.inf
    start = 3
    weights, last = table[present, 3], table[present, -1]
    if width == 8 or (width == 7 and bool((weights == 1).all()) and last.min() < last.max()):
        start = 4
    colors = np.full((len(table), 3), -1.0)
    colors[present] = unit_colors(table[present, start : start + 3])
    return colors


def _unit_normals_or(normals: np.ndarray, index: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Normals (N, 3) at an index (R,) scaled to unit length; the fallback (R, 3) for index -1 or no finite length."""
    if len(normals) == 0:
        return fallback
    chosen = normals[np.maximum(index, 0)]
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(chosen, axis=1, keepdims=True)
        usable = (length > 1e-6) & np.isfinite(length) & (index >= 0)[:, None]
        return np.where(usable, chosen / np.where(usable, length, 1.0), fallback)
