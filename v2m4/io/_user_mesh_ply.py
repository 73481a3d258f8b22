"""Read PLY, OFF and STL as a glTF document."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._ply_parse import ListColumn, PlyElement, parse_ply
from v2m4.io._polygon_mesh import PolygonMesh, broken_as_one_line, to_document
from v2m4.io._user_mesh_off import parse_off
from v2m4.io._user_mesh_scene import SceneBuilder
from v2m4.io._user_mesh_stl import parse_stl
from v2m4.io._vertex_values import unit_colors
from v2m4.io.mesh_kinds import check_content

COLOR_NAMES = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
UV_NAMES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"), ("tx", "ty"), ("s0", "t0"))
INDEX_NAMES = ("vertex_indices", "vertex_index")
TEXTURE = re.compile(r"texture(?:file)?\s*:?\s+(\S.*)", re.IGNORECASE)


def read_ply_off_stl(path: Path) -> Document:
    """Read a PLY, OFF or STL file.

    Raises:
        ValueError: the file is broken, of another format, or has no faces; points and Gaussian splats are named.
        OSError: it cannot be read.
    """
    check_content(path)
    data, suffix = path.read_bytes(), path.suffix.lower()
    parse = {".ply": parse_polygons_of_ply, ".off": parse_off, ".stl": parse_stl}[suffix]
    with broken_as_one_line(path, suffix[1:].upper()):
        return to_document(parse(data, path), path)


def parse_polygons_of_ply(data: bytes, path: Path) -> PolygonMesh:
    """Parse a PLY's polygons and triangle strips, colours, texture coordinates and names of textures.

    Raises:
        GltfError: it is no PLY, or cut off.
        ValueError: a number is malformed.
    """
    scene = SceneBuilder(path)
    comments, elements = parse_ply(data, path, lambda text: any(map(scene.find, _textures(text.splitlines()))))
    if elements.get("vertex", PlyElement(0)).count == 0:
        raise GltfError(f"{path}: a PLY without vertices; export the mesh anew")
    vertex, face = elements["vertex"], elements.get("face", PlyElement(0))
    positions = np.stack([vertex.columns[axis].astype(np.float64) for axis in ("x", "y", "z")], 1)
    indices = next((face.lists[name] for name in INDEX_NAMES if name in face.lists), None)
    if indices is None:
        indices = next((each for each in face.lists.values() if each.values.dtype.kind in "iu"), None)
    strips = elements.get("tristrips", PlyElement(0)).lists
    if indices is None or (len(indices.values) == 0 and strips):
        corners = _strip_triangles(next(iter(strips.values()))) if strips else np.zeros(0, np.int64)
        indices, face = ListColumn(corners, np.full(len(corners) // 3, 3)), PlyElement(0)
    numbers = face.columns.get("texnumber")
    return PolygonMesh(
        positions,
        indices.values.astype(np.int64),
        indices.counts.astype(np.int64),
        _columns(vertex, COLOR_NAMES, color=True),
        _columns(face, COLOR_NAMES, color=True),
        _columns(vertex, UV_NAMES, color=False),
        _corner_uvs(face, indices),
        None if numbers is None else numbers.astype(np.int64),
        _textures([f"comment {each}" for each in comments]),
    )


def _textures(lines: list[str]) -> list[str]:
    """The names of pictures in lines such as ``comment TextureFile skin.png``."""
    matches = (TEXTURE.fullmatch(line.strip().removeprefix("comment").strip()) for line in lines)
    return [match[1] for match in matches if match is not None]


def _columns(element: PlyElement, names: tuple[tuple[str, ...], ...], color: bool) -> np.ndarray | None:
    """The columns (R, N) of the first names that an element has, colours in [0, 1]; None where it has none."""
    chosen = next((each for each in names if all(name in element.columns for name in each)), None)
    if chosen is None:
        return None
    table = np.stack([element.columns[name] for name in chosen], 1)
    return unit_colors(table) if color else table.astype(np.float64)


def _corner_uvs(face: PlyElement, indices: ListColumn) -> np.ndarray | None:
    """Texture coordinates (C, 2) of corners, 0 for faces without any; None where no face has any."""
    listed = face.lists.get("texcoord")
    if listed is None or len(listed.values) == 0:
        return None
    whole = listed.counts == 2 * indices.counts
    uvs = np.zeros((len(indices.values), 2))
    uvs[np.repeat(whole, indices.counts)] = listed.values[np.repeat(whole, listed.counts)].reshape(-1, 2)
    return uvs


def _strip_triangles(strips: ListColumn) -> np.ndarray:
    """The corners (3 F,) of the triangles of strips, in which -1 begins a new strip."""
    values = strips.values.astype(np.int64)
    if len(values) < 3:
        return np.zeros(0, np.int64)
    starts = np.zeros(len(values), bool)
    starts[np.cumsum(strips.counts)[:-1][strips.counts[1:] > 0]] = True
    starts[0] = True
    starts[1:] |= values[:-1] < 0
    place = np.arange(len(values))
    first = np.maximum.accumulate(np.where(starts, place, 0))
    begin = place[:-2]
    whole = (first[2:] <= begin) & (values[:-2] >= 0) & (values[1:-1] >= 0) & (values[2:] >= 0)
    begin = begin[whole]
    odd = (begin - first[begin]) % 2 == 1  # every second triangle of a strip has the opposite orientation
    order = np.stack([begin, np.where(odd, begin + 2, begin + 1), np.where(odd, begin + 1, begin + 2)], 1)
    return values[order].reshape(-1)
