"""Write meshes and mesh animations as GLB.

In memory the surface is welded; vertices are split at texture seams here. The material is metallic-roughness
(metallic 0, roughness 1), not KHR_materials_unlit, although the texture holds the video's shading: Blender imports
unlit as an emission shader, which its FBX and USD exporters write without the texture, and game engines give unlit
surfaces neither shadows nor light. ``unlit=True`` is for viewers that should show the texture alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from v2m4.camera import OPENCV_TO_OPENGL, Camera
from v2m4.io._gltf_container import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GltfBuilder
from v2m4.io._gltf_images import EncodedImage, encode_texture
from v2m4.io._gltf_quantize import QuantizationGrid, normal_deltas, unit_normals
from v2m4.io._gltf_skin import add_joints, add_skin, bone_names, skeletal_animation, skin_attributes
from v2m4.io.srgb import srgb_to_linear
from v2m4.mesh import Mesh, MeshSequence
from v2m4.rotation import quaternion_from_matrix
from v2m4.skinning.rig import Rig

BYTE_MAX, USHORT_MAX = 127, 65535
LINEAR_FILTER, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


@dataclass(frozen=True)
class SplitMesh:
    """A mesh with one texture coordinate per vertex, as files store it.

    Attributes:
        source: (S,) int64, the welded vertex that each is a copy of; the first V are the welded vertices in order.
        faces: (F, 3) int64 indices into the S vertices.
        uvs: (S, 2) float32, or None.
    """

    source: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray | None


def split_at_seams(mesh: Mesh) -> SplitMesh:
    """Duplicate the vertices that have more than one texture coordinate."""
    faces = mesh.faces.cpu().numpy().astype(np.int64)
    count = len(mesh.vertices)
    identity = np.arange(count)
    if mesh.uvs is None:
        return SplitMesh(identity, faces, None)
    uvs = np.ascontiguousarray(mesh.uvs.detach().cpu().numpy(), dtype=np.float32)
    if mesh.uv_faces is None:
        return SplitMesh(identity, faces, uvs)
    bits, unique_index = np.unique(uvs.view(np.int64)[:, 0], return_inverse=True)
    uvs = bits.view(np.float32).reshape(-1, 2)
    pairs = faces.ravel() * len(uvs) + unique_index.reshape(-1)[mesh.uv_faces.cpu().numpy().ravel()]
    corners, corner_index = np.unique(pairs, return_inverse=True)
    vertex = corners // len(uvs)
    repeated = np.zeros(len(corners), dtype=bool)
    repeated[1:] = vertex[1:] == vertex[:-1]
    rows = np.where(repeated, count - 1 + np.cumsum(repeated), vertex)
    source = np.concatenate([identity, vertex[repeated]])
    split_uvs = np.zeros((len(source), 2), np.float32)
    split_uvs[rows] = uvs[corners % len(uvs)]
    return SplitMesh(source, rows[corner_index.reshape(-1)].reshape(-1, 3), split_uvs)


def write_glb(
    path: Path,
    mesh: Mesh,
    *,
    camera: Camera | None = None,
    texture: EncodedImage | None = None,
    quantize: bool = False,
    unlit: bool = False,
    double_sided: bool = True,
    name: str = "mesh",
) -> None:
    """Write one mesh with its texture, else with its vertex colours.

    Args:
        path: the .glb file.
        mesh: in world space, y up; sRGB colours are written as glTF's linear ones.
        camera: one whole-picture camera, written as a node.
        texture: the mesh's texture already encoded, for many files that share it; None encodes it as PNG.
        quantize: 16-bit positions and 8-bit normals (KHR_mesh_quantization): half the size, but not every program
            reads it.
        unlit: no lighting (KHR_materials_unlit).
        double_sided: render back faces too; a reconstructed surface may have holes.
        name: of the mesh and its node.

    Raises:
        ValueError: the mesh has no faces, or the camera is cropped.
        OSError: the file cannot be written.
    """
    builder = GltfBuilder()
    split = split_at_seams(mesh)
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    rest = _RestPose(
        builder, mesh, split, QuantizationGrid.covering(vertices[None], vertices) if quantize else None, vertices
    )
    primitive = rest.primitive(texture, unlit, double_sided)
    index = builder.add("meshes", {"name": name, "primitives": [primitive]})
    _add_scene(builder, [rest.node(index, name)], camera)
    builder.write(path)


def write_animation_glb(
    path: Path,
    sequence: MeshSequence,
    camera: Camera | None = None,
    *,
    target_names: Sequence[str] | None = None,
    texture: EncodedImage | None = None,
    quantize: bool = True,
    unlit: bool = False,
    double_sided: bool = True,
    name: str = "animation",
) -> None:
    """Write a mesh animation: one morph target per pose, relative to the rest pose, at most two active at a time.

    Between the times of two poses viewers interpolate the weights, and so the vertices, linearly.

    Args:
        path: the .glb file.
        sequence: poses at ``times`` in seconds (ascending); ``sequence.mesh`` is the rest pose.
        camera: one whole-picture camera in the same world, written as a node.
        target_names: names of the poses (default "0", "1", ...).
        texture: the mesh's texture already encoded; None encodes it as PNG.
        quantize: 16-bit positions (error below 1e-4 of the size) and 8- or 16-bit normals (KHR_mesh_quantization).
        unlit: no lighting (KHR_materials_unlit).
        double_sided: render back faces too; a reconstructed surface may have holes.
        name: of the mesh, its node and the animation.

    Raises:
        ValueError: the sequence is empty or its times do not ascend, the mesh has no faces, or the camera is cropped.
        OSError: the file cannot be written.
    """
    count = len(sequence)
    times = np.asarray(sequence.times, dtype=np.float32)
    if count == 0 or bool((np.diff(times) <= 0).any()) or float(times[0]) < 0:
        raise ValueError(f"{path.name}: {count} poses whose times must ascend from 0 or later, got {times.tolist()}")
    names = [str(index) for index in range(count)] if target_names is None else list(target_names)
    if len(names) != count:
        raise ValueError(f"{path.name}: {len(names)} target names for {count} poses")
    builder = GltfBuilder()
    mesh = sequence.mesh
    split = split_at_seams(mesh)
    if not bool(sequence.vertices.isfinite().all()):
        raise ValueError(f"{path.name}: the poses have vertices that are no finite numbers")
    poses = sequence.vertices.detach().cpu().numpy().astype(np.float32, copy=False)
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    rest = _RestPose(builder, mesh, split, QuantizationGrid.covering(poses, vertices) if quantize else None, vertices)
    primitive = rest.primitive(texture, unlit, double_sided)
    primitive["targets"] = [rest.target(pose) for pose in poses]
    initial_weights = [1.0] + [0.0] * (count - 1)
    index = builder.add(
        "meshes",
        {"name": name, "primitives": [primitive], "weights": initial_weights, "extras": {"targetNames": names}},
    )
    node = rest.node(index, name)
    _add_scene(builder, [node], camera)
    sampler = {
        "input": builder.accessor(times, bounds=True),
        "interpolation": "LINEAR",
        "output": builder.accessor(np.eye(count, dtype=np.float32).reshape(-1)),
    }
    channel = {"sampler": 0, "target": {"node": node, "path": "weights"}}
    builder.add("animations", {"name": name, "samplers": [sampler], "channels": [channel]})
    builder.write(path)


def write_rigged_glb(
    path: Path,
    mesh: Mesh,
    rig: Rig,
    end: float,
    camera: Camera | None = None,
    *,
    texture: EncodedImage | None = None,
    double_sided: bool = True,
    name: str = "animation",
) -> None:
    """Write a mesh with a skeleton, skin weights and one animation; no extension is used.

    Args:
        path: the .glb file.
        mesh: the rest pose in world space, y up.
        rig: fitted to it.
        end: time of the last frame, seconds.
        camera: one whole-picture camera in the same world, written as a node.
        texture: the mesh's texture already encoded; None encodes it as PNG.
        double_sided: render back faces too; a reconstructed surface may have holes.
        name: of the mesh, its node, its skin and the animation.

    Raises:
        ValueError: the mesh has no faces, or the camera is cropped.
        OSError: the file cannot be written.
    """
    builder = GltfBuilder()
    split = split_at_seams(mesh)
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    primitive = _RestPose(builder, mesh, split, None, vertices).primitive(texture, False, double_sided, True)
    primitive["attributes"] |= skin_attributes(builder, rig.binding, split.source)
    mesh_index = builder.add("meshes", {"name": name, "primitives": [primitive]})
    joints = add_joints(builder, rig.skeleton, bone_names(rig.skeleton), np.zeros(3))
    skin = add_skin(builder, joints, rig.inverse_binds(), name)
    node = builder.add("nodes", {"name": name, "mesh": mesh_index, "skin": skin})
    roots = [joint for joint, parent in zip(joints, rig.skeleton.parents, strict=True) if parent < 0]
    animation = skeletal_animation(builder, rig.curves, joints, name, end)
    if animation is not None:
        builder.add("animations", animation)
    _add_scene(builder, [*roots, node], camera)
    builder.write(path)


class _RestPose:
    """The rest pose as stored, rounding included: what morph targets are relative to."""

    def __init__(
        self, builder: GltfBuilder, mesh: Mesh, split: SplitMesh, grid: QuantizationGrid | None, vertices: np.ndarray
    ) -> None:
        if len(mesh.faces) == 0:
            raise ValueError("the mesh has no faces")
        if not np.isfinite(vertices).all():
            raise ValueError("the mesh has vertices that are no finite numbers")
        self._builder, self._mesh, self._split, self._grid = builder, mesh, split, grid
        self._faces = mesh.faces.cpu()
        normals = unit_normals(vertices, self._faces)
        self._attributes: dict[str, int] = {}
        if grid is None:
            self._positions, self._normals = vertices.astype(np.float64), normals
            self._attributes["POSITION"] = self._attribute(vertices, bounds=True)
            self._attributes["NORMAL"] = self._attribute(normals)
        else:
            builder.use_extension("KHR_mesh_quantization", required=True)
            integers = grid.quantize(vertices - grid.centre)
            integer_normals = np.round(normals * BYTE_MAX).astype(np.int8)
            self._positions = grid.dequantize(integers) + grid.centre
            self._normals = integer_normals.astype(np.float32) / BYTE_MAX
            self._attributes["POSITION"] = self._attribute(integers, bounds=True)
            self._attributes["NORMAL"] = self._attribute(integer_normals)

    def _attribute(self, values: np.ndarray, bounds: bool = False) -> int:
        """Add a per-vertex accessor of values (V, C), duplicated at seams; integers are normalised."""
        rows = values[self._split.source]
        return self._builder.accessor(rows, ARRAY_BUFFER, bounds, normalized=rows.dtype.kind == "i")

    def primitive(
        self, texture: EncodedImage | None, unlit: bool, double_sided: bool, short_uvs: bool = False
    ) -> dict[str, Any]:
        """The primitive of the rest pose: indices, attributes and material; texture coordinates in 16 bits or 32."""
        builder, mesh, split = self._builder, self._mesh, self._split
        attributes = dict(self._attributes)
        material: dict[str, Any] = {
            "name": "material",
            "doubleSided": double_sided,
            "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
        }
        if texture is None and mesh.texture is not None:
            texture = encode_texture(mesh.texture)
        if texture is not None and split.uvs is not None:
            short_uvs = short_uvs and split.uvs.min(initial=0) >= 0 and split.uvs.max(initial=0) <= 1
            uvs = np.round(split.uvs * USHORT_MAX).astype(np.uint16) if short_uvs else split.uvs
            attributes["TEXCOORD_0"] = builder.accessor(uvs, ARRAY_BUFFER, normalized=short_uvs)
            image = builder.add(
                "images", {"name": "texture", "bufferView": builder.view(texture.data), "mimeType": texture.mime}
            )
            sampler = {"magFilter": LINEAR_FILTER, "minFilter": LINEAR_MIPMAP_LINEAR}
            sampler |= {"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
            index = builder.add("textures", {"sampler": builder.add("samplers", sampler), "source": image})
            material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": index}
        elif mesh.colors is not None:
            linear = srgb_to_linear(mesh.colors.detach().cpu().numpy())
            attributes["COLOR_0"] = self._attribute(linear)
        if unlit:
            builder.use_extension("KHR_materials_unlit", required=False)
            material["extensions"] = {"KHR_materials_unlit": {}}
        # The largest index of a type is the primitive restart value of some graphics APIs, so it is not used.
        index_type = np.uint16 if len(split.source) < 65536 else np.uint32
        indices = builder.accessor(split.faces.reshape(-1).astype(index_type), ELEMENT_ARRAY_BUFFER)
        return {"attributes": attributes, "indices": indices, "material": builder.add("materials", material)}

    def target(self, pose: np.ndarray) -> dict[str, int]:
        """The morph target of a pose (V, 3): positions and normals minus those stored for the rest pose."""
        offsets = pose - self._positions
        normals = unit_normals(pose, self._faces)
        if self._grid is None:
            deltas = normals - self._normals
            return {"POSITION": self._attribute(offsets.astype(np.float32), True), "NORMAL": self._attribute(deltas)}
        position = self._attribute(self._grid.quantize(offsets), bounds=True)
        return {"POSITION": position, "NORMAL": self._attribute(normal_deltas(self._normals, normals))}

    def node(self, mesh: int, name: str) -> int:
        """Add the mesh's node, whose transform undoes the quantisation; returns its index."""
        node: dict[str, Any] = {"name": name, "mesh": mesh}
        if self._grid is not None:
            node |= {"translation": self._grid.centre.tolist(), "scale": [self._grid.half_range] * 3}
        return self._builder.add("nodes", node)


def _add_scene(builder: GltfBuilder, nodes: list[int], camera: Camera | None) -> None:
    """Add the camera's node and the scene."""
    if camera is not None:
        nodes.append(camera_node(builder, camera))
    builder.add("scenes", {"nodes": nodes})
    builder.json["scene"] = 0


def camera_node(builder: GltfBuilder, camera: Camera, origin: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)) -> int:
    """Add a node with the camera (glTF cameras look along -z, y up); returns its index.

    Args:
        builder: the document.
        camera: one camera of the whole picture.
        origin: (3,) of the camera's coordinates, in the document's world.

    Raises:
        ValueError: not one camera, or a cropped one.
    """
    if len(camera) != 1 or camera.window != (0.0, 0.0, 1.0, 1.0):
        raise ValueError(f"camera: expected one camera of the whole picture, got {len(camera)} at {camera.window}")
    near, far = camera.depth_range
    perspective = {"aspectRatio": float(camera.aspect), "yfov": float(camera.fov), "znear": near, "zfar": far}
    index = builder.add("cameras", {"name": "camera", "type": "perspective", "perspective": perspective})
    pose = np.linalg.inv(camera.extrinsics[0].detach().cpu().numpy().astype(np.float64)) @ OPENCV_TO_OPENGL.numpy()
    node = {"name": "camera", "camera": index, "translation": (pose[:3, 3] + np.asarray(origin)).tolist()}
    return builder.add("nodes", node | {"rotation": quaternion_from_matrix(pose[:3, :3]).tolist()})
