"""Read a user's glTF scene as one welded working mesh, and the map from the file's vertices to its vertices."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from v2m4.io._far_origin import far_origin
from v2m4.io._gltf_container import Document, GltfError
from v2m4.io._gltf_deform import Deformer, read_deformer
from v2m4.io._gltf_nodes import all_nodes, local_matrix, scene_nodes, trs_matrix, world_matrices
from v2m4.io._gltf_primitive import PrimitiveMesh, read_primitive, triangle_primitives
from v2m4.io._gltf_read import merge_primitives
from v2m4.io._user_mesh_weld import coincident_labels, weld_by_label, weld_node_borders
from v2m4.io.srgb import linear_to_srgb
from v2m4.mesh import Mesh
from v2m4.rotation import quaternion_from_matrix
from v2m4.similarity_transform import umeyama

logger = logging.getLogger(__name__)

MAX_TEXTURE_SIDE, MAX_ATLAS_SIDE = 2048, 4096  # texels, of the working mesh's texture
MIN_WIDTH = 2e-6  # of a face, relative to its longest edge: less is rounding of float32 positions
TILE = 4  # side of the texture tile of a uniform colour, texels


@dataclass(frozen=True)
class VertexBuffer:
    """The stored vertex attributes that one or more primitives of a node share.

    Attributes:
        primitives: their indices in the mesh.
        node_vertex: (R,) int64 index of the node's welded vertex that each stored vertex is a copy of; -1 where no face
            uses it.
        normals: (R, 3) as stored, or None.
        tangents: (R, 3) as stored, or None.
    """

    primitives: list[int]
    node_vertex: np.ndarray
    normals: np.ndarray | None
    tangents: np.ndarray | None


@dataclass(frozen=True)
class MeshNode:
    """A glTF node with a mesh, its vertices welded.

    Attributes:
        node_index: index in the file.
        placement: (translation, rotation quaternion, scale) of the node in the written file, where it becomes a root of
            the scene: a skinned mesh does not take its node's transform. None where the node stays under its parent.
        matrix: (4, 4) float64 node to world, in the written file, relative to the working mesh's origin.
        base: (N, 3) float64 positions as stored.
        rest: (N, 3) float64 rest positions in node space; they differ from ``base`` under a skin or morph targets.
        faces: (M, 3) int64.
        working_vertex: (N,) int64 index of each vertex in the working mesh.
        buffers: the vertex attributes of all its triangle primitives.
    """

    node_index: int
    placement: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    matrix: np.ndarray
    base: np.ndarray
    rest: np.ndarray
    faces: np.ndarray
    working_vertex: np.ndarray
    buffers: list[VertexBuffer]


@dataclass(frozen=True)
class _NodeSurface:
    """A node's mesh before it is welded to other nodes: its primitives concatenated.

    Attributes:
        node: index in the file.
        deformer: what deforms it.
        parts: its triangle primitives, vertices in the world, those that no face uses left out; R vertices together.
        base: (R, 3) float64 positions as stored.
        world: (R, 3) float64 rest positions in the world.
        labels: (R,) int64 weld labels: equal for coincident vertices.
        keys: for each part what identifies its vertex accessors (``_accessors``).
        numbers: index of each part's primitive in the mesh.
        used: for each part the indices of its vertices among the stored ones.
        counts: for each part how many vertices are stored.
        mirrored: whether the node's transform reverses the orientation of its faces.
    """

    node: int
    deformer: Deformer
    parts: list[PrimitiveMesh]
    base: np.ndarray
    world: np.ndarray
    labels: np.ndarray
    keys: list[Any]
    numbers: list[int]
    used: list[np.ndarray]
    counts: list[int]
    mirrored: bool


def read_mesh_nodes(document: Document) -> tuple[Mesh, list[MeshNode], np.ndarray]:
    """Weld the default scene, in its rest pose, into one working mesh.

    Coincident vertices of one node's mesh are welded whatever primitive (material) they belong to. Meshes of different
    nodes are welded where they share boundary edges: there an exporter has split one surface by material. Meshes that
    only touch stay separate components.

    Returns:
        The working mesh in world space, relative to an origin; the nodes with a mesh in the order of the scene; and
        the origin (3,) float64: 0, or the mesh's middle where that is far away (``far_origin``).

    Raises:
        GltfError: the file is broken, has no triangles, or uses what we do not read.
    """
    nodes, parents = document.items("nodes"), all_nodes(document)
    world = world_matrices(parents, {index: local_matrix(nodes[index]) for index in parents})
    parents = scene_nodes(document)
    surfaces = [surface for index in parents if (surface := _node_surface(document, index, world)) is not None]
    origin = far_origin(np.concatenate([np.zeros((0, 3)), *(surface.world for surface in surfaces)]))
    if origin.any():
        surfaces = [_moved(surface, -origin) for surface in surfaces]
    parts = [part for surface in surfaces for part in surface.parts]
    texture_keys = {part.texture_key for part in parts if part.texture_key is not None}
    mesh = merge_primitives(
        document, parts, min(MAX_TEXTURE_SIDE, MAX_ATLAS_SIDE // math.ceil(math.sqrt(max(len(texture_keys), 1))))
    )
    starts = np.cumsum([0] + [len(np.unique(surface.labels)) for surface in surfaces])
    labels = np.concatenate([surface.labels + start for surface, start in zip(surfaces, starts[:-1], strict=True)])
    labels = weld_node_borders(mesh, labels, starts)
    working, vertex = weld_by_label(_with_weldable_colors(mesh, surfaces, labels), labels)
    if not _has_area(working):
        raise GltfError(
            f"{document.path}: no triangle has an area, all vertices lie on a line or in a point;"
            " there is no surface to move"
        )
    mesh_nodes, row = [], 0
    for surface in surfaces:
        own_vertices = vertex[row : row + len(surface.labels)]
        row += len(surface.labels)
        if (own_vertices >= 0).any():
            mesh_nodes.append(_mesh_node(document, surface, own_vertices, world[surface.node], origin))
    return working, mesh_nodes, origin


def _has_area(mesh: Mesh) -> bool:
    """Whether some face is wider than rounding errors: MIN_WIDTH of its longest edge."""
    corners = mesh.vertices.double().numpy()[mesh.faces.numpy()]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    longest = np.linalg.norm(corners - np.roll(corners, 1, 1), axis=2).max(1, initial=0)
    return bool((area > MIN_WIDTH * longest**2).any())


def _node_surface(document: Document, index: int, world: dict[int, np.ndarray]) -> _NodeSurface | None:
    """The surface of a node's mesh; None where the node has no triangles or is scaled to zero."""
    node = document.items("nodes")[index]
    if "mesh" not in node:
        return None
    mesh = document.items("meshes")[node["mesh"]]
    name = node.get("name", mesh.get("name", index))
    if "skin" not in node and np.linalg.matrix_rank(world[index][:3, :3], 1e-9) < 3:
        logger.warning("%s: node %r is scaled to zero; it is left as it is", document.path, name)
        return None
    parts, bases, keys, numbers, used, counts = [], [], [], [], [], []
    deformer, mirrored = None, False
    for primitive in triangle_primitives(document, mesh):
        part = read_primitive(document, primitive)
        rows = np.unique(part.faces)
        if len(rows) == 0:
            continue
        active, weights = _active_targets(document, node, primitive)
        deformer = read_deformer(document, index, active, part.vertices, world)
        mirrored = deformer.mirrored(world)
        bases.append(part.vertices[rows])
        counts.append(len(part.vertices))
        parts.append(_subset(part, rows).with_positions(deformer.poses(world, weights)[0, rows], mirrored))
        if not np.isfinite(parts[-1].vertices).all():
            raise GltfError(f"{document.path}: mesh {name!r} has vertices that are no finite numbers")
        keys.append(_accessors(primitive))
        numbers.append(next(number for number, each in enumerate(mesh["primitives"]) if each is primitive))
        used.append(rows)
    if deformer is None:
        return None
    base, world_positions = np.concatenate(bases), np.concatenate([part.vertices for part in parts])
    labels = coincident_labels(base, world_positions)
    return _NodeSurface(index, deformer, parts, base, world_positions, labels, keys, numbers, used, counts, mirrored)


def _active_targets(
    document: Document, node: dict[str, Any], primitive: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray]:
    """The primitive with only the morph targets of non-zero default weight, and these weights (1, M)."""
    targets = primitive.get("targets") or []
    stored = node.get("weights", document.items("meshes")[node["mesh"]].get("weights", [0.0] * len(targets)))
    active = [number for number, weight in enumerate(stored[: len(targets)]) if weight != 0]
    kept = primitive | {"targets": [targets[number] for number in active]}
    return kept, np.array([[stored[number] for number in active]], dtype=np.float64)


def _accessors(primitive: dict[str, Any]) -> Any:
    """A key that is equal for primitives of a node that share their vertex accessors."""
    names = ("POSITION", "NORMAL", "TANGENT", "JOINTS_", "WEIGHTS_")
    attributes = [(name, index) for name, index in sorted(primitive["attributes"].items()) if name.startswith(names)]
    targets = [target.get("POSITION") for target in primitive.get("targets") or []]
    return (*attributes, *targets)


def _subset(part: PrimitiveMesh, rows: np.ndarray) -> PrimitiveMesh:
    """The primitive with the vertices ``rows`` only, its faces renumbered."""
    return replace(
        part,
        vertices=part.vertices[rows],
        faces=np.searchsorted(rows, part.faces),
        colors=None if part.colors is None else part.colors[rows],
        uvs=None if part.uvs is None else part.uvs[rows],
    )


def _with_weldable_colors(mesh: Mesh, surfaces: list[_NodeSurface], labels: np.ndarray) -> Mesh:
    """The unwelded mesh with colours that survive welding.

    Where vertices of different colours are welded, uniform colours of primitives become a texture of one tile each,
    which keeps their borders sharp; other vertex colours are averaged over each label.
    """
    if mesh.texture is not None:
        return mesh
    if mesh.colors is None:
        return replace(mesh, colors=torch.ones_like(mesh.vertices))
    colors = mesh.colors.numpy()
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    if np.array_equal(colors, colors[first[index]]):
        return mesh
    parts = [part for surface in surfaces for part in surface.parts]
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


def _moved(surface: _NodeSurface, translation: np.ndarray) -> _NodeSurface:
    """The surface translated in the world by (3,)."""
    parts = [replace(part, vertices=part.vertices + translation) for part in surface.parts]
    return replace(surface, parts=parts, world=surface.world + translation)


def _mesh_node(
    document: Document, surface: _NodeSurface, vertex: np.ndarray, node_to_world: np.ndarray, origin: np.ndarray
) -> MeshNode:
    """The mesh node of a surface, from the working vertex (R,) of each of its vertices (-1: none).

    Args:
        document: the file.
        surface: relative to the origin.
        vertex: (R,).
        node_to_world: (4, 4).
        origin: (3,) of the working mesh, in the world.
    """
    matrix = node_to_world.copy()
    matrix[:3, 3] -= origin
    moving = vertex >= 0
    _, first, index = np.unique(surface.labels[moving], return_index=True, return_inverse=True)
    node_vertex_of = np.full(len(vertex), -1)
    node_vertex_of[moving] = index
    first = np.flatnonzero(moving)[first]
    base, world = surface.base[first], surface.world[first]
    placement = None
    if surface.deformer.skin is not None:
        placement = _similarity_components(base, world, surface.mirrored)
        matrix = trs_matrix(*placement)
        placement = (placement[0] + origin, *placement[1:])
    if surface.deformer.skin is None and len(surface.deformer.targets) == 0:
        rest = base
    else:
        rest = (world - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T
    starts = np.cumsum([0] + [len(part.vertices) for part in surface.parts])
    faces = np.concatenate(
        [node_vertex_of[part.faces + start] for part, start in zip(surface.parts, starts[:-1], strict=True)]
    )
    whole = (faces >= 0).all(1) & (np.diff(np.sort(faces, 1), axis=1) > 0).all(1)
    mesh = document.items("meshes")[document.items("nodes")[surface.node]["mesh"]]
    rows = []
    for key in dict.fromkeys(surface.keys):
        group = [number for number, each in enumerate(surface.keys) if each == key]
        shared = np.full(surface.counts[group[0]], -1)
        for number in group:
            shared[surface.used[number]] = node_vertex_of[starts[number] : starts[number + 1]]
        attributes = mesh["primitives"][surface.numbers[group[0]]]["attributes"]
        stored = [
            document.accessor(attributes[name])[:, :3].astype(np.float64) if name in attributes else None
            for name in ("NORMAL", "TANGENT")
        ]
        if any(values is not None and len(values) != len(shared) for values in stored):
            raise GltfError(f"{document.path}: normals or tangents that are not one for each vertex")
        rows.append(VertexBuffer([surface.numbers[number] for number in group], shared, *stored))
    return MeshNode(surface.node, placement, matrix, base, rest, faces[whole], vertex[first], rows)


def _similarity_components(
    source: np.ndarray, target: np.ndarray, mirrored: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Translation, rotation (quaternion) and uniform scale that map points (N, 3) to others in the least squares sense.

    The scale is negative where the map is ``mirrored``, and 1 in size where one side is a single point.
    """
    single_point = min(np.ptp(source, axis=0).max(), np.ptp(target, axis=0).max()) == 0
    sign = -1.0 if mirrored else 1.0
    transform = umeyama(sign * source, target, scale=1.0 if single_point else None)
    return transform.translation, quaternion_from_matrix(transform.rotation), np.full(3, sign * transform.scale)
