"""User meshes: read as one welded working mesh, and written back deformed with everything else unchanged."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from v2m4.camera import Camera
from v2m4.io._gltf_container import Document, broken_as_gltf_error, load_document
from v2m4.io._gltf_embed import self_contained
from v2m4.io._gltf_repair import repaired
from v2m4.io._gltf_skin import add_joints, add_skin, as_components, bone_names, skeletal_animation, skin_attributes
from v2m4.io._gltf_write import camera_node
from v2m4.io._node_deformation import NodeDeformation, deformed_directions, per_stored_vertex, quantized_deltas
from v2m4.io._user_mesh_read import MeshNode, VertexBuffer, read_mesh_nodes
from v2m4.io._user_mesh_skeleton import DocumentSkeleton, read_skeleton
from v2m4.io._user_mesh_write import DocumentEditor
from v2m4.io.any_mesh import read_still_document
from v2m4.io.fbx import fbx_to_glb
from v2m4.io.mesh_file import FORMATS, GLTF_FORMATS, model_file
from v2m4.mesh import Mesh
from v2m4.skinning.curves import Curve
from v2m4.skinning.rig import Rig
from v2m4.workspace import digest

__all__ = ["FORMATS", "DocumentSkeleton", "UserMesh", "open_user_mesh"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UserMesh:
    """A mesh that the user brings.

    Attributes:
        path: the file.
        mesh: the working mesh: the rest pose, welded, in the file's own world relative to ``origin``, with a texture
            (an atlas of several) or vertex colours. This is what is deformed.
        document: the file as glTF; other formats are converted.
        mesh_nodes: the nodes with a mesh, and the map from their vertices to the working mesh.
        origin: (3,) float64 in the file's world: 0, or the mesh's middle where float32 would round positions about the
            file's own origin too far. All positions and cameras that this class takes are relative to it.
    """

    path: Path
    mesh: Mesh
    document: Document
    mesh_nodes: list[MeshNode]
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))

    @property
    def vertex_maps(self) -> list[np.ndarray]:
        """For each vertex buffer of each node the working vertex (R,) of its stored vertices (-1: unused by faces)."""
        return [
            np.append(mesh_node.working_vertex, -1)[buffer.node_vertex]
            for mesh_node in self.mesh_nodes
            for buffer in mesh_node.buffers
        ]

    @property
    def content_digest(self) -> str:
        """Hash of all that was read, files beside the file included."""
        present = [data for data in self.document.buffers if data is not None]
        return digest(self.document.json, *present)

    def write_animation(
        self,
        path: Path,
        positions: Iterable[np.ndarray | Tensor],
        times: Sequence[float] | np.ndarray,
        camera: Camera | None = None,
        *,
        target_names: Sequence[str] | None = None,
        quantize: bool = True,
    ) -> None:
        """Write the file as an animated GLB: one morph target per pose, at most two of them active at a time.

        Everything but animations, skins and morph targets is kept byte for byte; targets are relative to the stored
        positions and normals. A viewer that plays no animation shows the first pose.

        Args:
            path: the .glb file.
            positions: T poses (V, 3) of the working mesh in the file's world, relative to ``origin``.
            times: (T,) seconds, ascending from 0 or later.
            camera: one whole-picture camera in the same world, written as a node.
            target_names: names of the poses (default "0", "1", ...).
            quantize: normals in 8 or 16 bits, and positions in 16 where rounding stays below 2e-5 of the mesh's size
                (KHR_mesh_quantization, which not every program reads). Otherwise all is float32.

        Raises:
            ValueError: times and poses do not fit, or a pose is not finite.
            OSError: the file cannot be written.
        """
        seconds = np.asarray(times, dtype=np.float32).reshape(-1)
        if len(seconds) == 0 or bool((np.diff(seconds) <= 0).any()) or not 0 <= float(seconds[0]) < np.inf:
            raise ValueError(f"{path.name}: times must ascend from 0 or later, got {seconds.tolist()}")
        names = [str(index) for index in range(len(seconds))] if target_names is None else list(target_names)
        rest = self.mesh.vertices.numpy()
        deformations = [NodeDeformation(mesh_node, rest) for mesh_node in self.mesh_nodes]
        with closing(DocumentEditor(self.document, self.mesh_nodes, path.parent)) as editor:
            count = 0
            for count, pose in enumerate(positions, 1):
                checked = self._checked_pose(pose, f"{path.name}: pose {count - 1}")
                for mesh_node, deformation, node in zip(self.mesh_nodes, deformations, editor.nodes, strict=True):
                    _add_targets(editor, mesh_node, deformation, node, checked, quantize)
            if not count == len(seconds) == len(names):
                raise ValueError(f"{path.name}: {count} poses, {len(seconds)} times and {len(names)} target names")
            _add_clip(editor, seconds, names)
            self._save(editor, path, camera)

    def write_static(self, path: Path, positions: np.ndarray | Tensor, camera: Camera | None = None) -> None:
        """Write the file as a static GLB in another pose, with new positions, normals and tangents.

        Args:
            path: the .glb file.
            positions: (V, 3) vertices of the working mesh in the file's world, relative to ``origin``.
            camera: as in ``write_animation``.

        Raises:
            ValueError: the pose is not finite.
            OSError: the file cannot be written.
        """
        pose, rest = self._checked_pose(positions, path.name), self.mesh.vertices.numpy()
        with closing(DocumentEditor(self.document, self.mesh_nodes, path.parent, drop_vertices=True)) as editor:
            for mesh_node, node in zip(self.mesh_nodes, editor.nodes, strict=True):
                offsets, changes = NodeDeformation(mesh_node, rest).offsets_and_gradients(pose)
                for buffer in mesh_node.buffers:
                    primitives = [editor.primitives(node)[number] for number in buffer.primitives]
                    attributes = self._attributes(mesh_node, buffer)
                    stored = {
                        "POSITION": self.document.accessor(attributes["POSITION"]) + per_stored_vertex(buffer, offsets)
                    }
                    stored |= {name: after for name, (_, after) in deformed_directions(buffer, changes).items()}
                    if "TANGENT" in stored:
                        handedness = self.document.accessor(attributes["TANGENT"])[:, 3:]
                        stored["TANGENT"] = np.concatenate([stored["TANGENT"], handedness], 1)
                    new = {
                        name: editor.vertices(values.astype(np.float32), bounds=name == "POSITION")
                        for name, values in stored.items()
                    }
                    for primitive in primitives:
                        primitive["attributes"] |= new
            self._save(editor, path, camera)

    def skeleton(self) -> DocumentSkeleton | None:
        """The file's own skeleton, to which the working mesh's vertices are bound; None where it has no skin."""
        return read_skeleton(self.document, self.mesh_nodes, len(self.mesh.vertices), self.origin)

    def write_skeleton(
        self, path: Path, skeleton: DocumentSkeleton, curves: Sequence[Curve], end: float, camera: Camera | None = None
    ) -> None:
        """Write the file with one more animation, of its own joints; nothing else changes. It comes first.

        Args:
            path: the .glb file.
            skeleton: the file's.
            curves: of its nodes, roots relative to ``origin``.
            end: time of the last frame, seconds.
            camera: as in ``write_animation``.

        Raises:
            OSError: the file cannot be written.
        """
        in_file = [
            replace(curve, values=curve.values + self.origin)
            if curve.path == "translation" and skeleton.skeleton.parents[curve.node] < 0
            else curve
            for curve in curves
        ]
        with closing(DocumentEditor(self.document, self.mesh_nodes, path.parent, keep_animation=True)) as editor:
            for curve in in_file:
                as_components(editor.json["nodes"][skeleton.nodes[curve.node]])
            animation = skeletal_animation(editor, in_file, skeleton.nodes, "animation", end)
            if animation is not None:
                editor.json["animations"] = [animation, *editor.json.get("animations", [])]
            self._save(editor, path, camera)

    def write_rigged(self, path: Path, rig: Rig, end: float, camera: Camera | None = None) -> None:
        """Write the file with a skeleton and skin weights that were found from motion, and one animation.

        Args:
            path: the .glb file.
            rig: fitted to the working mesh, relative to ``origin``.
            end: time of the last frame, seconds.
            camera: as in ``write_animation``.

        Raises:
            OSError: the file cannot be written.
        """
        with closing(DocumentEditor(self.document, self.mesh_nodes, path.parent)) as editor:
            joints = add_joints(editor, rig.skeleton, bone_names(rig.skeleton), self.origin)
            scene = editor.json["scenes"][editor.json.get("scene", 0)]
            roots = [joint for joint, parent in zip(joints, rig.skeleton.parents, strict=True) if parent < 0]
            binds = rig.inverse_binds()
            for mesh_node, node in zip(self.mesh_nodes, editor.nodes, strict=True):
                skin = add_skin(editor, joints, binds @ mesh_node.matrix, "skin")
                for buffer in mesh_node.buffers:
                    rows = np.append(mesh_node.working_vertex, -1)[buffer.node_vertex]
                    attributes = skin_attributes(editor, rig.binding, rows)
                    offsets = per_stored_vertex(buffer, mesh_node.rest - mesh_node.base)
                    for number in buffer.primitives:
                        primitive = editor.primitives(node)[number]
                        primitive["attributes"] |= attributes
                        if offsets.any():
                            stored = self.document.accessor(self._attributes(mesh_node, buffer)["POSITION"]) + offsets
                            position = editor.vertices(stored.astype(np.float32), bounds=True)
                            primitive["attributes"]["POSITION"] = position
                editor.bind_to_skin(node, skin)
            scene["nodes"] = [*scene.get("nodes", []), *roots]
            animation = skeletal_animation(editor, rig.curves, joints, "animation", end)
            if animation is not None:
                editor.json["animations"] = [animation]
            self._save(editor, path, camera)

    def _checked_pose(self, pose: np.ndarray | Tensor, where: str) -> np.ndarray:
        """The pose as a (V, 3) float64 array, its shape and finiteness checked."""
        array = (pose.detach().cpu().numpy() if isinstance(pose, Tensor) else np.asarray(pose)).astype(np.float64)
        if array.shape != self.mesh.vertices.shape or not np.isfinite(array).all():
            what = f"shape {array.shape}" if array.shape != self.mesh.vertices.shape else "numbers that are not finite"
            raise ValueError(f"{where} has {what}; expected finite {tuple(self.mesh.vertices.shape)}")
        return array

    def _attributes(self, mesh_node: MeshNode, buffer: VertexBuffer) -> dict[str, int]:
        """Accessor indices in the document of a vertex buffer, by attribute name."""
        mesh = self.document.items("meshes")[self.document.items("nodes")[mesh_node.node_index]["mesh"]]
        return mesh["primitives"][buffer.primitives[0]]["attributes"]

    def _save(self, editor: DocumentEditor, path: Path, camera: Camera | None) -> None:
        """Add the camera's node to the scene and write the GLB."""
        if camera is not None:
            scene = editor.json["scenes"][editor.json.get("scene", 0)]
            scene["nodes"] = [*scene.get("nodes", []), camera_node(editor, camera, self.origin)]
        editor.save(path)


def open_user_mesh(path: Path, blender_path: Path | None = None) -> UserMesh:
    """Open a mesh of any of FORMATS in its rest pose.

    Args:
        path: the file; its materials and pictures are looked up where it names them.
        blender_path: Blender or a Python with bpy, for FBX; see ``blender_command``.

    Raises:
        ValueError: the format is not known, the file is broken or has no triangles, uses what is not read, is a .zip
            without exactly one model, or is an FBX and there is no Blender.
        OSError: the file cannot be read.
        RuntimeError: Blender failed on an FBX.
    """
    path = Path(path)
    with model_file(path) as (file, kind):
        document = replace(_read_document(file, kind, blender_path), path=path)
        document = document if kind in GLTF_FORMATS else repaired(document)  # the others are repaired as they are read
    with broken_as_gltf_error(path):
        clips = [str(clip.get("name", number)) for number, clip in enumerate(document.items("animations"))]
        if clips and kind != ".fbx":
            logger.warning("%s: its %d animations are ignored: %s", path, len(clips), ", ".join(clips))
        mesh, mesh_nodes, origin = read_mesh_nodes(document)
    return UserMesh(path, mesh, document, mesh_nodes, origin)


def _read_document(file: Path, kind: str, blender_path: Path | None) -> Document:
    """A file of any of FORMATS but .zip as a glTF document with its pictures in it."""
    if kind in GLTF_FORMATS:
        document = load_document(file)
        with broken_as_gltf_error(file):
            return self_contained(document)
    if kind == ".fbx":
        return _read_fbx(file, blender_path)
    return read_still_document(file, kind)


def _add_targets(
    editor: DocumentEditor,
    mesh_node: MeshNode,
    deformation: NodeDeformation,
    node: int,
    pose: np.ndarray,
    quantize: bool,
) -> None:
    """Add the morph target of a pose (V, 3) of the working mesh to each primitive of a node."""
    offsets, changes = deformation.offsets_and_gradients(pose)
    primitives = editor.primitives(node)
    without_surface = set(range(len(primitives)))
    for buffer in mesh_node.buffers:
        stored = deformation.quantized_offsets(per_stored_vertex(buffer, offsets), quantize)
        target = {"POSITION": editor.vertices(stored, bounds=True)}
        for name, (before, after) in deformed_directions(buffer, changes).items():
            target[name] = editor.vertices(quantized_deltas(before, after, quantize))
        for number in buffer.primitives:
            primitives[number].setdefault("targets", []).append(dict(target))
        without_surface -= set(buffer.primitives)
    for (
        number
    ) in without_surface:  # points and lines are not deformed, but glTF wants as many targets for every primitive
        count = editor.json["accessors"][primitives[number]["attributes"]["POSITION"]]["count"]
        zeros = editor.vertices(np.zeros((count, 3), np.float32), bounds=True)
        primitives[number].setdefault("targets", []).append({"POSITION": zeros})


def _add_clip(editor: DocumentEditor, seconds: np.ndarray, names: list[str]) -> None:
    """Add one animation that plays the morph targets of all nodes; by default the first target has weight 1."""
    count = len(seconds)
    for node in editor.nodes:
        mesh = editor.mesh(node)
        mesh["weights"] = [1.0] + [0.0] * (count - 1)
        extras = mesh.get("extras", {})  # any JSON is allowed there
        mesh["extras"] = (extras if isinstance(extras, dict) else {"extras": extras}) | {"targetNames": names}
    sampler = {
        "input": editor.accessor(seconds, bounds=True),
        "interpolation": "LINEAR",
        "output": editor.accessor(np.eye(count, dtype=np.float32).reshape(-1)),
    }
    channels = [{"sampler": 0, "target": {"node": node, "path": "weights"}} for node in editor.nodes]
    editor.add("animations", {"name": "animation", "samplers": [sampler], "channels": channels})


def _read_fbx(path: Path, blender_path: Path | None) -> Document:
    if blender_path is None:
        raise ValueError(f"{path}: FBX is read through Blender; give --blender_path, or save the mesh as GLB")
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_document(fbx_to_glb(path, Path(folder) / "scene.glb", blender_path))
    return Document(path, loaded.json, loaded.buffers)
