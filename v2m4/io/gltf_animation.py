"""Read animated glTF files (.glb, .gltf) as a sequence of poses of one mesh.

Read are node hierarchies with translation, rotation and scale channels (LINEAR, STEP, CUBICSPLINE), ``weights``
channels of morph targets, skins with any number of joints per vertex, several meshes, primitives and materials, and
quantised, sparse and compressed accessors, of the file's default scene. Channels of KHR_animation_pointer are ignored
with a warning. Cameras, lights, transparency and stored normals do not affect the vertices and are ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from v2m4.geometry import connected_components
from v2m4.io._gltf_container import Document, GltfError, broken_as_gltf_error, load_document
from v2m4.io._gltf_deform import read_deformer
from v2m4.io._gltf_nodes import (
    IDENTITY,
    all_nodes,
    local_matrix,
    scene_nodes,
    trs_matrix,
    trs_of_matrix,
    world_matrices,
)
from v2m4.io._gltf_primitive import PrimitiveMesh, read_primitive, triangle_primitives
from v2m4.io._gltf_read import merge_primitives, merge_vertices
from v2m4.io._gltf_samplers import COMPONENTS_OF, Sampler, key_times, read_sampler
from v2m4.io._gltf_tidy import target_count
from v2m4.mesh import MeshSequence

__all__ = ["Animation", "list_animations", "read_animation", "weld_sequence"]

logger = logging.getLogger(__name__)

Channels = dict[tuple[int, str], Sampler]  # by node and path

WELD_TOLERANCE = 1e-6  # of the bounding box's longest side: vertices closer than this in all poses are welded


@dataclass(frozen=True)
class Animation:
    """One animation clip of a file.

    Attributes:
        name: as in the file, or its index where it has none.
        start: time of its first key, seconds.
        stop: time of its last key, seconds.
        key_times: (K,) float64 seconds, the union of its channels' key times, ascending.
    """

    name: str
    start: float
    stop: float
    key_times: np.ndarray


def list_animations(path: Path) -> list[Animation]:
    """The clips of a .glb or .gltf file, in its order.

    Raises:
        GltfError: the file is broken or not readable.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with broken_as_gltf_error(path):
        return _animations(load_document(path))


def read_animation(
    path: Path,
    clip: str | int | None = None,
    times: Sequence[float] | np.ndarray | None = None,
    weld: bool = False,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> MeshSequence:
    """Evaluate a clip: poses of the whole default scene as one mesh.

    The mesh's texture and colours are those of ``read_glb``: several textures become one atlas; without any, base
    colours and vertex colours become vertex colours. Its own vertices are the rest pose: nodes as the file places them,
    skins applied, morph targets at zero. Faces are oriented as in the rest pose.

    Args:
        path: .glb or .gltf.
        clip: name of the clip, or its number, also as text; None is the first.
        times: (T,) seconds, ascending; outside the clip its first or last pose is held. None: the times of all keys.
        weld: merge vertices that coincide (and have the same colour) in the rest pose and in all poses; ``uv_faces``
            keeps texture seams.
        origin: (3,) that is subtracted from all positions, in float64, before they are rounded.

    Raises:
        GltfError: the file is broken, has no such clip or no triangles, or uses what we do not read.
        OSError: the file cannot be read.
    """
    path = Path(path)
    with broken_as_gltf_error(path):
        document = load_document(path)
        clips = _animations(document)
        number = _clip_index(path, clips, clip)
        query_times = clips[number].key_times if times is None else np.asarray(times, dtype=np.float64).reshape(-1)
        channels = _channels(document, document.items("animations")[number])
        sequence = _sequence(document, channels, query_times, np.asarray(origin))
    return weld_sequence(sequence) if weld else sequence


def weld_sequence(sequence: MeshSequence) -> MeshSequence:
    """Merge vertices that coincide in the rest pose and in all poses and have the same colour."""
    rest = sequence.mesh.vertices.numpy()
    tolerance = WELD_TOLERANCE * float(np.ptp(rest, axis=0).max())
    first, second = cKDTree(rest).query_pairs(tolerance, output_type="ndarray").T
    vertices = sequence.vertices.numpy()
    same = np.ones(len(first), dtype=bool)
    for pose in vertices:
        same &= np.abs(pose[first] - pose[second]).max(-1, initial=0) <= WELD_TOLERANCE * np.ptp(pose, axis=0).max()
    if sequence.mesh.colors is not None:
        colors = sequence.mesh.colors.numpy()
        same &= (colors[first] == colors[second]).all(-1)
    pairs = np.stack([first[same], second[same]], 1)
    mesh, kept = merge_vertices(sequence.mesh, connected_components(pairs, len(rest)))
    return replace(sequence, vertices=sequence.vertices[:, kept], mesh=mesh)


def _animations(document: Document) -> list[Animation]:
    animations = []
    for number, entry in enumerate(document.items("animations")):
        used = sorted({channel["sampler"] for channel in entry.get("channels") or []})
        times = [key_times(document, entry["samplers"][sampler]) for sampler in used]
        keys = np.unique(np.concatenate([*times, np.zeros(0 if times else 1)]))  # without channels, one moment
        name = entry.get("name")
        animations.append(Animation(str(number if name in (None, "") else name), float(keys[0]), float(keys[-1]), keys))
    return animations


def _clip_index(path: Path, clips: list[Animation], clip: str | int | None) -> int:
    """The index of the clip asked for."""
    if not clips:
        raise GltfError(f"{path}: has no animations; it is a still mesh")
    names = [item.name for item in clips]
    listed = ", ".join(names)
    if clip is None:
        if len(clips) > 1:
            logger.info("%s: reading clip %r, the first of %s", path, names[0], listed)
        return 0
    if isinstance(clip, int):
        if not 0 <= clip < len(clips):
            raise GltfError(f"{path}: no clip {clip}; its {len(clips)} clips are numbered from 0: {listed}")
        return clip
    if clip not in names and clip.isdecimal() and int(clip) < len(clips):
        return int(clip)
    if names.count(clip) != 1:
        what = "no clip" if clip not in names else "more than one clip"
        raise GltfError(f"{path}: {what} is called {clip!r}; the clips are, numbered from 0: {listed}")
    return names.index(clip)


def _channels(document: Document, animation: dict[str, Any]) -> Channels:
    """The samplers of a clip by node and path; channels without a node are ignored."""
    channels: Channels = {}
    nodes = document.items("nodes")
    for channel in animation.get("channels") or []:
        target, path = channel["target"], channel["target"]["path"]
        if path not in (*COMPONENTS_OF, "weights"):
            logger.warning("%s: an animation of %r is left out; only nodes are animated", document.path, path)
            continue
        if "node" not in target:
            continue
        node = nodes[target["node"]]
        if path == "weights" and "mesh" not in node:
            continue
        width = len(_mesh_weights(document, node)) if path == "weights" else COMPONENTS_OF[path]
        if (target["node"], path) in channels:
            raise GltfError(f"{document.path}: two channels of one clip move the {path} of node {target['node']}")
        entry = animation["samplers"][channel["sampler"]]
        channels[target["node"], path] = read_sampler(document, entry, path, width)
    return channels


def _mesh_weights(document: Document, node: dict[str, Any]) -> np.ndarray:
    """The default weights (M,) of a node's morph targets."""
    mesh = document.items("meshes")[node["mesh"]]
    return np.array(node.get("weights", mesh.get("weights", np.zeros(target_count(mesh)))), dtype=np.float64)


def _sequence(document: Document, channels: Channels, times: np.ndarray, origin: np.ndarray) -> MeshSequence:
    """The scene at ``times`` (T,) seconds, relative to an origin (3,)."""
    nodes, parents = document.items("nodes"), all_nodes(document)
    static = {index: local_matrix(nodes[index]) for index in parents}
    animated = static | {
        index: _animated_matrix(nodes[index], index, channels, times) for index in _animated_nodes(channels, parents)
    }
    rest_world, world = world_matrices(parents, static), world_matrices(parents, animated)
    parts: list[PrimitiveMesh] = []
    poses: list[np.ndarray] = []
    for index in scene_nodes(document):
        node = nodes[index]
        if "mesh" not in node:
            continue
        weights = np.tile(_mesh_weights(document, node), (len(times), 1))
        if (index, "weights") in channels:
            weights = channels[index, "weights"].at(times)
        for primitive in triangle_primitives(document, document.items("meshes")[node["mesh"]]):
            part = read_primitive(document, primitive)
            deformer = read_deformer(document, index, primitive, part.vertices, rest_world)
            rest = deformer.poses(rest_world, np.zeros((1, weights.shape[1])))[0]
            parts.append(part.with_positions(rest - origin, deformer.mirrored(rest_world)))
            poses.append((deformer.poses(world, weights) - origin).astype(np.float32))
    mesh = merge_primitives(document, parts)
    vertices = torch.from_numpy(np.concatenate(poses, 1))
    if not bool(vertices.isfinite().all()):
        raise GltfError(f"{document.path}: the clip gives vertices that are not finite")
    return MeshSequence(vertices, mesh, times)


def _animated_nodes(channels: Channels, parents: dict[int, int | None]) -> list[int]:
    """The nodes of the scene whose local matrix the clip animates."""
    return [index for index in parents if any((index, path) in channels for path in COMPONENTS_OF)]


def _animated_matrix(node: dict[str, Any], index: int, channels: Channels, times: np.ndarray) -> np.ndarray:
    """The matrices (T, 4, 4) from a node to its parent."""
    values = []
    if "matrix" in node:
        logger.warning("a node with a matrix is animated; its shear is left out")
        node = dict(zip(IDENTITY, trs_of_matrix(local_matrix(node)), strict=True))
    for path, default in IDENTITY.items():
        if (index, path) in channels:
            values.append(channels[index, path].at(times))
        else:
            values.append(np.array(node.get(path, default), dtype=np.float64))
    return trs_matrix(*values)
