"""A mesh that a user has: opened as one surface that can be moved, and written back with nothing else changed."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from v2m4.camera import Camera
from v2m4.io._gltf_container import Document, GltfError, broken_as_gltf_error, load_document
from v2m4.io._gltf_quantize import unit_normals
from v2m4.io._gltf_write import camera_node
from v2m4.io._user_mesh_obj import read_obj
from v2m4.io._user_mesh_read import Piece, Rows, read_pieces
from v2m4.io._user_mesh_scene import SceneBuilder
from v2m4.io._user_mesh_write import Follower, Rewriter, on_rows, self_contained, stored_deltas, turned
from v2m4.io.fbx import fbx_to_glb
from v2m4.io.gltf import read_mesh
from v2m4.io.srgb import srgb_to_linear
from v2m4.mesh import Mesh
from v2m4.workspace import digest

__all__ = ["FORMATS", "UserMesh", "open_user_mesh"]

logger = logging.getLogger(__name__)

FORMATS = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".fbx")


@dataclass(frozen=True)
class UserMesh:
    """A user's mesh.

    Attributes:
        path: the file.
        mesh: its surface at rest, welded, in the file's own world; with a texture (an atlas where there are several) or
            vertex colours. This is what is moved.
        document: the file, or what other formats become as glTF.
        pieces: how the file's vertices follow the working mesh.
    """

    path: Path
    mesh: Mesh
    document: Document
    pieces: list[Piece]

    @property
    def sources(self) -> list[np.ndarray]:
        """For each set of vertices that the file stores and a node shows, the working vertex of each (-1: of none)."""
        return [np.append(piece.vertex, -1)[rows.vertex] for piece in self.pieces for rows in piece.rows]

    @property
    def content(self) -> str:
        """A digest of all that was read, files beside the file included."""
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
        """Write the file as a GLB that moves: a morph target per pose, of which at most two act at a time.

        Everything but animations, skins and morph targets is kept byte for byte; positions and normals as stored are
        what the targets are measured against. A viewer that plays nothing shows the first pose.

        Args:
            path: the .glb file.
            positions: T poses (V, 3) of the working mesh in the file's world, one after the other.
            times: (T,) seconds, ascending from 0 or later.
            camera: one whole-picture camera in the same world, written as a node.
            target_names: of the poses (default "0", "1", ...).
            quantize: normals in 8 or 16 bits, and positions in 16 where rounding stays below 2e-5 of the size
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
        followers = [Follower(piece, rest) for piece in self.pieces]
        with closing(Rewriter(self.document, self.pieces, path.parent)) as writer:
            count = 0
            for count, pose in enumerate(positions, 1):
                checked = self._checked(pose, f"{path.name}: pose {count - 1}")
                for piece, follower, node in zip(self.pieces, followers, writer.nodes, strict=True):
                    _add_targets(writer, piece, follower, node, checked, quantize)
            if not count == len(seconds) == len(names):
                raise ValueError(f"{path.name}: {count} poses, {len(seconds)} times and {len(names)} target names")
            _add_clip(writer, seconds, names)
            self._finish(writer, path, camera)

    def write_static(self, path: Path, positions: np.ndarray | Tensor, camera: Camera | None = None) -> None:
        """Write the file as a GLB that stands still in another pose: positions and normals are stored anew.

        Args:
            path: the .glb file.
            positions: (V, 3) of the working mesh in the file's world.
            camera: as in ``write_animation``.

        Raises:
            ValueError: the pose is not finite.
            OSError: the file cannot be written.
        """
        pose, rest = self._checked(positions, path.name), self.mesh.vertices.numpy()
        with closing(Rewriter(self.document, self.pieces, path.parent, drop_vertices=True)) as writer:
            for piece, node in zip(self.pieces, writer.nodes, strict=True):
                offsets, changes = Follower(piece, rest).moved(pose)
                for rows in piece.rows:
                    primitives = [writer.primitives(node)[number] for number in rows.primitives]
                    old = self._attributes(piece, rows)
                    stored = {"POSITION": self.document.accessor(old["POSITION"]) + on_rows(rows, offsets)}
                    stored |= {name: after for name, (_, after) in turned(rows, changes).items()}
                    if "TANGENT" in stored:
                        hand = self.document.accessor(old["TANGENT"])[:, 3:]
                        stored["TANGENT"] = np.concatenate([stored["TANGENT"], hand], 1)
                    new = {
                        name: writer.vertices(values.astype(np.float32), bounds=name == "POSITION")
                        for name, values in stored.items()
                    }
                    for primitive in primitives:
                        primitive["attributes"] |= new
            self._finish(writer, path, camera)

    def _checked(self, pose: np.ndarray | Tensor, where: str) -> np.ndarray:
        """A pose as float64."""
        array = (pose.detach().cpu().numpy() if isinstance(pose, Tensor) else np.asarray(pose)).astype(np.float64)
        if array.shape != self.mesh.vertices.shape or not np.isfinite(array).all():
            what = f"shape {array.shape}" if array.shape != self.mesh.vertices.shape else "numbers that are not finite"
            raise ValueError(f"{where} has {what}; expected finite {tuple(self.mesh.vertices.shape)}")
        return array

    def _attributes(self, piece: Piece, rows: Rows) -> dict[str, int]:
        """The accessors in the document of a set of rows."""
        mesh = self.document.items("meshes")[self.document.items("nodes")[piece.node]["mesh"]]
        return mesh["primitives"][rows.primitives[0]]["attributes"]

    def _finish(self, writer: Rewriter, path: Path, camera: Camera | None) -> None:
        if camera is not None:
            scene = writer.json["scenes"][writer.json.get("scene", 0)]
            scene["nodes"] = [*scene.get("nodes", []), camera_node(writer, camera)]
        writer.save(path)


def open_user_mesh(path: Path, blender_path: Path | None = None) -> UserMesh:
    """Open a mesh of any of FORMATS as a viewer shows it before anything plays.

    Args:
        path: the file; materials and pictures lie where it says.
        blender_path: Blender or a Python with bpy, for FBX; see ``blender_command``.

    Raises:
        ValueError: the format is not known, the file is broken or has no triangles, uses what is not read (Draco,
            meshopt, KTX2), or is an FBX and there is no Blender.
        OSError: the file cannot be read.
        RuntimeError: Blender failed on an FBX.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ValueError(f"{path}: unknown mesh format {path.suffix!r}; known are {' '.join(FORMATS)}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if suffix in (".glb", ".gltf"):
        with broken_as_gltf_error(path):
            document = self_contained(load_document(path))
    elif suffix == ".obj":
        document = read_obj(path)
    elif suffix == ".fbx":
        document = _read_fbx(path, blender_path)
    else:
        document = _read_plain(path)
    with broken_as_gltf_error(path):
        clips = [str(clip.get("name", number)) for number, clip in enumerate(document.items("animations"))]
        if clips and suffix != ".fbx":
            logger.warning("%s: its %d animations are left out: %s", path, len(clips), ", ".join(clips))
        mesh, pieces = read_pieces(document)
    return UserMesh(path, mesh, document, pieces)


def _add_targets(
    writer: Rewriter, piece: Piece, follower: Follower, node: int, pose: np.ndarray, quantize: bool
) -> None:
    """Add the morph target of a pose (V, 3) to each primitive of a node."""
    offsets, changes = follower.moved(pose)
    primitives = writer.primitives(node)
    still = set(range(len(primitives)))
    for rows in piece.rows:
        stored = follower.stored_offsets(on_rows(rows, offsets), quantize)
        target = {"POSITION": writer.vertices(stored, bounds=True)}
        for name, (before, after) in turned(rows, changes).items():
            target[name] = writer.vertices(stored_deltas(before, after, quantize))
        for number in rows.primitives:
            primitives[number].setdefault("targets", []).append(dict(target))
        still -= set(rows.primitives)
    for number in still:  # points and lines stay where they are, but all primitives of a mesh need as many targets
        count = writer.json["accessors"][primitives[number]["attributes"]["POSITION"]]["count"]
        zeros = writer.vertices(np.zeros((count, 3), np.float32), bounds=True)
        primitives[number].setdefault("targets", []).append({"POSITION": zeros})


def _add_clip(writer: Rewriter, seconds: np.ndarray, names: list[str]) -> None:
    """One animation that goes through the morph targets of all pieces; the first acts where nothing plays."""
    count = len(seconds)
    for node in writer.nodes:
        mesh = writer.mesh(node)
        mesh["weights"] = [1.0] + [0.0] * (count - 1)
        mesh["extras"] = mesh.get("extras", {}) | {"targetNames": names}
    sampler = {
        "input": writer.accessor(seconds, bounds=True),
        "interpolation": "LINEAR",
        "output": writer.accessor(np.eye(count, dtype=np.float32).reshape(-1)),
    }
    channels = [{"sampler": 0, "target": {"node": node, "path": "weights"}} for node in writer.nodes]
    writer.add("animations", {"name": "animation", "samplers": [sampler], "channels": channels})


def _read_fbx(path: Path, blender_path: Path | None) -> Document:
    if blender_path is None:
        raise ValueError(f"{path}: FBX is read through Blender; give --blender_path, or save the mesh as GLB")
    with tempfile.TemporaryDirectory() as folder:
        read = load_document(fbx_to_glb(path, Path(folder) / "scene.glb", blender_path))
    return Document(path, read.json, read.buffers)


def _read_plain(path: Path) -> Document:
    """PLY, OFF and STL: one object of one material, with vertex colours or the picture that a PLY names."""
    mesh = read_mesh(path)
    vertices, faces = mesh.vertices.numpy(), mesh.faces
    colors = None if mesh.colors is None else srgb_to_linear(mesh.colors.numpy())
    scene = SceneBuilder(path)
    base: dict[str, object] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    uvs, normals = None, None
    if path.suffix.lower() == ".stl":  # three vertices for each face, and flat faces are meant
        vertices, index = np.unique(vertices + np.float32(0), axis=0, return_inverse=True)
        faces, colors = faces.new_tensor(index.reshape(-1)[faces.numpy()]), None
    else:
        normals = unit_normals(vertices, faces)
    if mesh.uvs is not None:
        uvs, base["baseColorTexture"] = mesh.uvs.numpy(), {"index": scene.texture(_ply_picture(path))}
    material = scene.material({"name": path.stem, "doubleSided": True, "pbrMetallicRoughness": base})
    attributes = {"POSITION": vertices, "NORMAL": normals, "TEXCOORD_0": uvs, "COLOR_0": colors}
    scene.object(path.stem, [scene.primitive(attributes, faces.numpy(), material)])
    return scene.document()


def _ply_picture(path: Path) -> str:
    """The name of the picture in the header of a PLY with texture coordinates."""
    header = path.read_bytes().partition(b"end_header")[0].decode("utf-8", "replace")
    found = re.search(r"^comment TextureFile (.+?)\s*$", header, re.MULTILINE)
    if found is None:
        raise GltfError(f"{path}: texture coordinates, but no comment TextureFile that names the picture")
    return found[1]
