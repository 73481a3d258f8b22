"""Read static meshes from glTF: all triangle primitives of the scene merged into one mesh."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from v2m4.io._gltf_container import Document, GltfError, broken_as_gltf_error, load_document
from v2m4.io._gltf_images import decode_image, pack_atlas
from v2m4.io._gltf_material import WHITE, picture_sources
from v2m4.io._gltf_nodes import local_matrix, scene_nodes, world_matrices
from v2m4.io._gltf_paint import painted_faces
from v2m4.io._gltf_primitive import PrimitiveMesh, read_primitive, triangle_primitives
from v2m4.io._gltf_repair import TRIANGLES
from v2m4.io.srgb import linear_to_srgb, srgb_to_linear
from v2m4.mesh import Mesh

logger = logging.getLogger(__name__)

CLAMP_TO_EDGE, MIRRORED_REPEAT = 33071, 33648
MAX_REPEATS = 16  # tiles of a repeated texture, along each axis


class _UnreadableTextureError(ValueError):
    """A texture none of whose pictures can be read."""

    def __init__(self, texture: int, reason: str) -> None:
        super().__init__(reason)
        self.texture = texture


def read_glb(path: Path, weld: bool = False) -> Mesh:
    """Read the default scene of a .glb or .gltf file as one mesh.

    Several textures become one atlas; without any, base colours and vertex colours become vertex colours. Transparency,
    skins, morph targets and animations are ignored.

    Args:
        path: the file.
        weld: merge vertices that were split for texture coordinates and normals (same position and colour);
            ``uv_faces`` keeps the seams.

    Raises:
        GltfError: the file is broken, has no triangles, or uses what is not read.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with broken_as_gltf_error(path):
        mesh = document_mesh(load_document(path))
    return weld_vertices(mesh) if weld else mesh


def document_mesh(document: Document) -> Mesh:
    """The default scene of a glTF document as one mesh, vertices not welded; see ``read_glb``.

    Raises:
        GltfError: it has no triangles, or uses what we do not read.
    """
    nodes, parents = document.items("nodes"), scene_nodes(document)
    world = world_matrices(parents, {index: local_matrix(nodes[index]) for index in parents})
    return merge_primitives(
        document, [part for index in parents for part in _node_primitives(document, nodes[index], world[index])]
    )


def _node_primitives(document: Document, node: dict[str, Any], matrix: np.ndarray) -> Iterator[PrimitiveMesh]:
    if "mesh" not in node:
        return
    mesh = document.items("meshes")[node["mesh"]]
    if "skin" in node:
        logger.warning("%s: the skin of mesh %r is not applied", document.path, mesh.get("name", node["mesh"]))
    for primitive in triangle_primitives(document, mesh):
        part = read_primitive(document, primitive)
        vertices = part.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        yield part.with_positions(vertices, mirrored=bool(np.linalg.det(matrix[:3, :3]) < 0))


def merge_primitives(document: Document, parts: list[PrimitiveMesh], max_side: int | None = None) -> Mesh:
    """Concatenate primitives to one mesh; it has a texture when any of them has.

    Args:
        document: the file.
        parts: the primitives of its scene.
        max_side: largest side of a texture with its repeats, texels; larger ones are reduced by area averaging.

    Raises:
        GltfError: there are no triangles, a vertex is no finite number, or the pictures fit into no atlas.
    """
    if not any(len(part.faces) for part in parts):
        raise GltfError(f"{document.path}: no triangles in the scene{_without_surface(document)}")
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    vertices = torch.from_numpy(np.concatenate([part.vertices for part in parts]).astype(np.float32))
    if not bool(vertices.isfinite().all()):
        raise GltfError(f"{document.path}: vertices that are no finite numbers")
    faces = torch.from_numpy(
        np.concatenate([part.faces + start for part, start in zip(parts, starts[:-1], strict=True)])
    )
    while any(part.texture_key is not None for part in parts):
        try:
            return _with_texture(document, parts, Mesh(vertices, faces), max_side)
        except _UnreadableTextureError as error:
            logger.warning("%s; the material's colour is used", error)
            parts = [part.without_texture(error.texture) for part in parts]
    if all(part.colors is None for part in parts):
        return Mesh(vertices, faces)
    part_colors = [np.ones_like(part.vertices, np.float32) if part.colors is None else part.colors for part in parts]
    return Mesh(vertices, faces, colors=torch.from_numpy(linear_to_srgb(np.concatenate(part_colors))))


def _without_surface(document: Document) -> str:
    """What a document without triangles has instead, and what to do; empty where it has nothing."""
    primitives = [primitive for mesh in document.items("meshes") for primitive in mesh["primitives"]]
    if any("splat" in name.lower() for each in primitives for name in each.get("extensions") or {}):
        return ", only Gaussian splats, which are no surface; convert them to a mesh first"
    modes = {primitive.get("mode", TRIANGLES) for primitive in primitives}
    if 0 in modes:
        return ", only points, which are no surface; reconstruct a mesh from them first"
    return ", only lines" if modes & {1, 2, 3} else ""


def _with_texture(document: Document, parts: list[PrimitiveMesh], mesh: Mesh, max_side: int | None) -> Mesh:
    """The mesh with one texture: that of all primitives, or an atlas of their textures and uniform colours."""
    pictures: dict[Any, np.ndarray] = {}
    corner_uvs: list[np.ndarray] = []
    keys: list[Any] = []
    for part in parts:
        key, uvs = _add_picture(document, part, pictures, max_side)
        corner_uvs.append(uvs)
        keys.append(key)
    if len(pictures) == 1:
        texture = next(iter(pictures.values()))
    else:
        try:
            texture, transforms = pack_atlas(list(pictures.values()))
        except ValueError as error:
            raise GltfError(f"{document.path}: {error}") from error
        uv_transforms = dict(zip(pictures, transforms, strict=True))
        corner_uvs = [
            uvs * uv_transforms[key][2:] + uv_transforms[key][:2] for uvs, key in zip(corner_uvs, keys, strict=True)
        ]
    corners = np.concatenate(corner_uvs).astype(np.float32)
    vertex_uvs, uv_faces = _vertex_uvs(corners, mesh.faces.numpy(), len(mesh.vertices))
    return replace(
        mesh,
        uvs=torch.from_numpy(vertex_uvs),
        uv_faces=None if uv_faces is None else torch.from_numpy(uv_faces),
        texture=torch.from_numpy(np.ascontiguousarray(texture)),
    )


def _add_picture(
    document: Document, part: PrimitiveMesh, pictures: dict[Any, np.ndarray], max_side: int | None
) -> tuple[Any, np.ndarray]:
    """Add the picture of a primitive to ``pictures``; returns its key there, and the corners (F, 3, 2) in it.

    It is the texture with its repeats, a tile of the uniform colour, or, for vertex colours, a tile for each face.
    """
    colors = np.ones((1, 3), np.float32) if part.colors is None or len(part.colors) == 0 else part.colors
    varying = bool(np.ptp(colors, axis=0).max() > 0)
    if part.texture_key is None or part.uvs is None:
        painted = painted_faces(colors[part.faces]) if varying else None
        if painted is None:
            key: Any = tuple(np.round(linear_to_srgb(colors.mean(0)) * 255))
            pictures[key] = np.broadcast_to(np.array(key, np.float32) / 255, (4, 4, 3))
            return key, np.full((len(part.faces), 3, 2), 0.5, np.float32)
    else:
        uvs, repeats, mirrored = _wrapped_uvs(part.uvs[part.faces], part.texture_key[2])
        index, factor, _ = part.texture_key
        if varying:
            picture = _base_color_picture(document, index, WHITE, repeats, mirrored, max_side)
            painted = painted_faces(colors[part.faces], picture, uvs)
        if not varying or painted is None:
            if varying:
                logger.warning("%s: vertex colours under a texture of many faces are ignored", document.path)
            key = (index, factor, repeats, mirrored)
            if key not in pictures:
                pictures[key] = _base_color_picture(document, index, factor, repeats, mirrored, max_side)
            return key, uvs
    key = ("painted", len(pictures))
    pictures[key] = painted[0]
    return key, painted[1]


def _vertex_uvs(corners: np.ndarray, faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Texture coordinates of corners (F, 3, 2) as one per vertex where faces agree, else with indices (F, 3)."""
    uvs = np.zeros((count, 2), np.float32)
    uvs[faces.reshape(-1)] = corners.reshape(-1, 2)
    if np.array_equal(uvs[faces], corners):
        return uvs, None
    bits, index = np.unique(np.ascontiguousarray(corners.reshape(-1, 2)).view(np.int64)[:, 0], return_inverse=True)
    return bits.view(np.float32).reshape(-1, 2), index.reshape(-1, 3)


def _wrapped_uvs(corners: np.ndarray, wrap: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int], tuple[bool, bool]]:
    """Texture coordinates wrapped to [0, 1] of a texture that is repeated where a face spans more than one tile.

    Args:
        corners: (F, 3, 2).
        wrap: glTF's wrap modes for u and v.

    Returns:
        Corners (F, 3, 2) in [0, 1] of the repeated texture, repeats along u and v, and whether each is mirrored.
    """
    corners = corners.copy()
    repeats, mirrored = [1, 1], [False, False]
    for axis, mode in enumerate(wrap):
        values = corners[..., axis]
        if values.size == 0 or (values.min() >= -1e-3 and values.max() <= 1 + 1e-3):
            continue
        if mode == CLAMP_TO_EDGE:
            corners[..., axis] = np.clip(values, 0, 1)
            continue
        period = 2 if mode == MIRRORED_REPEAT else 1
        mirrored[axis] = mode == MIRRORED_REPEAT
        values = values - period * np.floor(values.min(1, keepdims=True) / period + 1e-4)
        tiles = max(period, int(np.ceil(values.max() - 1e-3)))
        repeats[axis] = min(tiles + tiles % period, MAX_REPEATS)
        corners[..., axis] = np.clip(values / repeats[axis], 0, 1)
    return corners, (repeats[0], repeats[1]), (mirrored[0], mirrored[1])


def _base_color_picture(
    document: Document,
    index: int,
    factor: tuple[float, ...],
    repeats: tuple[int, int],
    mirrored: tuple[bool, bool],
    max_side: int | None,
) -> np.ndarray:
    """A texture's picture times a linear factor, repeated, (H, W, 3) sRGB."""
    picture = _decoded_texture(document, index)
    if max_side is not None:
        size = [min(side, max(max_side // count, 1)) for side, count in zip(picture.shape[1::-1], repeats, strict=True)]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    if factor != (1.0, 1.0, 1.0):
        picture = linear_to_srgb(srgb_to_linear(picture) * np.array(factor, np.float32))
    for axis, count, flip in ((1, repeats[0], mirrored[0]), (0, repeats[1], mirrored[1])):
        tiles = [np.flip(picture, axis) if flip and tile % 2 else picture for tile in range(count)]
        picture = np.concatenate(tiles, axis)
    return picture


def _decoded_texture(document: Document, index: int) -> np.ndarray:
    """The first picture of a texture that can be read, (H, W, 3) sRGB.

    Raises:
        _UnreadableTextureError: there is none.
    """
    reason = f"{document.path}: texture {index} has no picture that is read (KTX2, DDS)"
    for source in picture_sources(document.items("textures")[index]):
        try:
            return decode_image(document.image_bytes(source), f"{document.path}: image {source}")
        except (GltfError, KeyError) as error:
            reason = str(error) if isinstance(error, GltfError) else f"{document.path}: image {source} has no data"
    raise _UnreadableTextureError(index, reason)


def weld_vertices(mesh: Mesh) -> Mesh:
    """Merge vertices of the same position (and colour); texture seams move to ``uv_faces``."""
    vertices = mesh.vertices.numpy() + np.float32(0)  # -0 becomes 0
    keys = vertices if mesh.colors is None else np.concatenate([vertices, mesh.colors.numpy()], 1)
    _, labels = np.unique(keys, axis=0, return_inverse=True)
    return merge_vertices(mesh, labels.reshape(-1))[0]


def merge_vertices(mesh: Mesh, labels: np.ndarray) -> tuple[Mesh, Tensor]:
    """Merge all vertices of one label; texture seams move to ``uv_faces``.

    Args:
        mesh: a mesh.
        labels: (V,) integers.

    Returns:
        The mesh, its vertices in the order in which their labels first appear, and (N,) their indices in the input.
    """
    _, first, index = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first)
    new_index = np.empty_like(order)
    new_index[order] = np.arange(len(order))
    kept = torch.from_numpy(first[order])
    faces = torch.from_numpy(new_index[index])[mesh.faces]
    uv_faces = mesh.faces if mesh.uvs is not None and mesh.uv_faces is None else mesh.uv_faces
    colors = None if mesh.colors is None else mesh.colors[kept]
    return Mesh(mesh.vertices[kept], faces, mesh.uvs, uv_faces, mesh.texture, colors), kept
