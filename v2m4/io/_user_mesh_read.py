"""A user's scene as one surface that hangs together, and how its file's vertices follow that surface."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._gltf_deform import Deformer, read_deformer
from v2m4.io._gltf_nodes import local_matrix, scene_nodes, trs_matrix, world_matrices
from v2m4.io._gltf_read import Part, merged, read_part, triangle_primitives
from v2m4.io._user_mesh_weld import joined_at_borders, same_place, welded_by
from v2m4.io.srgb import linear_to_srgb
from v2m4.mesh import Mesh
from v2m4.rotation import quaternion_from_matrix
from v2m4.similarity_transform import umeyama

logger = logging.getLogger(__name__)

LARGEST_PICTURE, LARGEST_SHEET = 2048, 4096  # texels along a side of what the working mesh shows
TILE = 4  # texels of a plain colour, along each axis


@dataclass(frozen=True)
class Rows:
    """Vertex accessors that one or more primitives of a node share.

    Attributes:
        primitives: their numbers in the mesh.
        vertex: (R,) int64, the piece's vertex that each row repeats; -1 where no face uses the row.
        normals: (R, 3) as stored, or None.
        tangents: (R, 3) as stored, or None.
    """

    primitives: list[int]
    vertex: np.ndarray
    normals: np.ndarray | None
    tangents: np.ndarray | None


@dataclass(frozen=True)
class Piece:
    """A node that shows a mesh, welded.

    Attributes:
        node: its number in the file.
        placement: (translation, rotation as a quaternion, scale) that put it into the world in what is written, where
            it does not stay under its parent: a skin's mesh does not follow its node.
        matrix: (4, 4) float64, from its own space to the world, in what is written.
        base: (N, 3) float64 positions as stored.
        rest: (N, 3) float64 positions at rest, in its own space: other than ``base`` where a skin or morph targets act.
        faces: (M, 3) int64.
        vertex: (N,) int64, the working mesh's vertex that each is.
        rows: of all its primitives that are surfaces.
    """

    node: int
    placement: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    matrix: np.ndarray
    base: np.ndarray
    rest: np.ndarray
    faces: np.ndarray
    vertex: np.ndarray
    rows: list[Rows]


@dataclass(frozen=True)
class _Shown:
    """A node with a mesh, before it is joined to others: its parts one after the other.

    Attributes:
        labels: (R,) int64, numbers of the places of all rows that faces use.
        keys: what tells sets of rows apart, for each part.
        numbers: of the primitives in the mesh.
        used: which of the stored rows the part's are.
        counts: how many rows are stored.
    """

    node: int
    deformer: Deformer
    parts: list[Part]
    base: np.ndarray
    world: np.ndarray
    labels: np.ndarray
    keys: list[Any]
    numbers: list[int]
    used: list[np.ndarray]
    counts: list[int]
    mirrored: bool


def read_pieces(document: Document) -> tuple[Mesh, list[Piece]]:
    """The default scene at rest, as a viewer shows it before anything plays.

    Vertices at the same place of one node's mesh become one, whatever primitive (material) they belong to. Meshes of
    different nodes are joined where the border of one runs along the border of the other, edge by edge: there an
    exporter has cut one surface by its materials. Parts that only touch stay apart.

    Returns:
        The working mesh, in the world, and the pieces in the order of the scene.

    Raises:
        GltfError: the file is broken, has no triangles, or uses what we do not read.
    """
    nodes, parents = document.items("nodes"), scene_nodes(document)
    world = world_matrices(parents, {index: local_matrix(nodes[index]) for index in parents})
    shown = [item for index in parents if (item := _shown(document, index, world)) is not None]
    parts = [part for item in shown for part in item.parts]
    pictures = {part.picture for part in parts if part.picture is not None}
    mesh = merged(document, parts, min(LARGEST_PICTURE, LARGEST_SHEET // math.ceil(math.sqrt(max(len(pictures), 1)))))
    starts = np.cumsum([0] + [len(np.unique(item.labels)) for item in shown])
    labels = np.concatenate([item.labels + start for item, start in zip(shown, starts[:-1], strict=True)])
    labels = joined_at_borders(mesh, labels, starts)
    working, vertex = welded_by(_colored(mesh, shown, labels), labels)
    if len(working.faces) == 0:
        raise GltfError(f"{document.path}: no triangle has an area")
    pieces, row = [], 0
    for item in shown:
        mine = vertex[row : row + len(item.labels)]
        row += len(item.labels)
        if (mine >= 0).any():
            pieces.append(_piece(document, item, mine, world[item.node]))
    return working, pieces


def _shown(document: Document, index: int, world: dict[int, np.ndarray]) -> _Shown | None:
    """The mesh of a node; None where there is none to be seen."""
    node = document.items("nodes")[index]
    if "mesh" not in node:
        return None
    if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
        raise GltfError(f"{document.path}: uses EXT_mesh_gpu_instancing; export the instances as nodes")
    mesh = document.items("meshes")[node["mesh"]]
    name = node.get("name", mesh.get("name", index))
    if "skin" not in node and np.linalg.matrix_rank(world[index][:3, :3], 1e-9) < 3:
        logger.warning("%s: node %r is scaled to nothing; it stays as it is", document.path, name)
        return None
    parts, bases, keys, numbers, used, counts = [], [], [], [], [], []
    deformer, mirrored = None, False
    for primitive in triangle_primitives(document, mesh):
        part = read_part(document, primitive)
        rows = np.unique(part.faces)
        if len(rows) == 0:
            continue
        active, weights = _active_targets(document, node, primitive)
        deformer = read_deformer(document, index, active, part.vertices, world)
        mirrored = deformer.mirrored(world)
        bases.append(part.vertices[rows])
        counts.append(len(part.vertices))
        parts.append(_picked(part, rows).placed(deformer.poses(world, weights)[0, rows], mirrored))
        if not np.isfinite(parts[-1].vertices).all():
            raise GltfError(f"{document.path}: mesh {name!r} has vertices that are no finite numbers")
        keys.append(_accessors(primitive))
        numbers.append(next(number for number, each in enumerate(mesh["primitives"]) if each is primitive))
        used.append(rows)
    if deformer is None:
        return None
    base, placed = np.concatenate(bases), np.concatenate([part.vertices for part in parts])
    labels = same_place(base, placed)
    return _Shown(index, deformer, parts, base, placed, labels, keys, numbers, used, counts, mirrored)


def _active_targets(
    document: Document, node: dict[str, Any], primitive: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray]:
    """The primitive with only those morph targets that act at rest, and their weights (1, M)."""
    targets = primitive.get("targets", [])
    stored = node.get("weights", document.items("meshes")[node["mesh"]].get("weights", [0.0] * len(targets)))
    if len(stored) != len(targets):
        raise GltfError(f"{document.path}: {len(stored)} weights for {len(targets)} morph targets")
    active = [number for number, weight in enumerate(stored) if weight != 0]
    kept = primitive | {"targets": [targets[number] for number in active]}
    return kept, np.array([[stored[number] for number in active]], dtype=np.float64)


def _accessors(primitive: dict[str, Any]) -> Any:
    """What tells whether two primitives of a node have the same vertices."""
    names = ("POSITION", "NORMAL", "TANGENT", "JOINTS_", "WEIGHTS_")
    attributes = [(name, index) for name, index in sorted(primitive["attributes"].items()) if name.startswith(names)]
    targets = [target.get("POSITION") for target in primitive.get("targets", [])]
    return (*attributes, *targets)


def _picked(part: Part, rows: np.ndarray) -> Part:
    """A part with only those of its vertices that faces use."""
    return replace(
        part,
        vertices=part.vertices[rows],
        faces=np.searchsorted(rows, part.faces),
        colors=None if part.colors is None else part.colors[rows],
        uvs=None if part.uvs is None else part.uvs[rows],
    )


def _colored(mesh: Mesh, shown: list[_Shown], labels: np.ndarray) -> Mesh:
    """The unwelded mesh with colours that welding keeps.

    Where vertices of different colours become one, plain colours become a texture of one tile each, so that their
    borders stay sharp, and other colours are averaged.
    """
    if mesh.texture is not None:
        return mesh
    if mesh.colors is None:
        return replace(mesh, colors=torch.ones_like(mesh.vertices))
    colors = mesh.colors.numpy()
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    if np.array_equal(colors, colors[first[index]]):
        return mesh
    parts = [part for item in shown for part in item.parts]
    if all(part.colors is None or np.ptp(part.colors, axis=0).max() == 0 for part in parts):
        plain = np.array([(1, 1, 1) if part.colors is None else part.colors[0] for part in parts])
        tiles, which = np.unique(linear_to_srgb(plain), axis=0, return_inverse=True)
        texture = np.broadcast_to(np.repeat(tiles, TILE, 0), (TILE, TILE * len(tiles), 3))
        uvs = np.stack([(np.arange(len(tiles)) + 0.5) / len(tiles), np.full(len(tiles), 0.5)], 1)
        corner = np.repeat(which.reshape(-1), [len(part.faces) for part in parts])
        return replace(
            mesh,
            colors=None,
            uvs=torch.from_numpy(uvs.astype(np.float32)),
            uv_faces=torch.from_numpy(np.repeat(corner[:, None], 3, 1)),
            texture=torch.from_numpy(np.ascontiguousarray(texture, dtype=np.float32)),
        )
    mean = np.stack([np.bincount(index, column) for column in colors.T], 1) / np.bincount(index)[:, None]
    return replace(mesh, colors=torch.from_numpy(mean[index].astype(np.float32)))


def _piece(document: Document, item: _Shown, vertex: np.ndarray, matrix: np.ndarray) -> Piece:
    """The piece of a node, from the working vertex (R,) of each of its rows."""
    moving = vertex >= 0
    _, first, index = np.unique(item.labels[moving], return_index=True, return_inverse=True)
    own = np.full(len(vertex), -1)
    own[moving] = index
    first = np.flatnonzero(moving)[first]
    base, world = item.base[first], item.world[first]
    placement = None
    if item.deformer.skin is not None:
        placement = _similarity(base, world, item.mirrored)
        matrix = trs_matrix(*placement)
    if item.deformer.skin is None and len(item.deformer.targets) == 0:
        rest = base
    else:
        rest = (world - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    starts = np.cumsum([0] + [len(part.vertices) for part in item.parts])
    faces = np.concatenate([own[part.faces + start] for part, start in zip(item.parts, starts[:-1], strict=True)])
    whole = (faces >= 0).all(1) & (np.diff(np.sort(faces, 1), axis=1) > 0).all(1)
    mesh = document.items("meshes")[document.items("nodes")[item.node]["mesh"]]
    rows = []
    for key in dict.fromkeys(item.keys):
        members = [number for number, each in enumerate(item.keys) if each == key]
        shared = np.full(item.counts[members[0]], -1)
        for number in members:
            shared[item.used[number]] = own[starts[number] : starts[number + 1]]
        attributes = mesh["primitives"][item.numbers[members[0]]]["attributes"]
        stored = [
            document.accessor(attributes[name])[:, :3].astype(np.float64) if name in attributes else None
            for name in ("NORMAL", "TANGENT")
        ]
        if any(values is not None and len(values) != len(shared) for values in stored):
            raise GltfError(f"{document.path}: normals or tangents that are not one for each vertex")
        rows.append(Rows([item.numbers[number] for number in members], shared, *stored))
    return Piece(item.node, placement, matrix, base, rest, faces[whole], vertex[first], rows)


def _similarity(source: np.ndarray, target: np.ndarray, mirrored: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translation, rotation (quaternion) and uniform scale that bring points (N, 3) nearest to others.

    The scale is negative where the map is ``mirrored``, and 1 in size where one side is a single point.
    """
    one = min(np.ptp(source, axis=0).max(), np.ptp(target, axis=0).max()) == 0
    mirror = -1.0 if mirrored else 1.0
    found = umeyama(mirror * source, target, scale=1.0 if one else None)
    return found.translation, quaternion_from_matrix(found.rotation), np.full(3, mirror * found.scale)
