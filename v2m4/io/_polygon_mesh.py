"""A mesh of polygons as PLY, OFF and STL hold it, and the glTF document that it becomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._gltf_quantize import unit_normals
from v2m4.io._polygons import triangulate
from v2m4.io._text_encoding import printable
from v2m4.io._user_mesh_mtl import default_material
from v2m4.io._user_mesh_scene import SceneBuilder
from v2m4.io._vertex_values import faces_with_finite_corners, finite_colors
from v2m4.io.mesh_kinds import POINTS
from v2m4.io.srgb import srgb_to_linear

NORMALS_SIZE = 1e4  # size of the mesh when normals are computed, so that areas of small triangles are no float32 zero


@dataclass(frozen=True)
class PolygonMesh:
    """Polygons over shared vertices.

    Attributes:
        positions: (V, 3).
        corners: (C,) int64 vertices of all polygons, one polygon after the other.
        sizes: (P,) int64 corners of each polygon.
        colors: (V, 3) sRGB in [0, 1], NaN where no number, or None.
        face_colors: (P, 3) likewise, which take precedence.
        uvs: (V, 2) texture coordinates, v upwards, or None.
        corner_uvs: (C, 2) likewise, which take precedence.
        texture_numbers: (P,) int64 index of each polygon's texture; None for the first.
        textures: names of the textures' files, as the mesh has them.
        flat: the faces have no common normals at their vertices.
    """

    positions: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray
    colors: np.ndarray | None = None
    face_colors: np.ndarray | None = None
    uvs: np.ndarray | None = None
    corner_uvs: np.ndarray | None = None
    texture_numbers: np.ndarray | None = None
    textures: Sequence[str] = ()
    flat: bool = False


@contextmanager
def broken_as_one_line(path: Path, kind: str) -> Iterator[None]:
    """Turn the errors that a malformed file causes in our code into one GltfError that names the file."""
    try:
        yield
    except GltfError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        what = " ".join(str(error).split())
        raise GltfError(f"{path}: broken {kind} ({type(error).__name__}: {what}); export the mesh anew") from error


def to_document(mesh: PolygonMesh, path: Path) -> Document:
    """The mesh as a glTF document of one object, each texture a primitive.

    Raises:
        GltfError: there are no faces, or one has a vertex that the file has not.
    """
    if len(mesh.corners) == 0:
        raise GltfError(f"{path}: {POINTS if len(mesh.positions) else 'no faces in the file, nor vertices'}")
    if mesh.corners.min() < 0 or mesh.corners.max() >= len(mesh.positions):
        wrong = mesh.corners[(mesh.corners < 0) | (mesh.corners >= len(mesh.positions))][0]
        raise GltfError(f"{path}: a face has vertex {wrong} of {len(mesh.positions)}; export the mesh anew")
    faces = triangulate(mesh.positions[mesh.corners], mesh.sizes)  # of corners
    vertices = mesh.corners[faces]
    faces = faces[(vertices != np.roll(vertices, 1, axis=1)).all(1)]
    if len(faces) == 0:
        raise GltfError(f"{path}: no triangle has an area; export the mesh anew")
    faces = faces[faces_with_finite_corners(mesh.corners[faces], mesh.positions, path)]
    polygon = np.repeat(np.arange(len(mesh.sizes)), mesh.sizes)[faces[:, 0]]
    scene = SceneBuilder(path)
    positions = scene.centred(mesh.positions, mesh.corners[faces])
    normals = None if mesh.flat else smooth_normals(positions, mesh.corners[faces])
    uvs = mesh.corner_uvs if mesh.corner_uvs is not None or mesh.uvs is None else mesh.uvs[mesh.corners]
    colors = _corner_colors(mesh, np.unique(faces), path)
    numbers = np.zeros(len(faces), np.int64) if mesh.texture_numbers is None else mesh.texture_numbers[polygon]
    primitives = []
    for number in np.unique(numbers):
        texture = None
        if uvs is not None and 0 <= number < len(mesh.textures):
            texture = scene.texture(mesh.textures[number])
        material = default_material(path.stem)
        if texture is not None:
            material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": texture}
        used = faces[numbers == number]
        rows = {"vertex": mesh.corners.astype(np.float64)[:, None], "uv": uvs, "color": colors}
        table = np.concatenate([values for values in rows.values() if values is not None], 1)[used.reshape(-1)]
        first, index = _unique(table)
        corner = used.reshape(-1)[first]
        attributes = {
            "POSITION": positions[mesh.corners[corner]],
            "NORMAL": None if normals is None else normals[mesh.corners[corner]],
            "TEXCOORD_0": None if uvs is None else np.nan_to_num(uvs[corner]) * (1, -1) + (0, 1),
            "COLOR_0": None if colors is None or texture is not None else srgb_to_linear(colors[corner]),
        }
        primitives.append(scene.primitive(attributes, index.reshape(-1, 3), scene.material(material)))
    scene.object(printable(path.stem), primitives)
    return scene.document()


def _corner_colors(mesh: PolygonMesh, used: np.ndarray, path: Path) -> np.ndarray | None:
    """Colours (C, 3) of corners, those of ``used`` finite; None where the mesh has no colours."""
    if mesh.face_colors is not None:
        colors = np.repeat(mesh.face_colors, mesh.sizes, 0)
        colors[used] = finite_colors(colors[used], path)
        return colors
    if mesh.colors is None:
        return None
    colors, vertices = mesh.colors.astype(np.float64), np.unique(mesh.corners[used])
    colors[vertices] = finite_colors(colors[vertices], path)
    return colors[mesh.corners]


def _unique(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each group of equal rows, groups ordered by value, and (N,) the group of each row."""
    keys = np.unique(table[:, 0], return_inverse=True)[1]
    for column in table.T[1:]:
        values = np.unique(np.nan_to_num(column) + 0.0, return_inverse=True)[1]
        keys = np.unique(keys * (values.max() + 1) + values, return_inverse=True)[1]
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    return first, index


def smooth_normals(positions: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3) of vertices, as precise for tiny meshes and far from the origin as elsewhere.

    Args:
        positions: (V, 3) float64; only those of faces need be finite.
        faces: (F, 3).
    """
    used = positions[faces.reshape(-1)]
    centre, size = used.mean(0), float(np.ptp(used, axis=0).max())
    with np.errstate(over="ignore"):  # of vertices without a face
        scaled = ((positions - centre) * (NORMALS_SIZE / max(size, 1e-300))).astype(np.float32)
    return unit_normals(scaled, torch.from_numpy(faces))


def solid_rows(rows: list[list[Any]], width: int) -> np.ndarray:
    """The first ``width`` numbers of each row as (N, width) float64.

    Raises:
        ValueError: one is no number, or a row is too short.
    """
    return np.array([row[:width] for row in rows], np.float64).reshape(-1, width)
